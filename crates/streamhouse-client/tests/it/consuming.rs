//! What a consumer records.

use crate::support::{Recorded, attribute, cluster, recorded, text, unsampled};
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use std::future::pending;
use std::time::Duration;
use streamhouse_client::{
    Connection, Consumer, Producer, ProducerOptions, Received, Start, Telemetry,
};

const CONSUMED: &str = "messaging_client_consumed_messages_total";
const DURATIONS: &str = "messaging_client_operation_duration_seconds_count";
const PROCESSED: &str = "messaging_process_duration_seconds_count";

/// Sends a record inside a trace and returns the context of its `send` span.
async fn sent(recorded: &Recorded, connection: &Connection) -> SpanContext {
    let producer = Producer::new(connection, ProducerOptions::default()).unwrap();
    recorded.inside(producer.send(&text("orders", "one"))).await.1.unwrap();
    recorded.only("send orders").span_context
}

async fn consumer(connection: &Connection) -> Consumer {
    Consumer::new(connection, "orders", &[], Start::Earliest).await.unwrap()
}

async fn ok() -> Result<(), ()> {
    Ok(())
}

async fn received(consumer: &Consumer) -> Received {
    consumer.next().await.unwrap()
}

#[tokio::test]
async fn outside_a_trace_processing_continues_that_of_the_records_creation() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let created = sent(&recorded, &connection).await;

    let consumer = consumer(&connection).await;
    let record = received(&consumer).await;
    let inside = async {
        let context = Context::current();
        Ok::<_, ()>(context.span().span_context().clone())
    };
    let seen = consumer.process(&record, inside).await.unwrap();

    let span = recorded.only("process orders");
    assert_eq!(seen, span.span_context, "the work is inside the span");
    assert_eq!(span.span_kind, SpanKind::Consumer);
    assert_eq!(span.span_context.trace_id(), created.trace_id());
    assert_eq!(span.parent_span_id, created.span_id());
    assert_eq!(span.links.len(), 1);
    assert_eq!(span.links.links[0].span_context.span_id(), created.span_id());
    for (key, value) in [
        ("messaging.system", "kafka"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "orders"),
        ("messaging.destination.partition.id", "0"),
        ("messaging.kafka.offset", "0"),
        ("messaging.client.id", "streamhouse-client"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    assert!(recorded.named("poll orders").is_empty(), "a poll outside a trace is not traced");
}

#[tokio::test]
async fn inside_a_trace_polls_and_processing_are_its_children_linked_with_the_creation() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let created = sent(&recorded, &connection).await;
    let consumer = consumer(&connection).await;

    let (at_hand, ()) = recorded
        .inside(async {
            let record = received(&consumer).await;
            consumer.process(&record, ok()).await.unwrap();
        })
        .await;

    for (name, kind) in [("poll orders", SpanKind::Client), ("process orders", SpanKind::Consumer)]
    {
        let span = recorded.only(name);
        assert_eq!(span.span_kind, kind);
        assert_eq!(span.parent_span_id, at_hand.span_id(), "{name}");
        assert_eq!(span.links.links[0].span_context.span_id(), created.span_id(), "{name}");
    }
    let poll = recorded.only("poll orders");
    assert_eq!(attribute(&poll, "messaging.operation.type").as_deref(), Some("receive"));
    assert_eq!(attribute(&poll, "messaging.batch.message_count"), None);
}

#[tokio::test]
async fn where_the_work_at_hand_is_not_sampled_neither_is_the_record() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    sent(&recorded, &connection).await;
    let consumer = consumer(&connection).await;

    unsampled(async {
        let record = received(&consumer).await;
        consumer.process(&record, ok()).await.unwrap();
    })
    .await;

    assert!(recorded.named("process orders").is_empty());
    assert!(recorded.named("poll orders").is_empty());
}

#[tokio::test]
async fn with_roots_a_poll_and_the_work_on_a_record_of_no_trace_begin_traces() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let quiet = connection.clone().recorded_by(&Telemetry::off());
    let producer = Producer::new(&quiet, ProducerOptions::default()).unwrap();
    producer.send(&text("orders", "one")).await.unwrap();

    let telemetry = recorded.telemetry.clone().with_roots();
    let consumer = consumer(&connection.recorded_by(&telemetry)).await;
    let record = received(&consumer).await;
    consumer.process(&record, ok()).await.unwrap();

    for name in ["poll orders", "process orders"] {
        let span = recorded.only(name);
        assert_eq!(span.parent_span_id, SpanId::INVALID);
        assert!(span.links.is_empty());
    }
}

#[tokio::test]
async fn work_that_fails_is_dropped_or_panics_is_recorded_as_such() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    sent(&recorded, &connection).await;
    let consumer = consumer(&connection).await;
    let record = received(&consumer).await;

    consumer.process(&record, ok()).await.unwrap();
    consumer.process(&record, async { Err::<(), _>("no") }).await.unwrap_err();
    let hangs = consumer.process(&record, pending::<Result<(), ()>>());
    assert!(tokio::time::timeout(Duration::ZERO, hangs).await.is_err());
    let panics = consumer.process(&record, async { panic!("as planned") });
    let panics = std::panic::AssertUnwindSafe(async {
        let _: Result<(), ()> = panics.await;
    });
    assert!(futures_util::FutureExt::catch_unwind(panics).await.is_err());

    let classes: Vec<_> = recorded
        .named("process orders")
        .iter()
        .map(|span| (attribute(span, "error.type"), span.status == Status::error("")))
        .collect();
    let failed = |class: &str| (Some(class.to_owned()), true);
    assert_eq!(classes, [(None, false), failed("_OTHER"), failed("cancelled"), failed("panic")]);
    for class in ["_OTHER", "cancelled", "panic"] {
        assert_eq!(recorded.count(PROCESSED, &[("error_type", class)]), Some(1.0), "{class}");
    }
    assert_eq!(recorded.count(PROCESSED, &[]), Some(4.0));
}

#[tokio::test]
async fn what_is_read_is_counted_once_it_is_given_to_the_application() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let quiet = connection.clone().recorded_by(&Telemetry::off());
    let producer = Producer::new(&quiet, ProducerOptions::default()).unwrap();
    for number in 0..5 {
        producer.send(&text("orders", &number.to_string())).await.unwrap();
    }
    let consumer = consumer(&connection.recorded_by(&recorded.telemetry)).await;
    for _ in 0..3 {
        received(&consumer).await;
    }

    let labels = [
        ("messaging_system", "kafka"),
        ("messaging_operation_name", "poll"),
        ("messaging_destination_name", "orders"),
    ];
    assert_eq!(recorded.count(CONSUMED, &labels), Some(3.0));
    assert_eq!(recorded.count(DURATIONS, &labels), Some(3.0));
    assert!(!recorded.text().contains("consumer_group_name"));
}
