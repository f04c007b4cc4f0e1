//! librdkafka, as applications use it.

use crate::server::{PATIENCE, Server};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, NewPartitions, NewTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, Timestamp, TopicPartitionList};
use std::time::{Duration, Instant};
use streamhouse_observability::labels::Operation;
use streamhouse_storage::testing::Fault;

const FIRST: i64 = 1_700_000_000_000;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn config(server: &Server) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server.bootstrap()).set("broker.address.family", "v4");
    config
}

fn producer(server: &Server, settings: &[(&str, &str)]) -> FutureProducer {
    let mut config = config(server);
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

fn consumer(server: &Server) -> BaseConsumer {
    config(server)
        .set("group.id", "none")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap()
}

fn payload(place: i64) -> String {
    format!("payload {place} {}", "µ".repeat(usize::try_from(place % 50).unwrap()))
}

/// Sends `count` records, whose timestamps are a second apart.
async fn send(producer: &FutureProducer, topic: &str, count: i64) {
    let mut sent = Vec::new();
    for place in 0..count {
        let (key, payload) = (place.to_string(), payload(place));
        let headers = OwnedHeaders::new()
            .insert(Header { key: "place", value: Some(&key) })
            .insert(Header { key: "nothing", value: None::<&str> });
        let record = FutureRecord::to(topic)
            .partition(0)
            .key(&key)
            .payload(&payload)
            .headers(headers)
            .timestamp(FIRST + 1000 * place);
        sent.push(producer.send_result(record).unwrap());
    }
    for one in sent {
        one.await.unwrap().unwrap();
    }
}

/// Reads `count` records from `offset` on.
async fn read(server: &Server, topic: &str, offset: Offset, count: usize) -> Vec<OwnedMessage> {
    let consumer = consumer(server);
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset(&topic, 0, offset).unwrap();
        consumer.assign(&wanted).unwrap();
        let began = Instant::now();
        let mut read = Vec::new();
        while read.len() < count {
            assert!(began.elapsed() < PATIENCE, "{} of {count} records came", read.len());
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                read.push(message.unwrap().detach());
            }
        }
        read
    })
    .await
    .unwrap()
}

fn check(message: &OwnedMessage, offset: i64, place: i64) {
    assert_eq!(message.offset(), offset);
    assert_eq!(message.key(), Some(place.to_string().as_bytes()));
    assert_eq!(message.payload(), Some(payload(place).as_bytes()));
    assert_eq!(message.timestamp(), Timestamp::CreateTime(FIRST + 1000 * place));
    let headers = message.headers().unwrap();
    assert_eq!(headers.count(), 2);
    assert_eq!(headers.get(0).value, Some(place.to_string().as_bytes()));
    assert_eq!(headers.get(1).value, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_every_codec_and_every_acks_come_back_byte_for_byte() {
    let server = Server::start().await;
    for codec in CODECS {
        let topic = format!("of-{codec}");
        let mut next = 0;
        for acks in ["0", "1", "all"] {
            let settings = [("compression.type", codec), ("acks", acks), ("linger.ms", "5")];
            send(&producer(&server, &settings), &topic, 60).await;
            next += 60;
            let labels = [("topic", topic.as_str())];
            server.counted("streamhouse.producer.records", &labels, next).await;
        }
        for (at, message) in read(&server, &topic, Offset::Beginning, 180).await.iter().enumerate()
        {
            check(message, at as i64, at as i64 % 60);
        }
        let middle = read(&server, &topic, Offset::Offset(77), 103).await;
        check(&middle[0], 77, 17);
    }
    assert_eq!(server.count("streamhouse.producer.records", &[]), 15 * 60);
    assert_eq!(server.count("streamhouse.producer.errors", &[]), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_by_time_are_exact_within_a_batch_of_every_codec() {
    let server = Server::start().await;
    for codec in CODECS {
        let topic = format!("timed-{codec}");
        let settings = [("compression.type", codec), ("acks", "all"), ("linger.ms", "50")];
        send(&producer(&server, &settings), &topic, 100).await;
        let consumer = consumer(&server);
        tokio::task::spawn_blocking(move || {
            for (timestamp, wanted) in [
                (0, Offset::Offset(0)),
                (FIRST, Offset::Offset(0)),
                (FIRST + 41_999, Offset::Offset(42)),
                (FIRST + 42_000, Offset::Offset(42)),
                (FIRST + 42_001, Offset::Offset(43)),
                (FIRST + 99_000, Offset::Offset(99)),
                (FIRST + 99_001, Offset::End),
            ] {
                let mut asked = TopicPartitionList::new();
                asked.add_partition_offset(&topic, 0, Offset::Offset(timestamp)).unwrap();
                let found = consumer.offsets_for_times(asked, PATIENCE).unwrap();
                let found = found.find_partition(&topic, 0).unwrap().offset();
                assert_eq!(found, wanted, "{topic} at {timestamp}");
            }
            assert_eq!(consumer.fetch_watermarks(&topic, 0, PATIENCE).unwrap(), (0, 100));
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotent_producer_survives_a_failing_store_without_gap_or_double() {
    let server = Server::start().await;
    let settings = [
        ("enable.idempotence", "true"),
        ("linger.ms", "0"),
        ("batch.num.messages", "5"),
        ("retry.backoff.ms", "10"),
        ("retry.backoff.max.ms", "50"),
    ];
    let producer = producer(&server, &settings);
    send(&producer, "orders", 20).await;
    server.faults.queue(Operation::Put, [Some(Fault::Throttled); 12]);
    send(&producer, "orders", 200).await;
    let read = read(&server, "orders", Offset::Beginning, 220).await;
    for (at, message) in read.iter().enumerate() {
        let at = at as i64;
        check(message, at, if at < 20 { at } else { at - 20 });
    }
    assert_eq!(server.count("streamhouse.producer.records", &[("topic", "orders")]), 220);
    assert!(producer.client().fatal_error().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_client_creates_describes_grows_and_deletes() {
    let server = Server::start().await;
    let admin: AdminClient<DefaultClientContext> = config(&server).create().unwrap();
    let options = AdminOptions::new();
    let new = NewTopic::new("orders", 3, TopicReplication::Fixed(1));
    let created = admin.create_topics([&new], &options).await.unwrap();
    assert_eq!(created, [Ok("orders".to_owned())]);
    let again = admin.create_topics([&new], &options).await.unwrap();
    assert_eq!(again, [Err(("orders".to_owned(), RDKafkaErrorCode::TopicAlreadyExists))]);
    let grown = admin.create_partitions([&NewPartitions::new("orders", 5)], &options).await;
    assert_eq!(grown.unwrap(), [Ok("orders".to_owned())]);
    let described =
        admin.describe_configs([&ResourceSpecifier::Topic("orders")], &options).await.unwrap();
    let described: &ConfigResource = described[0].as_ref().unwrap();
    let policy = described.get("cleanup.policy").unwrap();
    assert_eq!((policy.value.as_deref(), policy.is_read_only), (Some("delete"), true));
    let retention = described.get("retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.is_default), (Some("604800000"), true));
    let week = AlterConfig::new(ResourceSpecifier::Topic("orders")).set("retention.ms", "5000");
    assert!(admin.alter_configs([&week], &options).await.unwrap()[0].is_ok());
    let nonsense = AlterConfig::new(ResourceSpecifier::Topic("orders")).set("nonsense", "1");
    admin.alter_configs([&nonsense], &options).await.unwrap(); // it hides the refusal
    let described =
        admin.describe_configs([&ResourceSpecifier::Topic("orders")], &options).await.unwrap();
    let retention = described[0].as_ref().unwrap().get("retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.is_default), (Some("5000"), false));
    let probe = consumer(&server);
    let metadata = tokio::task::spawn_blocking(move || {
        // For all topics librdkafka leaves three bytes after its request.
        assert_eq!(probe.fetch_metadata(None, PATIENCE).unwrap().topics().len(), 1);
        probe.fetch_metadata(Some("orders"), PATIENCE).unwrap()
    })
    .await
    .unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 5);
    let deleted = admin.delete_topics(&["orders"], &options).await.unwrap();
    assert_eq!(deleted, [Ok("orders".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_before_records_that_a_client_deleted_goes_on_where_the_log_begins() {
    let server = Server::start().await;
    let admin: AdminClient<DefaultClientContext> = config(&server).create().unwrap();
    send(&producer(&server, &[("linger.ms", "0")]), "orders", 50).await;
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_offset("orders", 0, Offset::Offset(30)).unwrap();
    let deleted = admin.delete_records(&wanted, &AdminOptions::new()).await.unwrap();
    let low = deleted.find_partition("orders", 0).unwrap();
    assert_eq!((low.offset(), low.error()), (Offset::Offset(30), Ok(())));
    // It begins where it was before, and resets to the earliest record that is left.
    let left = read(&server, "orders", Offset::Offset(10), 20).await;
    for (at, message) in (30..50).zip(&left) {
        check(message, at, at);
    }
}
