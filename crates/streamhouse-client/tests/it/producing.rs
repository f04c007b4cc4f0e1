//! What a producer records.

use crate::support::{attribute, cluster, header, nobody, recorded, text, unsampled};
use opentelemetry::trace::{SpanId, SpanKind, Status};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{DefaultProducerContext, FutureRecord};
use std::time::Duration;
use streamhouse_client::{
    ClientError, Consumer, Header, Producer, ProducerOptions, Received, Record, Start, TOPICS,
    Telemetry,
};

const SENT: &str = "messaging_client_sent_messages_total";
const DURATIONS: &str = "messaging_client_operation_duration_seconds_count";

async fn first(connection: &streamhouse_client::Connection) -> Received {
    let connection = connection.clone().recorded_by(&Telemetry::off());
    let consumer = Consumer::new(&connection, "orders", &[0], Start::Earliest).await.unwrap();
    consumer.next().await.unwrap()
}

#[tokio::test]
async fn a_record_sent_inside_a_trace_has_a_send_span_and_carries_its_context() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();

    let record = text("orders", "one");
    let (at_hand, sent) = recorded.inside(producer.send(&record)).await;

    let delivery = sent.unwrap();
    let span = recorded.only("send orders");
    assert_eq!(span.span_kind, SpanKind::Producer);
    assert_eq!(span.parent_span_id, at_hand.span_id());
    assert_eq!(span.status, Status::Unset);
    for (key, value) in [
        ("messaging.system", "kafka"),
        ("messaging.operation.name", "send"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "orders"),
        ("messaging.destination.partition.id", "0"),
        ("messaging.client.id", "streamhouse-client"),
        ("messaging.kafka.offset", &delivery.offset.unwrap().to_string()),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    let own = &span.span_context;
    let expected = format!("00-{}-{}-01", own.trace_id(), own.span_id());
    let received = first(&connection).await;
    assert_eq!(header(&received.headers, "traceparent"), Some(expected.as_str()));
    assert_eq!(span.instrumentation_scope.name(), "streamhouse-client");
    assert!(span.instrumentation_scope.schema_url().unwrap().ends_with("/1.44.0"));
}

#[tokio::test]
async fn outside_a_trace_nothing_is_traced_and_everything_is_counted() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();

    producer.send(&text("orders", "one")).await.unwrap();
    unsampled(producer.send(&text("orders", "two"))).await.unwrap();

    assert!(recorded.spans().is_empty());
    assert_eq!(first(&connection).await.headers, []);
    let labels = [
        ("messaging_system", "kafka"),
        ("messaging_operation_name", "send"),
        ("messaging_destination_name", "orders"),
    ];
    assert_eq!(recorded.count(SENT, &labels), Some(2.0));
    assert_eq!(recorded.count(DURATIONS, &labels), Some(2.0));
    assert!(!recorded.text().contains("error_type"), "{}", recorded.text());
}

#[tokio::test]
async fn with_roots_a_record_begins_a_trace_unless_the_work_at_hand_is_not_sampled() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry.clone().with_roots());
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();

    unsampled(producer.send(&text("orders", "zero"))).await.unwrap();
    assert!(recorded.spans().is_empty());
    producer.send(&text("orders", "one")).await.unwrap();

    assert_eq!(recorded.only("send orders").parent_span_id, SpanId::INVALID);
}

#[tokio::test]
async fn a_context_that_the_user_has_set_stays_and_the_span_is_linked_with_it() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();
    let own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = vec![Header { key: "traceparent".into(), value: Some(own.into()) }];
    let record = Record { headers: headers.clone(), ..text("orders", "one") };

    recorded.inside(producer.send(&record)).await.1.unwrap();

    assert_eq!(first(&connection).await.headers, headers);
    let links = recorded.only("send orders").links;
    assert_eq!(links.len(), 1);
    assert_eq!(links.links[0].span_context.span_id().to_string(), "b7ad6b7169203331");
}

#[tokio::test]
async fn headers_of_the_user_stay_beside_the_context() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();
    let headers = vec![
        Header { key: "same".into(), value: Some(vec![1]) },
        Header { key: "same".into(), value: None },
    ];
    let record = Record { headers: headers.clone(), ..text("orders", "one") };

    recorded.inside(producer.send(&record)).await.1.unwrap();

    let received = first(&connection).await.headers;
    assert_eq!(received[..2], headers);
    assert_eq!(received[2].key, "traceparent");
    assert_eq!(received.len(), 3);
}

#[tokio::test]
async fn a_delivery_that_nobody_awaits_is_recorded_all_the_same() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();

    let record = text("orders", "one");
    let (_, delivering) = recorded.inside(producer.enqueue(&record)).await;
    drop(delivering.unwrap());
    producer.flush().await.unwrap();

    assert_eq!(recorded.count(SENT, &[]), Some(1.0));
    assert_eq!(recorded.count(DURATIONS, &[]), Some(1.0));
    assert!(attribute(&recorded.only("send orders"), "messaging.kafka.offset").is_some());
}

#[tokio::test]
async fn a_failed_delivery_has_the_class_of_its_error_on_span_and_series() {
    let recorded = recorded();
    let connection = nobody().recorded_by(&recorded.telemetry);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();

    let record = text("orders", "one");
    recorded.inside(producer.send(&record)).await.1.unwrap_err();

    let span = recorded.only("send orders");
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("unreachable"));
    assert_eq!(span.status, Status::error(""));
    let failed = [("error_type", "unreachable"), ("messaging_destination_name", "orders")];
    assert_eq!(recorded.count(SENT, &failed), Some(1.0));
    assert_eq!(recorded.count(SENT, &[]), Some(1.0), "a failed message counts once");
    assert_eq!(recorded.count(DURATIONS, &failed), Some(1.0));
}

#[tokio::test]
async fn a_record_that_is_never_sent_counts_as_no_sent_message() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry).with("message.max.bytes", "1000");
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();

    let record = text("orders", &"long".repeat(1000));
    recorded.inside(producer.send(&record)).await.1.unwrap_err();

    assert_eq!(recorded.count(SENT, &[]), Some(0.0));
    let failed = [("error_type", "message_too_large")];
    assert_eq!(recorded.count(DURATIONS, &failed), Some(1.0));
    let span = recorded.only("send orders");
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("message_too_large"));
}

#[tokio::test]
async fn a_record_without_a_value_is_told_as_a_tombstone() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();
    let record = Record { value: None, key: Some("key".into()), ..text("orders", "") };

    recorded.inside(producer.send(&record)).await.1.unwrap();
    recorded.inside(producer.send(&text("orders", ""))).await.1.unwrap();

    let told = recorded.named("send orders");
    let told = told.iter().map(|span| attribute(span, "messaging.kafka.message.tombstone"));
    assert_eq!(told.collect::<Vec<_>>(), [Some("true".to_owned()), None]);
}

#[tokio::test]
async fn a_full_queue_is_waited_for_and_no_record_counts_twice() {
    let (cluster, _) = cluster("orders", 1);
    let recorded = recorded();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    config.set("queue.buffering.max.messages", "1").set("linger.ms", "20");
    let context = DefaultProducerContext;
    let producer = Producer::from_config(&config, context, &recorded.telemetry).unwrap();

    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(producer.enqueue(&text("orders", "one")).await.unwrap());
    }
    for (offset, delivering) in waiting.into_iter().enumerate() {
        assert_eq!(delivering.await.unwrap().offset, Some(offset as i64));
    }
    assert_eq!(recorded.count(SENT, &[]), Some(10.0));
    assert_eq!(recorded.count(DURATIONS, &[]), Some(10.0));
}

#[tokio::test]
async fn a_record_that_finds_no_room_in_time_fails_and_counts_as_no_sent_message() {
    const RECORDS: usize = 20;
    let recorded = recorded();
    let connection = nobody().recorded_by(&recorded.telemetry);
    let connection = connection.with("queue.buffering.max.messages", "1");
    let connection = connection.within(Duration::from_millis(300));
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();

    // One waits for the broker that is not there, the others for its place.
    let record = text("orders", "one");
    let sends = (0..RECORDS).map(|_| producer.send(&record));
    let results = futures_util::future::join_all(sends).await;

    let full = results.iter().filter(|result| **result == Err(ClientError::QueueFull)).count();
    assert!((1..RECORDS).contains(&full), "{results:?}");
    let failed = [("error_type", "queue_full")];
    assert_eq!(recorded.count(DURATIONS, &failed), Some(full as f64));
    assert_eq!(recorded.count(SENT, &failed), None);
    assert_eq!(recorded.count(SENT, &[]), Some((RECORDS - full) as f64));
    assert!(ClientError::QueueFull.is_retryable());
}

#[tokio::test]
async fn topics_beyond_the_bound_are_counted_together_and_none_is_lost() {
    let (cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();

    let mut waiting = Vec::new();
    for number in 0..TOPICS + 10 {
        let topic = format!("topic-{number}");
        cluster.create_topic(&topic, 1, 1).unwrap();
        let record = text(&topic, "one");
        waiting.push(producer.enqueue(&record).await.unwrap());
    }
    for delivering in waiting {
        delivering.await.unwrap();
    }

    let other = [("messaging_destination_name", "<other>")];
    assert_eq!(recorded.count(SENT, &other), Some(10.0));
    assert_eq!(recorded.count(SENT, &[]), Some((TOPICS + 10) as f64));
}

#[tokio::test]
async fn a_producer_with_the_users_own_settings_and_context_records_the_same() {
    let (cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let context = DefaultProducerContext;
    let producer = Producer::from_config(&config, context, &recorded.telemetry).unwrap();

    let record = FutureRecord::<(), str>::to("orders").payload("one").partition(0);
    recorded.inside(producer.send(record)).await.1.unwrap();

    assert_eq!(recorded.count(SENT, &[]), Some(1.0));
    assert_eq!(first(&connection).await.value.as_deref(), Some(&b"one"[..]));
    recorded.only("send orders");
}

#[tokio::test]
async fn no_signal_carries_a_key_or_a_value() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry.clone().with_roots());
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();
    let headers = vec![Header { key: "c4n4ry-name".into(), value: Some("c4n4ry".into()) }];
    let record =
        Record { key: Some("c4n4ry-key".into()), headers, ..text("orders", "c4n4ry-value") };

    producer.send(&record).await.unwrap();
    let consumer = Consumer::new(&connection, "orders", &[], Start::Earliest).await.unwrap();
    let received = consumer.next().await.unwrap();
    consumer.process(&received, async { Err::<(), _>("c4n4ry") }).await.unwrap_err();

    assert!(recorded.spans().len() >= 3);
    let told = format!("{:?}\n{}", recorded.spans(), recorded.text());
    assert!(!told.contains("c4n4ry"), "{told}");
}
