//! The producer.

use crate::connection::{Connection, Events};
use crate::error::ClientError;
use crate::record::{Delivery, Record};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as KafkaHeader, Message as _, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// When a record counts as delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// When it was sent: no answer is awaited, and a failure goes unnoticed.
    None,
    /// When the broker that took it has it.
    Leader,
    /// When it is as safe as the broker can make it.
    #[default]
    All,
}

impl Acks {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Leader => "1",
            Self::All => "all",
        }
    }
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Small, slow.
    Gzip,
    /// Fast.
    Snappy,
    /// Fast, a little smaller.
    Lz4,
    /// Small and fast.
    Zstd,
}

impl Compression {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// How a producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerOptions {
    /// When a record counts as delivered. Default: [`Acks::All`].
    pub acks: Acks,
    /// How batches are compressed. Default: not at all.
    pub compression: Compression,
    /// Whether retries can neither double nor reorder records; needs [`Acks::All`]. Default: true.
    pub idempotent: bool,
    /// How long a batch waits for more records. Default: 5 ms.
    pub linger: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            compression: Compression::None,
            idempotent: true,
            linger: Duration::from_millis(5),
        }
    }
}

impl ProducerOptions {
    /// Options for `acks`; idempotent where that is possible.
    pub fn with_acks(acks: Acks) -> Self {
        Self { acks, idempotent: acks == Acks::All, ..Self::default() }
    }
}

/// Writes records. Cheap to clone.
#[derive(Clone)]
pub struct Producer {
    inner: FutureProducer<Events>,
    events: Events,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("events", &self.events).finish_non_exhaustive()
    }
}

impl Producer {
    /// A producer. It connects when it sends.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: the options contradict each other.
    pub fn new(connection: &Connection, options: ProducerOptions) -> Result<Self, ClientError> {
        if options.idempotent && options.acks != Acks::All {
            let why = "an idempotent producer needs acks=all: use it, or switch idempotence off";
            return Err(ClientError::Invalid(why.into()));
        }
        let mut config = connection.config()?;
        config
            .set("acks", options.acks.as_str())
            .set("compression.type", options.compression.as_str())
            .set("enable.idempotence", if options.idempotent { "true" } else { "false" })
            .set("linger.ms", options.linger.as_millis().to_string())
            .set("message.timeout.ms", connection.timeout.as_millis().to_string())
            .set("allow.auto.create.topics", "false")
            // How long a topic that does not exist may be one that was created a moment ago.
            .set("topic.metadata.propagation.max.ms", "3000")
            // A record's key chooses the partition that a Java client would choose.
            .set("partitioner", "murmur2_random");
        let events = connection.events();
        let inner = config
            .create_with_context(events.clone())
            .map_err(|error| events.explain("making a producer", "the producer", &error))?;
        Ok(Self { inner, events })
    }

    /// Sends a record and waits until it is delivered.
    ///
    /// # Errors
    /// [`ClientError::Unknown`]: create the topic first. [`ClientError::TooLarge`]: split it.
    /// Any that [is retryable](ClientError::is_retryable): send it again; without idempotence it
    /// may then be there twice.
    /// # Cancel safety
    /// Dropping the future does not take the record back.
    pub async fn send(&self, record: &Record) -> Result<Delivery, ClientError> {
        self.enqueue(record).await?.await
    }

    /// Queues a record and returns what its delivery can be awaited by. Records of one partition
    /// keep the order in which they are queued. Waits while the queue is full.
    ///
    /// # Errors
    /// [`ClientError::QueueFull`] when the queue stays full for the connection's timeout.
    pub async fn enqueue(&self, record: &Record) -> Result<Delivering, ClientError> {
        let deadline = Instant::now() + self.events.timeout();
        loop {
            match self.inner.send_result(to_kafka(record)) {
                Ok(inner) => {
                    let (events, topic) = (self.events.clone(), record.topic.clone());
                    return Ok(Delivering { inner, events, topic });
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _))
                    if Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err((error, _)) => return Err(self.explain(record, &error)),
            }
        }
    }

    /// Checks that `topic` has this partition. A topic that is not known yet passes: sending waits
    /// for it.
    ///
    /// # Errors
    /// [`ClientError::Unknown`]: it names the partitions there are.
    /// [`ClientError::Unreachable`], [`ClientError::TimedOut`]: try again.
    pub async fn expect_partition(&self, topic: &str, partition: i32) -> Result<(), ClientError> {
        let (inner, timeout) = (self.inner.clone(), self.events.timeout());
        // Asking for all topics never creates one, unlike asking for one that is missing.
        let asked =
            tokio::task::spawn_blocking(move || inner.client().fetch_metadata(None, timeout));
        let metadata = match asked.await {
            Ok(answer) => answer.map_err(|error| {
                self.events.explain("producing", &format!("topic {topic:?}"), &error)
            })?,
            Err(_) => return Err(ClientError::TimedOut { action: "producing", after: timeout }),
        };
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let known = found.into_iter().flat_map(|found| found.partitions()).map(|known| known.id());
        match known.max() {
            Some(last) if partition > last => {
                Err(ClientError::no_partition(topic, partition, last))
            }
            _ => Ok(()),
        }
    }

    /// Waits until every queued record is delivered or has failed.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`]: some still wait.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let (inner, timeout) = (self.inner.clone(), self.events.timeout());
        let flushed = tokio::task::spawn_blocking(move || inner.flush(timeout)).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.events.explain("delivering", "the topic", &error)),
            Err(_) => Err(ClientError::TimedOut { action: "delivering", after: timeout }),
        }
    }

    fn explain(&self, record: &Record, error: &KafkaError) -> ClientError {
        self.events.explain("producing", &subject(&record.topic, record.partition, error), error)
    }
}

/// A record's delivery.
///
/// # Cancel safety
/// Dropping it does not take the record back.
#[must_use = "a failed delivery is only told here"]
pub struct Delivering {
    inner: DeliveryFuture,
    events: Events,
    topic: String,
}

impl fmt::Debug for Delivering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivering").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Future for Delivering {
    type Output = Result<Delivery, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = std::task::ready!(Pin::new(&mut self.inner).poll(cx));
        let (error, partition) = match result {
            Ok(Ok(delivery)) => {
                let offset = (delivery.offset >= 0).then_some(delivery.offset);
                return Poll::Ready(Ok(Delivery { partition: delivery.partition, offset }));
            }
            Ok(Err((error, record))) => (error, Some(record.partition())),
            Err(_producer_dropped) => (KafkaError::Canceled, None),
        };
        let subject = subject(&self.topic, partition, &error);
        Poll::Ready(Err(self.events.explain("producing", &subject, &error)))
    }
}

/// What `error` befell: the partition, if it is the partition that does not exist.
fn subject(topic: &str, partition: Option<i32>, error: &KafkaError) -> String {
    match (error.rdkafka_error_code(), partition) {
        (Some(RDKafkaErrorCode::UnknownPartition), Some(partition)) => {
            format!("partition {partition} of topic {topic:?}")
        }
        _ => format!("topic {topic:?}"),
    }
}

fn to_kafka(record: &Record) -> FutureRecord<'_, [u8], [u8]> {
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
