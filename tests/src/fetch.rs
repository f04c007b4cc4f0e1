//! A raw fetch generator: reads partitions from given offsets on, without decoding records.

use crate::raw::Connection;
use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::io::{Error, Result};
use std::net::SocketAddr;

/// The version of the fetch requests.
const VERSION: i16 = 12;
/// The bytes before a batch's length ends, and where its last offset delta stands.
const LOG_OVERHEAD: usize = 12;
const LAST_OFFSET_DELTA: usize = 23;

/// A consumer of some partitions of one topic, on a connection of its own.
#[derive(Debug)]
pub struct Fetcher {
    connection: Connection,
    topic: TopicName,
    /// The next offset of each partition, in order.
    offsets: Vec<i64>,
    wait_ms: i32,
}

impl Fetcher {
    /// Begins at `offsets`; a fetch at the end waits `wait_ms` for more.
    ///
    /// # Errors
    /// Any error of the socket.
    pub fn open(addr: SocketAddr, topic: &str, offsets: Vec<i64>, wait_ms: i32) -> Result<Self> {
        let topic = TopicName(StrBytes::from_string(topic.into()));
        Ok(Self { connection: Connection::open(addr)?, topic, offsets, wait_ms })
    }

    /// The next offset of each partition.
    pub fn offsets(&self) -> &[i64] {
        &self.offsets
    }

    /// Fetches once; returns how many records at or after the asked offsets came, and how many
    /// bytes.
    ///
    /// # Errors
    /// Any error of the socket, and any error code in the answer.
    pub fn fetch(&mut self) -> Result<(u64, u64)> {
        let partition = |(index, offset): (usize, &i64)| {
            FetchPartition::default()
                .with_partition(index as i32)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(1 << 20)
        };
        let partitions = self.offsets.iter().enumerate().map(partition).collect();
        let topic =
            FetchTopic::default().with_topic(self.topic.clone()).with_partitions(partitions);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(self.wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(50 << 20)
            .with_topics(vec![topic]);
        let answer = self.connection.call(VERSION, &request)?;
        let (mut records, mut bytes) = (0, 0);
        for partition in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
            if partition.error_code != 0 {
                return Err(Error::other(format!("error code {}", partition.error_code)));
            }
            let known = usize::try_from(partition.partition_index).ok();
            let next = known.and_then(|index| self.offsets.get_mut(index));
            let next = next.ok_or_else(|| Error::other("a partition that was not asked for"))?;
            let batches = partition.records.unwrap_or_default();
            bytes += batches.len() as u64;
            if let Some(end) = end_of(&batches) {
                records += u64::try_from(end - *next).unwrap_or(0);
                *next = end;
            }
        }
        Ok((records, bytes))
    }
}

/// The offset after the last whole batch.
fn end_of(batches: &Bytes) -> Option<i64> {
    let (mut at, mut end) = (0, None);
    while let Some(head) = batches.get(at..at + LAST_OFFSET_DELTA + 4) {
        let base = i64::from_be_bytes(head[..8].try_into().ok()?);
        let length = i32::from_be_bytes(head[8..LOG_OVERHEAD].try_into().ok()?);
        let delta = i32::from_be_bytes(head[LAST_OFFSET_DELTA..].try_into().ok()?);
        at += LOG_OVERHEAD + usize::try_from(length).ok()?;
        if at > batches.len() {
            break;
        }
        end = Some(base + i64::from(delta) + 1);
    }
    end
}
