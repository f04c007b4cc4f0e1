//! A load generator: batches encoded beforehand, several requests in flight.

use crate::raw::{Connection, batch, frame, produce};
use bytes::Buf as _;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::Compression;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// The version of the produce requests.
const VERSION: i16 = 9;

/// What to send.
#[derive(Clone, Debug)]
pub struct Load {
    /// The topic, which must exist.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Records in a batch.
    pub records: usize,
    /// Bytes of a record's value.
    pub value_bytes: usize,
    /// Requests in flight at most.
    pub in_flight: usize,
    /// Records per second to aim at; as many as possible without.
    pub rate: Option<f64>,
    /// How long.
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Records acknowledged.
    pub records: u64,
    /// Seconds from the first request to the last answer.
    pub seconds: f64,
    /// Seconds from when each request was due to its answer.
    pub latencies: Vec<f64>,
}

impl Report {
    /// The latency that a part `q` of all requests stays below.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_by(f64::total_cmp);
        let place = ((sorted.len() as f64) * q).ceil() as usize;
        sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// Sends `load` on one connection. With a rate, a latency counts from when the request was due,
/// so that a stall is not hidden by requests that were never sent.
///
/// # Errors
/// Any error of the connection, and any error code in an answer.
pub fn run(addr: SocketAddr, load: &Load) -> Result<Report> {
    let mut connection = Connection::open(addr)?;
    let sender = connection.split()?;
    let values = vec![vec![b'x'; load.value_bytes]; load.records];
    let records = batch(&values, Compression::None, None);
    let bytes = frame(VERSION, 1, &produce(&load.topic, load.partition, records, -1))?;
    // The channel's capacity bounds the requests in flight.
    let (due, answers) = sync_channel(load.in_flight.saturating_sub(1));
    let mut report = Report::default();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(sender, &bytes, load, start, due));
        for since in answers {
            let (_, answer) = connection.receive::<ProduceRequest>(VERSION)?;
            refuse_errors(&answer)?;
            report.records += load.records as u64;
            report.latencies.push(Instant::elapsed(&since).as_secs_f64());
        }
        sending.join().unwrap_or_else(|_| Err(Error::other("the sender panicked")))
    })?;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

fn send(
    mut connection: Connection,
    bytes: &[u8],
    load: &Load,
    start: Instant,
    due: SyncSender<Instant>,
) -> Result<()> {
    let pause = load.rate.map(|rate| Duration::from_secs_f64(load.records as f64 / rate));
    let mut next = start;
    while start.elapsed() < load.time {
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        let since = if pause.is_some() { next } else { Instant::now() };
        if due.send(since).is_err() {
            break;
        }
        connection.send_bytes(bytes)?;
        next += pause.unwrap_or_default();
    }
    Ok(())
}

fn refuse_errors(answer: &ProduceResponse) -> Result<()> {
    let mut partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
    match partitions.find(|partition| partition.error_code != 0) {
        Some(partition) => Err(Error::other(format!("error code {}", partition.error_code))),
        None => Ok(()),
    }
}

/// Creates a topic.
///
/// # Errors
/// Any error of the connection, and an error code in the answer.
pub fn create_topic(addr: SocketAddr, name: &str, partitions: i32) -> Result<()> {
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_string(name.into())))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = Connection::open(addr)?.call(5, &request)?;
    match answer.topics.first() {
        Some(topic) if topic.error_code == 0 => Ok(()),
        other => Err(Error::other(format!("topic {name} was not created: {other:?}"))),
    }
}

/// Reads a partition from its first record to its end, and counts what comes.
///
/// # Errors
/// Any error of the connection, an error code in an answer, and an end that never comes.
pub fn read(addr: SocketAddr, topic: &str, partition: i32) -> Result<u64> {
    let mut connection = Connection::open(addr)?;
    let (mut next, mut records) = (0, 0);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(next)
            .with_partition_max_bytes(1 << 20);
        let name = TopicName(StrBytes::from_string(topic.into()));
        let topic = FetchTopic::default().with_topic(name).with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_max_wait_ms(100)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_topics(vec![topic]);
        let answer = connection.call(12, &request)?;
        let part = answer.responses.first().and_then(|topic| topic.partitions.first());
        let part = part.ok_or_else(|| Error::other("an answer without the partition"))?;
        if part.error_code != 0 {
            return Err(Error::other(format!("error code {}", part.error_code)));
        }
        let mut rest = part.records.clone().unwrap_or_default();
        while rest.len() >= 61 {
            // Base offset, length, …, last offset delta at 23, number of records at 57.
            let length = (&rest[8..12]).get_i32() as usize + 12;
            next = (&rest[..8]).get_i64() + i64::from((&rest[23..27]).get_i32()) + 1;
            records += u64::from((&rest[57..61]).get_u32());
            rest.advance(length.min(rest.len()));
        }
        if next >= part.high_watermark {
            return Ok(records);
        }
    }
    Err(Error::other(format!("partition {partition} has no end after {records} records")))
}
