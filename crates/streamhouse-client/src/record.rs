//! Records, as plain values.

use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use std::sync::Arc;

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub key: String,
    /// Its value; `None` is Kafka's null, which differs from empty.
    pub value: Option<Vec<u8>>,
}

/// A record on its way to a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// The partition; `None` lets the key choose (as Java clients do), or spreads evenly.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Headers, in order; a name may occur more than once.
    pub headers: Vec<Header>,
    /// Milliseconds since the epoch; `None` takes the time of sending.
    pub timestamp_ms: Option<i64>,
}

/// Where an acknowledged record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The partition that it went to.
    pub partition: i32,
    /// Its offset; `None` with [`Acks::None`](crate::Acks::None), where no answer tells it.
    pub offset: Option<i64>,
}

/// A record read from a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Milliseconds since the epoch, as the producer claims.
    pub timestamp_ms: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// How many headers are missing in `headers`: rdkafka panics at a name that is not UTF-8. The
    /// panic is caught, but the process' panic hook hears of it.
    pub unreadable_headers: usize,
}

impl<'a> From<&'a Record> for FutureRecord<'a, [u8], [u8]> {
    fn from(record: &'a Record) -> Self {
        let mut out = FutureRecord::to(&record.topic);
        out.partition = record.partition;
        out.key = record.key.as_deref();
        out.payload = record.value.as_deref();
        out.timestamp = record.timestamp_ms;
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            out.headers = Some(record.headers.iter().fold(headers, |headers, header| {
                headers.insert(KafkaHeader { key: &header.key, value: header.value.as_deref() })
            }));
        }
        out
    }
}
