//! `streamhouse consume`: writes records as lines.

use super::Environment;
use super::client::{ClientFlags, block_on};
use super::format::{json_bytes, parse_time, positive_duration};
use super::output::{Failure, Output};
use super::serve::stop_requested;
use clap::Args;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use streamhouse_client::{
    Begin, ClientError, Connection, Consumer, GroupConsumer, GroupOptions, Received, Start,
};

const EXAMPLE: &str = "Examples:
  streamhouse consume orders --from earliest --output json
  streamhouse consume orders --from time:2026-01-31T12:00:00Z --max 100
  streamhouse consume orders --from latest --follow
  streamhouse consume orders --group billing
  streamhouse consume orders --group billing --session-timeout 10s";

const NOT_COMMITTED: &str = "the last records are written, but could not be committed, because their \
    partitions went to other members of the group: these read them again";

/// Writes the records of a topic to standard output
///
/// It ends at the last record there is when it begins, unless --follow or --max say otherwise. As a
/// member of a group it goes on until --max, SIGTERM or SIGINT, and commits what it has written.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(super) struct Consume {
    /// The topic
    topic: String,
    /// Reads this partition; may be repeated [default: all]
    #[arg(long = "partition", value_name = "NUMBER",
        value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    /// Shares the topic with the other members of this group, and goes on where it has come to
    #[arg(long, value_name = "NAME", conflicts_with_all = ["partitions", "follow"])]
    group: Option<String>,
    /// How long this member of the group may be silent, as when it was killed, until the others get
    /// its partitions [default: 45s]
    #[arg(long, value_name = "DURATION", requires = "group", value_parser = session)]
    session_timeout: Option<Duration>,
    /// earliest, latest, offset:NUMBER or time:TIME
    #[arg(long, value_name = "START", default_value = "earliest", value_parser = start)]
    from: Start,
    /// Ends after this many records
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// Waits for further records instead of ending at the last one
    #[arg(long)]
    follow: bool,
    /// Writes key and this text before each value
    #[arg(long, value_name = "TEXT")]
    key_separator: Option<String>,
    #[command(flatten)]
    pub(super) client: ClientFlags,
}

/// How long a member may be silent: no longer than it may go without reading.
fn session(text: &str) -> Result<Duration, String> {
    match positive_duration(text)? {
        silence if silence <= Duration::from_secs(300) => Ok(silence),
        _ => Err("write at most 5m".into()),
    }
}

fn start(text: &str) -> Result<Start, String> {
    let fix = "write earliest, latest, offset:NUMBER or time:TIME";
    match text.split_once(':') {
        None if text == "earliest" => Ok(Start::Earliest),
        None if text == "latest" => Ok(Start::Latest),
        Some(("offset", offset)) => match offset.parse() {
            Ok(offset) if offset >= 0 => Ok(Start::Offset(offset)),
            _ => Err(fix.into()),
        },
        Some(("time", time)) => Ok(Start::Timestamp(parse_time(time)?)),
        _ => Err(fix.into()),
    }
}

impl Consume {
    pub(super) fn run(self, environment: &Environment, output: &mut Output) -> Result<(), Failure> {
        hush_caught_panics();
        let connection = self.client.connection(environment)?;
        if let Some(group) = &self.group {
            return block_on(self.share(&connection, group, output));
        }
        block_on(async {
            let consumer =
                Consumer::new(&connection, &self.topic, &self.partitions, self.from).await?;
            self.read(&consumer, connection.timeout, output).await
        })
    }

    /// Reads as a member of a group. What was written is committed and the group is left before
    /// it ends.
    async fn share(
        &self,
        connection: &Connection,
        group: &str,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let begin = match self.from {
            Start::Earliest => Begin::Earliest,
            Start::Latest => Begin::Latest,
            _ => {
                let why = "a group begins where it has come to: write --from earliest or latest, \
                           which decide where it begins for the first time";
                return Err(Failure::Usage(why.into()));
            }
        };
        let mut options = GroupOptions { begin, ..GroupOptions::default() };
        if let Some(silence) = self.session_timeout {
            options.session_timeout = silence;
        }
        let member = GroupConsumer::subscribe(connection, group, &[&self.topic], options)?;
        let read = tokio::select! {
            read = self.read_share(&member, output) => read,
            stop = stop_requested() => stop,
        };
        let flushed = output.flush();
        let closed = member.close().await;
        read?;
        flushed?;
        match closed {
            Err(ClientError::Rebalanced) => Err(Failure::Failed(NOT_COMMITTED.into())),
            closed => Ok(closed?),
        }
    }

    async fn read_share(&self, member: &GroupConsumer, output: &mut Output) -> Result<(), Failure> {
        let mut left = self.max.unwrap_or(u64::MAX);
        while left > 0 {
            let most = usize::try_from(left.min(500)).unwrap_or(500);
            let received = match member.poll(most, Duration::from_millis(100)).await {
                Err(error) if error.is_retryable() => {
                    output.warn_of(&error);
                    continue;
                }
                received => received?,
            };
            for received in &received {
                self.write(received, output)?;
            }
            // Written comes before settled: what could not be written is read again.
            output.flush()?;
            received.iter().for_each(|received| member.settle(received));
            left -= received.len() as u64;
        }
        Ok(())
    }

    async fn read(
        &self,
        consumer: &Consumer,
        patience: Duration,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let mut open = if self.follow { HashMap::new() } else { unread(consumer).await? };
        let mut left = self.max;
        let mut patient_until = Instant::now() + patience;
        while left != Some(0) && (self.follow || !open.is_empty()) {
            let received = match self.next(consumer, patience, output).await {
                Ok(received) => received,
                Err(error) if error.is_retryable() => {
                    if self.follow {
                        output.warn_of(&error);
                        continue;
                    }
                    if Instant::now() < patient_until {
                        continue;
                    }
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            };
            self.write(&received, output)?;
            patient_until = Instant::now() + patience;
            left = left.map(|left| left - 1);
            let end = open.get(&received.partition).copied();
            if end.is_some_and(|end| received.offset + 1 >= end) {
                open.remove(&received.partition);
            }
        }
        Ok(())
    }

    /// The next record. What was written so far is handed on before a wait.
    async fn next(
        &self,
        consumer: &Consumer,
        patience: Duration,
        output: &mut Output,
    ) -> Result<Received, ClientError> {
        let next = consumer.next();
        tokio::pin!(next);
        if let Ok(ready) = tokio::time::timeout(Duration::from_millis(5), &mut next).await {
            return ready;
        }
        // A reader that went away is noticed at the next record.
        let _ = output.flush();
        if self.follow {
            return next.await;
        }
        let late = ClientError::TimedOut { action: "reading", after: patience };
        tokio::time::timeout(patience, next).await.unwrap_or(Err(late))
    }

    fn write(&self, received: &Received, output: &mut Output) -> Result<(), Failure> {
        if received.unreadable_headers > 0 {
            output.warn_once(|| {
                format!(
                    "record {} of partition {} of topic {:?} has a header whose name is not UTF-8: \
                     it is left out; --output json counts them, and there is no further warning",
                    received.offset, received.partition, self.topic
                )
            });
        }
        if output.is_json() {
            return output.say("", to_json(&self.topic, received));
        }
        if let Some(separator) = &self.key_separator {
            output.bytes(received.key.as_deref().unwrap_or_default())?;
            output.bytes(separator.as_bytes())?;
        }
        output.bytes(received.value.as_deref().unwrap_or_default())?;
        output.bytes(b"\n")
    }
}

/// The end of each partition that has records left to read.
async fn unread(consumer: &Consumer) -> Result<HashMap<i32, i64>, ClientError> {
    let ends = consumer.ends().await?;
    let assigned = consumer.assigned().iter().zip(ends);
    // A start beyond the end stays in: the server refuses it, and that must be told.
    let open = assigned.filter(|(assigned, end)| assigned.start != *end);
    Ok(open.map(|(assigned, end)| (assigned.partition, end)).collect())
}

fn to_json(topic: &str, received: &Received) -> Value {
    let headers = received.headers.iter().map(|header| {
        let value = json_bytes("value", header.value.as_deref());
        Value::Object([("name".to_owned(), json!(header.key)), value].into_iter().collect())
    });
    let mut object: Map<String, Value> = [
        ("topic".to_owned(), json!(topic)),
        ("partition".to_owned(), json!(received.partition)),
        ("offset".to_owned(), json!(received.offset)),
        ("timestamp_ms".to_owned(), json!(received.timestamp_ms)),
        json_bytes("key", received.key.as_deref()),
        json_bytes("value", received.value.as_deref()),
        ("headers".to_owned(), headers.collect()),
    ]
    .into_iter()
    .collect();
    if received.unreadable_headers > 0 {
        object.insert("unreadable_headers".to_owned(), json!(received.unreadable_headers));
    }
    Value::Object(object)
}

/// Says nothing of the panics at headers' names that are not UTF-8: the client catches them, and a
/// record that has one is told with a warning.
fn hush_caught_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_rdkafkas = panic.location().is_some_and(|place| place.file().contains("rdkafka"));
        let is_of_text = panic.payload_as_str().is_some_and(|text| text.contains("Utf8Error"));
        if !(is_rdkafkas && is_of_text) {
            before(panic);
        }
    }));
}
