//! Answers on their way to the socket.

use crate::api::Offered;
use crate::error::KafkaError;
use crate::topics::OpenTopic;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ResponseHeader, ResponseKind};
use kafka_protocol::protocol::Encodable as _;
use std::sync::Arc;
use streamhouse_observability::labels::RequestOutcome;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What a handler answers.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The body.
    pub body: ResponseKind,
    /// How the request ended, if its answer reaches the client.
    pub outcome: RequestOutcome,
    /// What it gives to consumers.
    pub delivery: Delivery,
}

impl Reply {
    /// An answer that moves no records; `failed`: there is an error code in it.
    pub fn new(body: impl Into<ResponseKind>, failed: bool) -> Self {
        let outcome = if failed { RequestOutcome::Error } else { RequestOutcome::Ok };
        Self { body: body.into(), outcome, delivery: Delivery::default() }
    }
}

/// Records on their way to a consumer.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// Topic, records from the offset asked for on, and bytes.
    pub topics: Vec<(Arc<OpenTopic>, u64, u64)>,
    /// The memory that they take.
    pub _permit: Option<OwnedSemaphorePermit>,
    /// Lets the connection's next fetch begin once this one is written.
    pub _done: Option<oneshot::Sender<()>>,
}

/// A fetch's place among the fetches of its connection.
///
/// Answers are written in the order asked. If a later fetch could take memory while an earlier one
/// waits for it, neither would ever end: so they take turns. What waits for other members of a
/// group has a turn too, so that no fetch behind it holds memory meanwhile.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Ends when the one before has been written, or was given up.
    pub before: Option<oneshot::Receiver<()>>,
    /// Dropped when this one has.
    pub done: oneshot::Sender<()>,
}

impl Delivery {
    /// Counts the records: they were sent.
    pub fn sent(&self) {
        for (topic, records, bytes) in &self.topics {
            topic.consumed.records.add(*records);
            topic.consumed.bytes.add(*bytes);
        }
    }
}

/// Encodes an answer as a whole frame.
///
/// # Errors
/// The answer has a field that the version lacks: a defect.
pub(crate) fn encode(
    offered: &Offered,
    version: i16,
    correlation: i32,
    body: &ResponseKind,
) -> Result<Bytes, KafkaError> {
    use streamhouse_observability::declare::ClosedLabel as _;
    let failed =
        |error: String| KafkaError::Encode { api: offered.label.as_str(), version, message: error };
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    ResponseHeader::default()
        .with_correlation_id(correlation)
        .encode(&mut frame, offered.key.response_header_version(version))
        .map_err(|error| failed(error.to_string()))?;
    body.encode(&mut frame, version).map_err(|error| failed(error.to_string()))?;
    let length = i32::try_from(frame.len() - 4).map_err(|error| failed(error.to_string()))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}
