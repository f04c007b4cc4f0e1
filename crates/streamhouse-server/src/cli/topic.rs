//! `streamhouse topic`: creates, lists, describes, alters, grows and deletes topics.

use super::Environment;
use super::client::{ClientFlags, block_on};
use super::output::{Failure, Output};
use clap::{Args, Subcommand};
use serde_json::json;
use streamhouse_client::{Admin, TopicDetail, TopicSetting};

const EXAMPLE: &str = "Example:
  streamhouse topic create orders --partitions 4";
const CREATE: &str = "Example:
  streamhouse topic create orders --partitions 4 --config retention.ms=86400000";
const LIST: &str = "Example:
  streamhouse topic list --output json";
const DESCRIBE: &str = "Example:
  streamhouse topic describe orders";
const ALTER: &str = "Example:
  streamhouse topic alter orders --config retention.bytes=1073741824 --default retention.ms";
const GROW: &str = "Example:
  streamhouse topic add-partitions orders --total 8";
const DELETE: &str = "Example:
  streamhouse topic delete orders";

/// Creates, lists, describes, alters, grows and deletes topics
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLE, subcommand_required = true)]
pub(super) enum Topic {
    /// Creates a topic
    #[command(after_help = CREATE)]
    Create {
        /// Its name: letters, digits, dots, underscores and hyphens
        name: String,
        /// How many partitions it has
        #[arg(long, value_name = "NUMBER", default_value_t = 1,
            value_parser = clap::value_parser!(i32).range(1..))]
        partitions: i32,
        /// A setting of its own; repeat for several [retention.ms, retention.bytes; -1: no limit]
        #[arg(long = "config", value_name = "NAME=VALUE", value_parser = pair)]
        settings: Vec<(String, String)>,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Lists all topics
    #[command(after_help = LIST)]
    List {
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Shows the partitions of a topic and which offsets they hold
    #[command(after_help = DESCRIBE)]
    Describe(Named),
    /// Changes how long and how much of a topic is kept
    #[command(after_help = ALTER)]
    Alter {
        /// The topic's name
        name: String,
        /// A setting and its value; repeat for several [retention.ms, retention.bytes; -1: no limit]
        #[arg(long = "config", value_name = "NAME=VALUE", value_parser = pair,
            required_unless_present = "unset")]
        settings: Vec<(String, String)>,
        /// A setting that goes back to the broker's default; repeat for several
        #[arg(long = "default", value_name = "NAME")]
        unset: Vec<String>,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Deletes a topic with all its records
    #[command(after_help = DELETE)]
    Delete(Named),
    /// Raises the number of partitions; records with a key may then go elsewhere than before
    #[command(after_help = GROW)]
    AddPartitions {
        /// The topic's name
        name: String,
        /// How many partitions it has afterwards
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        total: u32,
        #[command(flatten)]
        client: ClientFlags,
    },
}

#[derive(Args, Debug)]
pub(super) struct Named {
    /// The topic's name
    name: String,
    #[command(flatten)]
    client: ClientFlags,
}

impl Topic {
    pub(super) fn run(self, environment: &Environment, output: &mut Output) -> Result<(), Failure> {
        let admin = Admin::new(&self.client().connection(environment)?)?;
        block_on(self.act(admin, output))
    }

    pub(super) fn client(&self) -> &ClientFlags {
        match self {
            Self::Create { client, .. } | Self::List { client } => client,
            Self::Describe(named) | Self::Delete(named) => &named.client,
            Self::Alter { client, .. } | Self::AddPartitions { client, .. } => client,
        }
    }

    async fn act(self, admin: Admin, output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::Create { name, partitions, settings, .. } => {
                admin.create_topic_with(&name, partitions, &settings).await?;
                let text = format!("created topic {name} with {}", count(partitions, "partition"));
                output.say(text, json!({"created": name, "partitions": partitions}))
            }
            Self::List { .. } => {
                for (name, partitions) in admin.topics().await? {
                    let text = format!("{name}\t{}", count(partitions, "partition"));
                    output.say(text, json!({"topic": name, "partitions": partitions}))?;
                }
                Ok(())
            }
            Self::Describe(named) => {
                let topic = admin.describe(&named.name).await?;
                describe(&topic, &admin.settings(&named.name).await?, output)
            }
            Self::Alter { name, settings, unset, .. } => {
                admin.alter_topic(&name, &settings, &unset).await?;
                let now = admin.settings(&name).await?;
                let text = format!("topic {name}: {}", retention(&now));
                output.say(text, json!({"topic": name, "settings": values(&now)}))
            }
            Self::Delete(named) => {
                admin.delete_topic(&named.name).await?;
                let name = named.name;
                output.say(format!("deleted topic {name}"), json!({"deleted": name}))
            }
            Self::AddPartitions { name, total, .. } => {
                let wanted = usize::try_from(total).unwrap_or(usize::MAX);
                admin.set_partitions(&name, wanted).await?;
                let text = format!("topic {name} has {} now", count(total, "partition"));
                output.say(text, json!({"topic": name, "partitions": total}))
            }
        }
    }
}

/// A setting as the command line has it.
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as retention.ms=-1")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// How long and how much is kept, for people.
fn retention(settings: &[TopicSetting]) -> String {
    let kept = settings.iter().filter(|setting| setting.name.starts_with("retention."));
    let kept = kept.map(|setting| {
        let whose = if setting.is_own { "" } else { " (default)" };
        format!("{} {}{whose}", setting.name, setting.value)
    });
    kept.collect::<Vec<_>>().join(", ")
}

fn values(settings: &[TopicSetting]) -> serde_json::Map<String, serde_json::Value> {
    settings.iter().map(|setting| (setting.name.clone(), json!(setting.value))).collect()
}

fn describe(
    topic: &TopicDetail,
    settings: &[TopicSetting],
    output: &mut Output,
) -> Result<(), Failure> {
    if !output.is_json() {
        let text = format!("topic {}, {}", topic.name, count(topic.partitions.len(), "partition"));
        output.say(text, json!(null))?;
        output.say(retention(settings), json!(null))?;
    }
    for part in &topic.partitions {
        let records = part.high_watermark - part.log_start;
        let text = format!(
            "partition {}: offsets {} to {} ({}), preferred agent {}",
            part.partition,
            part.log_start,
            part.high_watermark,
            count(records, "record"),
            part.leader,
        );
        let json = json!({
            "topic": topic.name,
            "partition": part.partition,
            "log_start": part.log_start,
            "high_watermark": part.high_watermark,
            "leader": part.leader,
            "settings": values(settings),
        });
        output.say(text, json)?;
    }
    Ok(())
}

pub(super) fn count(number: impl std::fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    if number == "1" { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
