//! The client against librdkafka's own in-process cluster, and against nobody.

use crate::support::{cluster, nobody};
use streamhouse_client::{
    Acks, Admin, ClientError, Compression, Connection, Consumer, Header, Producer, ProducerOptions,
    Record, Start,
};

fn record(topic: &str, number: u8) -> Record {
    Record {
        topic: topic.into(),
        partition: Some(0),
        key: (!number.is_multiple_of(2)).then(|| vec![number, 0, 255]),
        value: Some(vec![number; usize::from(number) * 100]),
        headers: vec![
            Header { key: "same".into(), value: Some(vec![number]) },
            Header { key: "same".into(), value: None },
        ],
        timestamp_ms: Some(1_700_000_000_000 + i64::from(number)),
    }
}

#[tokio::test]
async fn records_come_back_as_they_were_sent_with_every_codec() {
    let (_cluster, connection) = cluster("orders", 1);
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for compression in codecs {
        let options = ProducerOptions { compression, ..ProducerOptions::default() };
        let producer = Producer::new(&connection, options).unwrap();
        let first = producer.send(&record("orders", 0)).await.unwrap();
        for number in 1..10 {
            producer.send(&record("orders", number)).await.unwrap();
        }
        let start = Start::Offset(first.offset.unwrap());
        let consumer = Consumer::new(&connection, "orders", &[], start).await.unwrap();
        for number in 0..10 {
            let received = consumer.next().await.unwrap();
            let sent = record("orders", number);
            assert_eq!(received.offset, first.offset.unwrap() + i64::from(number));
            assert_eq!(received.key, sent.key);
            assert_eq!(received.value, sent.value, "{compression:?}");
            assert_eq!(received.headers, sent.headers);
            assert_eq!(received.timestamp_ms, sent.timestamp_ms);
        }
    }
}

#[tokio::test]
async fn queued_records_keep_their_order() {
    let (_cluster, connection) = cluster("orders", 1);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();
    let mut waiting = Vec::new();
    for number in 0..200 {
        waiting.push(producer.enqueue(&record("orders", number)).await.unwrap());
    }
    producer.flush().await.unwrap();
    for (number, delivering) in waiting.into_iter().enumerate() {
        let delivery = delivering.await.unwrap();
        assert_eq!((delivery.partition, delivery.offset), (0, Some(number as i64)));
    }
}

#[tokio::test]
async fn a_consumer_that_begins_at_the_latest_record_misses_nothing_sent_afterwards() {
    let (_cluster, connection) = cluster("orders", 1);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();
    producer.send(&record("orders", 1)).await.unwrap();
    let consumer = Consumer::new(&connection, "orders", &[0], Start::Latest).await.unwrap();
    assert_eq!(consumer.assigned()[0].start, 1);
    producer.send(&record("orders", 2)).await.unwrap();
    assert_eq!(consumer.next().await.unwrap().offset, 1);
    assert_eq!(consumer.ends().await.unwrap(), [2]);
}

#[tokio::test]
async fn without_acknowledgement_no_offset_is_made_up() {
    let (_cluster, connection) = cluster("orders", 1);
    let options = ProducerOptions::with_acks(Acks::None);
    let producer = Producer::new(&connection, options).unwrap();
    assert_eq!(producer.send(&record("orders", 1)).await.unwrap().offset, None);
}

#[tokio::test]
async fn a_partition_that_does_not_exist_is_named_with_those_that_do() {
    let (_cluster, connection) = cluster("orders", 3);
    let error = Consumer::new(&connection, "orders", &[7], Start::Earliest).await.unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("partition 7 of topic \"orders\" (0 to 2)"), "{message}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_told_as_such() {
    let connection = nobody();
    let error = Admin::new(&connection).unwrap().topics().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&connection.brokers), "{error}");
    assert!(error.is_retryable());

    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();
    let error = producer.send(&record("orders", 1)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn options_that_contradict_each_other_are_refused() {
    let options = ProducerOptions { acks: Acks::Leader, ..ProducerOptions::default() };
    let error = Producer::new(&Connection::to("127.0.0.1:9092"), options).unwrap_err();
    assert!(error.to_string().contains("acks=all"), "{error}");
    let error = Admin::new(&Connection::to(" ")).unwrap_err();
    assert!(error.to_string().contains("host:port"), "{error}");
}

#[test]
fn a_setting_that_is_not_possible_is_named_and_a_password_is_not_shown() {
    let connection = Connection::to("127.0.0.1:9092").with("no.such.setting", "7");
    let error = Admin::new(&connection).unwrap_err();
    assert!(error.to_string().contains("no.such.setting = \"7\""), "{error}");

    let connection = Connection::to("127.0.0.1:9092").with("no.such.password", "hunter2");
    let error = Admin::new(&connection).unwrap_err();
    assert!(error.to_string().contains("no.such.password"), "{error}");
    assert!(!format!("{error} {error:?} {connection:?}").contains("hunter2"), "{error}");
}
