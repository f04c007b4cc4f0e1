//! `streamhouse group`: lists and describes consumer groups and how far they are behind, and deletes
//! them.

use super::Environment;
use super::admin::{AdminFlags, AdminPort, encode};
use super::client::{ClientFlags, block_on};
use super::output::{Failure, Output, OutputFlag};
use clap::Subcommand;
use clap::builder::UnknownArgumentValueParser as Misplaced;
use serde_json::{Value, json};
use std::collections::HashSet;
use streamhouse_client::{Admin, ClientError};

const EXAMPLE: &str =
    "`list` and `describe` ask the server's admin port (--admin), which knows the lag;
`delete` asks its Kafka port (--brokers).

Example:
  streamhouse group list";
const LIST: &str = "Examples:
  streamhouse group list --output json
  streamhouse group list --admin 127.0.0.1:9464";
const DESCRIBE: &str = "Examples:
  streamhouse group describe billing
  streamhouse group describe billing --admin 127.0.0.1:9464";
const DELETE: &str = "Examples:
  streamhouse group delete billing
  streamhouse group delete billing audit --brokers 127.0.0.1:9092";

/// From which age in seconds on it is told how old the lags are.
const OLD: f64 = 15.0;

const NOT_BROKERS: &str = "write --admin: the admin port is asked, which knows the lag";
const NOT_ADMIN: &str = "write --brokers: the Kafka port is asked, as any broker's";

/// Shows consumer groups and how far they are behind, and deletes them
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLE, subcommand_required = true)]
pub(super) enum Group {
    /// Lists the groups that the server coordinates
    #[command(after_help = LIST)]
    List {
        #[command(flatten)]
        admin: AdminFlags,
        #[arg(long, hide = true, value_parser = Misplaced::suggest(NOT_BROKERS))]
        brokers: Option<String>,
    },
    /// Shows how far a group is behind in each partition
    #[command(after_help = DESCRIBE)]
    Describe {
        /// The group's name
        name: String,
        #[command(flatten)]
        admin: AdminFlags,
        #[arg(long, hide = true, value_parser = Misplaced::suggest(NOT_BROKERS))]
        brokers: Option<String>,
    },
    /// Deletes groups that have no members, with all that they have committed
    #[command(after_help = DELETE)]
    Delete {
        /// The groups' names; one that is named twice is taken once
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        client: ClientFlags,
        #[arg(long, hide = true, value_parser = Misplaced::suggest(NOT_ADMIN))]
        admin: Option<String>,
    },
}

impl Group {
    pub(super) fn run(self, environment: &Environment, output: &mut Output) -> Result<(), Failure> {
        if self.names().iter().any(String::is_empty) {
            return Err(Failure::Usage("a group's name cannot be empty".into()));
        }
        match self {
            Self::List { admin, .. } => {
                let port = admin.port(environment)?;
                list(&block_on(page(&port, "/groups", ""))?, output)
            }
            Self::Describe { name, admin, .. } => {
                let (port, path) = (admin.port(environment)?, format!("/groups/{}", encode(&name)));
                describe(&block_on(page(&port, &path, &name))?, output)
            }
            Self::Delete { names, client, .. } => {
                let admin = Admin::new(&client.connection(environment)?)?;
                block_on(delete(&admin, &names, output))
            }
        }
    }

    pub(super) fn output(&self) -> OutputFlag {
        match self {
            Self::List { admin, .. } | Self::Describe { admin, .. } => admin.output,
            Self::Delete { client, .. } => client.output,
        }
    }

    fn names(&self) -> &[String] {
        match self {
            Self::List { .. } => &[],
            Self::Describe { name, .. } => std::slice::from_ref(name),
            Self::Delete { names, .. } => names,
        }
    }
}

/// Deletes what can be deleted, and tells of the rest at the end.
async fn delete(admin: &Admin, names: &[String], output: &mut Output) -> Result<(), Failure> {
    let (mut failed, mut tried) = (Vec::new(), HashSet::new());
    for name in names.iter().filter(|name| tried.insert(*name)) {
        match admin.delete_group(name).await {
            Ok(()) => output.say(format!("deleted group {name}"), json!({"deleted": name}))?,
            Err(error) => {
                failed.push(error.to_string());
                if matches!(error, ClientError::Unreachable { .. }) {
                    // The others would wait as long, to be told the same.
                    break;
                }
            }
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::Failed(failed.join("\nerror: "))),
    }
}

/// A page of the admin port, about `group` if that is named.
async fn page(port: &AdminPort, path: &str, group: &str) -> Result<Value, Failure> {
    match port.get(path).await? {
        (200, page) => Ok(page),
        (404, _) if !group.is_empty() => {
            let fix = "ask `streamhouse group list`, or the agent that coordinates it";
            Err(Failure::Failed(format!("the server coordinates no group {group:?}; {fix}")))
        }
        (503, _) if !group.is_empty() => {
            let fix = "try again in a few seconds";
            Err(Failure::Failed(format!("the lag of group {group:?} is not computed yet; {fix}")))
        }
        (status, page) => Err(Failure::Failed(format!("the server answered {status}: {page}"))),
    }
}

/// What a column is called, and what stands in it.
type Column = (&'static str, fn(&Value) -> String);

const GROUPS: &[Column] = &[
    ("GROUP", |row| plain(&row["group"])),
    ("STATE", |row| plain(&row["state"])),
    ("MEMBERS", |row| row["members"].to_string()),
    ("LAG", |row| at_least(row, count(&row["lag"]))),
    ("LAG TIME", |row| at_least(row, seconds(&row["lag_seconds"]))),
    ("RETENTION LEFT", |row| share(&row["retention_margin"])),
    ("LAST COMMIT", |row| ago(&row["commit_age_seconds"])),
    ("UNCOMMITTED PARTITIONS", |row| row["uncommitted_partitions"].to_string()),
];

const PARTITIONS: &[Column] = &[
    ("TOPIC", |row| plain(&row["topic"])),
    ("PARTITION", |row| row["partition"].to_string()),
    ("COMMITTED", |row| row["committed"].to_string()),
    ("LOG START", |row| row["log_start"].to_string()),
    ("END", |row| row["end"].to_string()),
    ("LAG", |row| row["lag"].to_string()),
    ("LAG TIME", |row| seconds(&row["lag_seconds"])),
    ("RETENTION LEFT", |row| share(&row["retention_margin"])),
];

fn list(page: &Value, output: &mut Output) -> Result<(), Failure> {
    table(GROUPS, rows(&page["groups"]), output)?;
    warn(page, output)
}

/// Says so where the page cannot be relied upon.
fn warn(page: &Value, output: &mut Output) -> Result<(), Failure> {
    match warning(page) {
        Some(warning) if !output.is_json() => output.say(format!("\n{warning}"), Value::Null),
        _ => Ok(()),
    }
}

fn warning(page: &Value) -> Option<String> {
    let Some(age) = page["age_seconds"].as_f64() else {
        return Some("Lag has not been computed yet: try again in a few seconds.".into());
    };
    let told = format!("The lags are those of {} ago", seconds(&page["age_seconds"]));
    if page["complete"] == Value::Bool(false) {
        return Some(format!(
            "{told}: the metadata store could not be asked. They are at least these."
        ));
    }
    (age > OLD).then(|| format!("{told}: more may be to consume by now."))
}

fn describe(page: &Value, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.say("", page.clone());
    }
    table(GROUPS, std::slice::from_ref(page), output)?;
    output.say("", Value::Null)?;
    table(PARTITIONS, rows(&page["partitions"]), output)?;
    warn(page, output)
}

fn rows(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn table(columns: &[Column], rows: &[Value], output: &mut Output) -> Result<(), Failure> {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|(_, cell)| cell(row)).collect()).collect();
    let width = |place: usize| {
        let widest = cells.iter().map(|row| row[place].chars().count()).max().unwrap_or(0);
        widest.max(columns[place].0.len())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |texts: &mut dyn Iterator<Item = &str>| {
        let padded = texts.zip(&widths).map(|(text, width)| format!("{text:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    if !output.is_json() {
        output.say(line(&mut columns.iter().map(|(name, _)| *name)), Value::Null)?;
    }
    for (row, cells) in rows.iter().zip(&cells) {
        output.say(line(&mut cells.iter().map(String::as_str)), row.clone())?;
    }
    Ok(())
}

/// A name as one piece of text that cannot move the cursor or colour the terminal: clients choose
/// the names of groups.
fn plain(name: &Value) -> String {
    let is_harmless = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut text = String::new();
    for c in name.as_str().unwrap_or("-").chars() {
        if is_harmless(c) {
            text.push(c);
        } else {
            text.extend(c.escape_unicode());
        }
    }
    text
}

/// A time as its two greatest units; below a minute in tenths of a second.
fn seconds(value: &Value) -> String {
    let Some(seconds) = value.as_f64() else { return "-".into() };
    if seconds < 59.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    match (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60) {
        (0, 0, minutes) => format!("{minutes}m{:02}s", whole % 60),
        (0, hours, minutes) => format!("{hours}h{minutes:02}m"),
        (days, hours, _) => format!("{days}d{hours:02}h"),
    }
}

fn count(value: &Value) -> String {
    if value.is_null() { "-".into() } else { value.to_string() }
}

/// A sum over a group's partitions, some of which may have no committed offset: those are in no sum.
fn at_least(row: &Value, sum: String) -> String {
    let is_whole = row["uncommitted_partitions"].as_u64().unwrap_or(0) == 0;
    if is_whole || sum == "-" { sum } else { format!("≥ {sum}") }
}

fn ago(value: &Value) -> String {
    if value.is_null() { "never".into() } else { format!("{} ago", seconds(value)) }
}

fn share(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".into(), |share| format!("{:.0}%", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_name_cannot_change_the_terminal() {
        assert_eq!(plain(&json!("billing ä")), "billing ä");
        assert_eq!(plain(&json!("a\u{1b}[31m\n\u{202e}b")), "a\\u{1b}[31m\\u{a}\\u{202e}b");
    }

    #[test]
    fn what_is_not_known_is_a_hyphen() {
        assert_eq!((seconds(&Value::Null), share(&Value::Null)), ("-".into(), "-".into()));
        assert_eq!(ago(&Value::Null), "never");
    }

    #[test]
    fn lags_that_are_not_to_be_relied_upon_come_with_a_warning() {
        let warned = |page: Value| warning(&page).unwrap_or_default();
        assert_eq!(warned(json!({"age_seconds": 14.9, "complete": true})), "");
        let old = warned(json!({"age_seconds": 95, "complete": true}));
        assert_eq!(old, "The lags are those of 1m35s ago: more may be to consume by now.");
        assert!(warned(json!({"age_seconds": 1, "complete": false})).contains("at least these"));
        assert!(warned(json!({"age_seconds": null, "complete": true})).contains("try again"));
    }

    #[test]
    fn a_sum_without_every_partition_is_a_lower_bound_and_without_any_unknown() {
        let cell = |name: &str, row: &Value| {
            GROUPS.iter().find(|(column, _)| *column == name).map(|(_, cell)| cell(row)).unwrap()
        };
        let row = |lag: Value, uncommitted: u64| {
            json!({
                "lag": lag,
                "lag_seconds": lag,
                "retention_margin": lag,
                "uncommitted_partitions": uncommitted,
            })
        };
        let none = row(Value::Null, 3);
        assert_eq!(["LAG", "LAG TIME", "RETENTION LEFT"].map(|name| cell(name, &none)), ["-"; 3]);
        assert_eq!(cell("LAG", &row(json!(7), 2)), "≥ 7");
        assert_eq!(cell("LAG TIME", &row(json!(7), 2)), "≥ 7.0s");
        assert_eq!(cell("LAG", &row(json!(7), 0)), "7");
    }

    #[test]
    fn a_time_is_told_by_its_two_greatest_units() {
        let told = [
            (0.0, "0.0s"),
            (59.9, "59.9s"),
            (59.97, "1m00s"),
            (61.25, "1m01s"),
            (3_599.4, "59m59s"),
            (3_600.0, "1h00m"),
            (90_061.0, "1d01h"),
        ];
        for (value, text) in told {
            assert_eq!(seconds(&json!(value)), text);
        }
        assert_eq!((ago(&json!(1.25)), share(&json!(0.125))), ("1.2s ago".into(), "12%".into()));
    }
}
