//! `streamhouse produce`: sends lines as records.

use super::Environment;
use super::client::{ClientFlags, block_on};
use super::format::parse_time;
use super::output::{Failure, Output};
use super::topic::count;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use streamhouse_client::{
    Acks, ClientError, Compression, Delivering, Delivery, Header, Producer, ProducerOptions, Record,
};
use tokio::sync::mpsc;

const EXAMPLE: &str = "Example:
  printf 'a:1\\nb:2\\n' | streamhouse produce orders --key-separator : --compression zstd";

/// Records that may wait for their acknowledgement.
const IN_FLIGHT: usize = 10_000;

/// Sends each line of standard input or a file as one record
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(super) struct Produce {
    /// The topic
    topic: String,
    /// Reads this file instead of standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What stands between key and value; without it lines are values
    #[arg(long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// A header of every record; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The partition [default: the key chooses]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// The records' time: milliseconds since 1970 or UTC such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timestamp: Option<i64>,
    /// When a record counts as delivered
    #[arg(long, value_enum, default_value_t = AcksFlag::All)]
    acks: AcksFlag,
    /// How batches are compressed
    #[arg(long, value_enum, default_value_t = CompressionFlag::None)]
    compression: CompressionFlag,
    #[command(flatten)]
    pub(super) client: ClientFlags,
}

/// When a record counts as delivered.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum AcksFlag {
    /// When it was sent
    #[value(name = "0", alias = "none")]
    None,
    /// When the server has it
    #[value(name = "1", alias = "leader")]
    Leader,
    /// When it is durable
    #[value(name = "all", alias = "-1")]
    All,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompressionFlag {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

fn header(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

impl Produce {
    pub(super) fn run(self, environment: &Environment, output: &mut Output) -> Result<(), Failure> {
        let acks = match self.acks {
            AcksFlag::None => Acks::None,
            AcksFlag::Leader => Acks::Leader,
            AcksFlag::All => Acks::All,
        };
        let compression = match self.compression {
            CompressionFlag::None => Compression::None,
            CompressionFlag::Gzip => Compression::Gzip,
            CompressionFlag::Snappy => Compression::Snappy,
            CompressionFlag::Lz4 => Compression::Lz4,
            CompressionFlag::Zstd => Compression::Zstd,
        };
        let options = ProducerOptions { compression, ..ProducerOptions::with_acks(acks) };
        let producer = Producer::new(&self.client.connection(environment)?, options)?;
        let lines = lines(self.file.as_deref())?;
        block_on(self.send(producer, lines, output))
    }

    async fn send(
        self,
        producer: Producer,
        mut lines: mpsc::Receiver<Result<Vec<u8>, Failure>>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        if let Some(partition) = self.partition {
            producer.expect_partition(&self.topic, partition).await?;
        }
        let mut report = Report { topic: self.topic.clone(), ..Report::default() };
        let mut waiting: VecDeque<Delivering> = VecDeque::new();
        let mut bad = None;
        loop {
            let line = tokio::select! {
                biased;
                line = lines.recv(), if waiting.len() < IN_FLIGHT => line,
                delivered = first(&mut waiting), if !waiting.is_empty() => {
                    report.delivered(delivered.map_err(|error| report.at_line(&error))?, output)?;
                    continue;
                }
            };
            let Some(line) = line else { break };
            let queued = match line.and_then(|line| self.record(line)) {
                Ok(record) => producer.enqueue(&record).await.map_err(Failure::from),
                Err(failure) => Err(failure),
            };
            match queued {
                Ok(delivering) => waiting.push_back(delivering),
                Err(failure) => {
                    bad = Some(failure);
                    break;
                }
            }
        }
        // What stands before a bad line is sent, and counted, all the same.
        while !waiting.is_empty() {
            let delivered = first(&mut waiting).await;
            report.delivered(delivered.map_err(|error| report.at_line(&error))?, output)?;
        }
        if let Some(failure) = bad {
            return Err(report.at_line(&failure));
        }
        producer.flush().await?;
        report.end(output)
    }

    fn record(&self, line: Vec<u8>) -> Result<Record, Failure> {
        let (key, value) = match &self.key_separator {
            None => (None, line),
            Some(separator) => {
                let at = find(&line, separator.as_bytes()).ok_or_else(|| {
                    let line = String::from_utf8_lossy(&line).chars().take(80).collect::<String>();
                    let why = format!("line {line:?} has no {separator:?} after its key");
                    Failure::Failed(format!("{why}: add it, or leave --key-separator away"))
                })?;
                (Some(line[..at].to_vec()), line[at + separator.len()..].to_vec())
            }
        };
        let headers = self.headers.iter().map(|(key, value)| Header {
            key: key.clone(),
            value: Some(value.clone().into_bytes()),
        });
        Ok(Record {
            topic: self.topic.clone(),
            partition: self.partition,
            key,
            value: Some(value),
            headers: headers.collect(),
            timestamp_ms: self.timestamp,
        })
    }
}

/// The delivery of the record that has waited longest; it stays in `waiting` until it is done.
async fn first(waiting: &mut VecDeque<Delivering>) -> Result<Delivery, ClientError> {
    let Some(delivering) = waiting.front_mut() else { return std::future::pending().await };
    let delivered = delivering.await;
    waiting.pop_front();
    delivered
}

/// What was delivered so far.
#[derive(Debug, Default)]
struct Report {
    topic: String,
    records: u64,
    /// First and last offset by partition, where they are known.
    offsets: BTreeMap<i32, (i64, i64)>,
}

impl Report {
    fn delivered(&mut self, delivery: Delivery, output: &mut Output) -> Result<(), Failure> {
        self.records += 1;
        let Delivery { partition, offset } = delivery;
        if let Some(offset) = offset {
            self.offsets.entry(partition).or_insert((offset, offset)).1 = offset;
        }
        if output.is_json() {
            let json = json!({"topic": self.topic, "partition": partition, "offset": offset});
            output.say("", json)?;
        }
        Ok(())
    }

    /// `failure` of the line after those that were delivered, with the line's number.
    fn at_line(&self, failure: &impl std::fmt::Display) -> Failure {
        let (line, sent) = (self.records + 1, count(self.records, "record"));
        Failure::Failed(format!("{failure} (line {line}; {sent} sent before it)"))
    }

    fn end(&self, output: &mut Output) -> Result<(), Failure> {
        if output.is_json() {
            return Ok(());
        }
        let text = format!("{} sent to {}", count(self.records, "record"), self.topic);
        output.say(text, json!(null))?;
        for (partition, (first, last)) in &self.offsets {
            output.say(format!("partition {partition}: offsets {first} to {last}"), json!(null))?;
        }
        Ok(())
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return None;
    }
    text.windows(part.len()).position(|window| window == part)
}

/// Reads lines on a thread of its own, because reading a terminal cannot be cancelled.
fn lines(file: Option<&Path>) -> Result<mpsc::Receiver<Result<Vec<u8>, Failure>>, Failure> {
    let reader: Box<dyn BufRead + Send> = match file {
        None => Box::new(BufReader::new(std::io::stdin())),
        Some(path) => match std::fs::File::open(path) {
            Ok(file) => Box::new(BufReader::new(file)),
            Err(error) => {
                let path = path.display();
                return Err(Failure::Usage(format!("cannot read {path}: {error}; check the path")));
            }
        },
    };
    let (sender, receiver) = mpsc::channel(1_024);
    std::thread::spawn(move || {
        for line in reader.split(b'\n') {
            let line = line.map_err(|error| Failure::Failed(format!("cannot read: {error}")));
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    Ok(receiver)
}
