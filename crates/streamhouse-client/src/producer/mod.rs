//! The producer.

mod context;
mod delivery;
mod options;
mod wrapped;

pub use options::{Acks, Compression, ProducerOptions};

use crate::connection::{Connection, Events};
use crate::error::ClientError;
use crate::record::Delivery;
use crate::telemetry::{ErrorType, Telemetry};
use context::Deliveries;
use delivery::{Pending, Underway};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::ToBytes;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{
    BaseRecord, FutureProducer, FutureRecord, Producer as _, ThreadedProducer,
};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use wrapped::Watched;

/// How long calls of a producer may take that somebody else has configured.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a full queue is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// Writes records, and records what becomes of them. Cheap to clone.
///
/// Each record counts in `messaging.client.sent.messages` and
/// `messaging.client.operation.duration`, from the call until its delivery is known. Inside a
/// sampled span it has a `send` span and carries that span's context, unless the user has put a
/// `traceparent` among its headers.
pub struct Producer<C: ClientContext + 'static = Events> {
    inner: Inner<C>,
    events: Events,
    telemetry: Telemetry,
    client_id: Option<Arc<str>>,
}

enum Inner<C: ClientContext + 'static> {
    Own(ThreadedProducer<Deliveries<C>>),
    Wrapped(FutureProducer<C>),
}

/// A record that librdkafka did not take, and why.
struct Left<'a, K: ToBytes + ?Sized, P: ToBytes + ?Sized> {
    error: KafkaError,
    record: FutureRecord<'a, K, P>,
    pending: Arc<Pending>,
}

impl<C: ClientContext + 'static> Clone for Producer<C> {
    fn clone(&self) -> Self {
        let inner = match &self.inner {
            Inner::Own(producer) => Inner::Own(producer.clone()),
            Inner::Wrapped(producer) => Inner::Wrapped(producer.clone()),
        };
        let (events, telemetry) = (self.events.clone(), self.telemetry.clone());
        Self { inner, events, telemetry, client_id: self.client_id.clone() }
    }
}

impl<C: ClientContext + 'static> fmt::Debug for Producer<C> {
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
        Self::build(&config, events.clone(), events, connection.telemetry())
    }
}

impl<C: ClientContext + 'static> Producer<C> {
    /// A producer with settings and a context of the user's own.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: a setting is not possible.
    pub fn from_config(
        config: &ClientConfig,
        context: C,
        telemetry: &Telemetry,
    ) -> Result<Self, ClientError> {
        Self::build(config, context, Events::of_wrapped(TIMEOUT), telemetry.clone())
    }

    /// A producer around one that exists.
    ///
    /// Only who awaits a delivery learns of it here: a record's duration ends when its
    /// [`Delivering`] is polled, and a record whose `Delivering` is dropped counts as sent, without
    /// a duration. [`from_config`](Self::from_config) has no such gap.
    pub fn wrap(producer: FutureProducer<C>, telemetry: &Telemetry) -> Self {
        let (inner, events) = (Inner::Wrapped(producer), Events::of_wrapped(TIMEOUT));
        Self { inner, events, telemetry: telemetry.clone(), client_id: None }
    }

    fn build(
        config: &ClientConfig,
        context: C,
        events: Events,
        telemetry: Telemetry,
    ) -> Result<Self, ClientError> {
        let instruments = telemetry.instruments.clone();
        let inner = config
            .create_with_context(Deliveries { inner: context, events: events.clone(), instruments })
            .map_err(|error| events.explain("making a producer", "the producer", &error))?;
        let client_id = config.get("client.id").map(Into::into);
        Ok(Self { inner: Inner::Own(inner), events, telemetry, client_id })
    }

    /// Sends a record and waits until it is delivered.
    ///
    /// # Errors
    /// [`ClientError::Unknown`]: create the topic first. [`ClientError::TooLarge`]: split it.
    /// Any that [is retryable](ClientError::is_retryable): send it again; without idempotence it
    /// may then be there twice. [`ClientError::Fenced`]: end this producer.
    /// # Cancel safety
    /// Dropping the future does not take the record back; its delivery is counted all the same.
    pub async fn send<'a, K, P>(
        &self,
        record: impl Into<FutureRecord<'a, K, P>>,
    ) -> Result<Delivery, ClientError>
    where
        K: ToBytes + ?Sized + 'a,
        P: ToBytes + ?Sized + 'a,
    {
        self.enqueue(record).await?.await
    }

    /// Queues a record and returns what its delivery can be awaited by. Records of one partition
    /// keep the order in which they are queued. Waits while the queue is full.
    ///
    /// # Errors
    /// [`ClientError::QueueFull`] when the queue stays full for the connection's timeout.
    /// # Cancel safety
    /// Dropped while it waits, the record is not sent.
    pub async fn enqueue<'a, K, P>(
        &self,
        record: impl Into<FutureRecord<'a, K, P>>,
    ) -> Result<Delivering, ClientError>
    where
        K: ToBytes + ?Sized + 'a,
        P: ToBytes + ?Sized + 'a,
    {
        let started = Instant::now();
        let mut record = record.into();
        let place = self.telemetry.instruments.sending(record.topic);
        let span = self.telemetry.traces.send(&mut record, self.client_id.as_ref());
        let pending = Arc::new(Pending::new(Underway::new(place, started, span)));
        match self.queue(record, pending) {
            Ok(delivering) => Ok(delivering),
            // Boxed, so that a record that finds room carries no timer with it.
            Err(left) => Box::pin(self.queue_again(*left)).await,
        }
    }

    /// Gives the record to librdkafka, which copies it.
    fn queue<'a, K, P>(
        &self,
        record: FutureRecord<'a, K, P>,
        pending: Arc<Pending>,
    ) -> Result<Delivering, Box<Left<'a, K, P>>>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        match &self.inner {
            Inner::Own(producer) => match producer.send(to_base(record, pending.clone())) {
                Ok(()) => Ok(Delivering(Waiting::Own(pending))),
                Err((error, record)) => {
                    Err(Box::new(Left { error, record: from_base(record), pending }))
                }
            },
            Inner::Wrapped(producer) => match producer.send_result(record) {
                Ok(inner) => {
                    let (telemetry, events) = (self.telemetry.clone(), self.events.clone());
                    let watched = Watched::new(inner, pending, telemetry, events);
                    Ok(Delivering(Waiting::Wrapped(Box::new(watched))))
                }
                Err((error, record)) => Err(Box::new(Left { error, record, pending })),
            },
        }
    }

    /// Tries again to queue a record that librdkafka did not take.
    async fn queue_again<K, P>(&self, mut left: Left<'_, K, P>) -> Result<Delivering, ClientError>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        while self.waits(&left) {
            tokio::time::sleep(RETRY).await;
            match self.queue(left.record, left.pending) {
                Ok(delivering) => return Ok(delivering),
                Err(again) => left = *again,
            }
        }
        let Left { error, record, pending } = left;
        let subject = subject(record.topic, record.partition, &error);
        let error = self.events.explain("producing", &subject, &error);
        pending.underway.end_unsent(&self.telemetry.instruments, ErrorType::from(&error));
        Err(error)
    }

    /// Whether the record may still find room.
    fn waits<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(&self, left: &Left<'_, K, P>) -> bool {
        matches!(left.error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull))
            && left.pending.underway.started().elapsed() < self.events.timeout()
    }

    /// Checks that `topic` has this partition. A topic that is not known yet passes: sending waits
    /// for it.
    ///
    /// # Errors
    /// [`ClientError::Unknown`]: it names the partitions there are.
    /// [`ClientError::Unreachable`], [`ClientError::TimedOut`]: try again.
    pub async fn expect_partition(&self, topic: &str, partition: i32) -> Result<(), ClientError> {
        let subject = format!("topic {topic:?}");
        // Asking for all topics never creates one, unlike asking for one that is missing.
        let metadata = self.blocking("producing", &subject, Self::metadata).await?;
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
        self.blocking("delivering", "the topic", |inner, timeout| match inner {
            Inner::Own(producer) => producer.flush(timeout),
            Inner::Wrapped(producer) => producer.flush(timeout),
        })
        .await
    }

    fn metadata(inner: &Inner<C>, timeout: Duration) -> Result<Metadata, KafkaError> {
        match inner {
            Inner::Own(producer) => producer.client().fetch_metadata(None, timeout),
            Inner::Wrapped(producer) => producer.client().fetch_metadata(None, timeout),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        subject: &str,
        call: impl FnOnce(&Inner<C>, Duration) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let (producer, timeout) = (self.clone(), self.events.timeout());
        match tokio::task::spawn_blocking(move || call(&producer.inner, timeout)).await {
            Ok(result) => result.map_err(|error| self.events.explain(action, subject, &error)),
            Err(_) => Err(ClientError::TimedOut { action, after: timeout }),
        }
    }
}

/// A record's delivery.
///
/// # Cancel safety
/// Dropping it does not take the record back.
#[must_use = "a failed delivery is only told here"]
pub struct Delivering(Waiting);

enum Waiting {
    Own(Arc<Pending>),
    Wrapped(Box<Watched>),
}

impl fmt::Debug for Delivering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivering").finish_non_exhaustive()
    }
}

impl Future for Delivering {
    type Output = Result<Delivery, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Waiting::Own(pending) => pending.poll(cx),
            Waiting::Wrapped(watched) => watched.poll(cx),
        }
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

fn to_base<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
    record: FutureRecord<'_, K, P>,
    pending: Arc<Pending>,
) -> BaseRecord<'_, K, P, Arc<Pending>> {
    BaseRecord {
        topic: record.topic,
        partition: record.partition,
        payload: record.payload,
        key: record.key,
        timestamp: record.timestamp,
        headers: record.headers,
        delivery_opaque: pending,
    }
}

fn from_base<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
    record: BaseRecord<'_, K, P, Arc<Pending>>,
) -> FutureRecord<'_, K, P> {
    FutureRecord {
        topic: record.topic,
        partition: record.partition,
        payload: record.payload,
        key: record.key,
        timestamp: record.timestamp,
        headers: record.headers,
    }
}
