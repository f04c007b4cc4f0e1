//! librdkafka as a witness: what was acknowledged, and what can be read.

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A place in the log.
pub type Place = (i32, i64);

/// What a producer was told.
#[derive(Debug, Default)]
pub struct Told {
    /// Values acknowledged, by the place that the acknowledgement named.
    pub acknowledged: Vec<(Place, u64)>,
    /// Errors told instead.
    pub failed: Vec<KafkaError>,
}

/// Keeps what a producer was told.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Told>>);

impl Witness {
    /// Runs `read` on what was told so far.
    pub fn with<T>(&self, read: impl FnOnce(&mut Told) -> T) -> T {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Witness {}

impl ProducerContext for Witness {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.with(|told| match result {
            Ok(message) => {
                let place = (message.partition(), message.offset());
                let value = message.payload().and_then(number);
                told.acknowledged.push((place, value.expect("our own value")));
            }
            Err((error, _)) => told.failed.push(error.clone()),
        });
    }
}

/// A value that shows when a byte of it is wrong.
pub fn value(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(12)
}

/// The number of a whole value.
pub fn number(bytes: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    (bytes == value(number)).then_some(number)
}

/// A producer whose witness hears every delivery report.
pub fn producer(
    addr: SocketAddr,
    settings: &[(&str, &str)],
) -> (ThreadedProducer<Witness>, Witness) {
    let witness = Witness::default();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", addr.to_string())
        .set("linger.ms", "2")
        .set("reconnect.backoff.max.ms", "100")
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "200")
        .set("message.timeout.ms", "120000");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    let producer = config.create_with_context(witness.clone()).expect("a producer");
    (producer, witness)
}

/// Sends a numbered value; waits while librdkafka's queue is full.
pub fn send(producer: &ThreadedProducer<Witness>, topic: &str, partition: i32, n: u64) {
    let bytes = value(n);
    loop {
        let record = BaseRecord::<(), _>::to(topic).partition(partition).payload(&bytes);
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            Err((error, _)) => panic!("cannot send: {error}"),
        }
    }
}

/// Waits until every sent value has its report.
pub fn flush(producer: &ThreadedProducer<Witness>) {
    producer.flush(Duration::from_secs(120)).expect("every value gets its report");
}

/// Reads a topic's partitions from their start to their end.
pub fn read_all(addr: SocketAddr, topic: &str, partitions: i32) -> BTreeMap<Place, Vec<u8>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", addr.to_string())
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut wanted = TopicPartitionList::new();
    let mut left = BTreeMap::new();
    for partition in 0..partitions {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, Duration::from_secs(30))
            .expect("the ends of the log");
        if high > low {
            wanted.add_partition_offset(topic, partition, Offset::Offset(low)).expect("an offset");
            left.insert(partition, high);
        }
    }
    consumer.assign(&wanted).expect("an assignment");
    let mut found = BTreeMap::new();
    let start = Instant::now();
    while !left.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(120), "cannot read to the end: {left:?}");
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let Ok(message) = message else { continue };
        let place = (message.partition(), message.offset());
        found.insert(place, message.payload().unwrap_or_default().to_vec());
        if left.get(&message.partition()).is_some_and(|high| message.offset() + 1 >= *high) {
            left.remove(&message.partition());
        }
    }
    found
}

/// Creates a topic.
pub fn create_topic(addr: SocketAddr, topic: &str, partitions: i32) {
    streamhouse_tests::load::create_topic(addr, topic, partitions).expect("a new topic");
}

/// Deletes a topic.
pub fn delete_topic(addr: SocketAddr, topic: &str) {
    use kafka_protocol::messages::{DeleteTopicsRequest, TopicName};
    use kafka_protocol::protocol::StrBytes;
    let name = TopicName(StrBytes::from_string(topic.into()));
    let request =
        DeleteTopicsRequest::default().with_topic_names(vec![name]).with_timeout_ms(10_000);
    let mut connection = streamhouse_tests::raw::Connection::open(addr).expect("a connection");
    let answer = connection.call(5, &request).expect("an answer");
    assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0]);
}
