//! Known work, and what the metrics say of it.

use crate::world::{Outcome, World};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use streamhouse_tests::load::{self, Load};
use streamhouse_tests::stack::{PATIENCE, until};

/// Produces to a new topic and reads all of it; returns how many records each way.
pub fn work(world: &mut World, topic: &str, seconds: u64) -> Result<(u64, u64), Outcome> {
    let kafka = world.streamhouse()?.kafka;
    load::create_topic(kafka, topic, 1).map_err(|error| error.to_string())?;
    let load = Load { time: Duration::from_secs(seconds), ..gentle(topic) };
    let produced = load::run(kafka, &load).map_err(|error| error.to_string())?.records;
    let consumed = load::read(kafka, topic, 0).map_err(|error| error.to_string())?;
    Ok((produced, consumed))
}

/// Some hundred records a second in small batches.
pub fn gentle(topic: &str) -> Load {
    Load {
        topic: topic.into(),
        partition: 0,
        records: 10,
        value_bytes: 100,
        // More than the store's linger lets wait, or the generator would wait for itself.
        in_flight: 64,
        rate: Some(400.0),
        time: Duration::from_secs(2),
    }
}

/// Reads a few records of `topic` as a member of `group`, and commits how far.
pub fn consume(kafka: SocketAddr, topic: &str, group: &str) -> std::io::Result<()> {
    let other = |error: KafkaError| std::io::Error::other(error);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.to_string())
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()
        .map_err(other)?;
    consumer.subscribe(&[topic]).map_err(other)?;
    let start = Instant::now();
    let mut records = 0;
    while records < 10 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                consumer.commit_message(&message, CommitMode::Sync).map_err(other)?;
                records += 1;
            }
            _ if start.elapsed() > PATIENCE => {
                return Err(std::io::Error::other(format!(
                    "group {group} has read {records} records of {topic}"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

pub fn counts_are_true(world: &mut World) -> Result<(), Outcome> {
    let (produced, consumed) = work(world, "ledger", 3)?;
    if produced == 0 || produced != consumed {
        return Err(format!("{produced} records were acknowledged and {consumed} read").into());
    }
    let prometheus = world.stack()?.prometheus();
    for job in ["streamhouse-scrape", "streamhouse"] {
        for (metric, own) in [("producer", produced), ("consumer", consumed)] {
            let query =
                format!("streamhouse_{metric}_records_total{{job={job:?},topic=\"ledger\"}}");
            until(&format!("{query} to be {own}"), PATIENCE, || {
                let found = prometheus.query(&query).ok()?;
                (found.len() == 1 && found[0].value == own as f64).then_some(())
            })?;
        }
    }
    let requests = requests_are_true(world)?;
    world
        .figures
        .note("records produced = read = counted, by scrape and by OTLP", &produced.to_string());
    let told: Vec<_> = requests.iter().map(|(name, count)| format!("{count} {name}")).collect();
    world.figures.note("requests counted = seen by the S3 server", &told.join(", "));
    Ok(())
}

/// What the S3 server calls what StreamHouse counts.
const ACTIONS: [(&str, &str); 5] = [
    ("PutObject", "put"),
    ("GetObject", "get"),
    ("HeadObject", "head"),
    ("DeleteObject", "delete"),
    ("ListObjectsV2", "list"),
];

/// Compares the requests that StreamHouse counts with those that the S3 server has logged, while no
/// more than the health probe's are made.
fn requests_are_true(world: &mut World) -> Result<BTreeMap<&'static str, u64>, Outcome> {
    let mut told = String::new();
    for _ in 0..100 {
        let before = world.requests_seen()?;
        let scrape = world.streamhouse()?.scrape();
        let after = world.requests_seen()?;
        if before.len() != after.len() {
            continue;
        }
        let mut seen = BTreeMap::<&'static str, u64>::new();
        for line in &after {
            let operation = operation(line).ok_or_else(|| format!("the S3 server logs {line}"))?;
            *seen.entry(operation).or_default() += 1;
        }
        told.clear();
        for (_, label) in ACTIONS {
            let counted = scrape.sum("streamhouse_s3_requests_total", &[("operation", label)]);
            let logged = seen.get(label).copied().unwrap_or_default();
            if counted != Some(logged as f64) {
                told.push_str(&format!("{label}: {counted:?} counted, {logged} seen; "));
            }
        }
        if told.is_empty() {
            return Ok(seen);
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
    Err(Outcome::Failed(told))
}

/// Which operation a line of the S3 server's log is about.
fn operation(line: &str) -> Option<&'static str> {
    let action = line.split(' ').find_map(|word| word.strip_prefix("s3_"))?;
    let (_, label) = ACTIONS.iter().find(|(known, _)| *known == action)?;
    Some(label)
}
