//! The client's members of groups on the real binary.

use crate::BINARY;
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanId, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use streamhouse_client::{
    Admin, Connection, GroupConsumer, GroupOptions, Producer, ProducerOptions, Received, Record,
    Telemetry,
};
use streamhouse_observability::testing;
use streamhouse_tests::process::{Launch, PATIENCE};

const TOPIC: &str = "orders";

async fn next(member: &GroupConsumer) -> Received {
    tokio::time::timeout(PATIENCE, member.recv()).await.expect("in time").expect("a record")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_leaves_hands_on_at_once_and_what_it_did_not_settle_is_read_again() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Launch::serve(BINARY, data.path()).start();
    let connection = Connection::to(server.kafka.to_string()).recorded_by(&Telemetry::off());
    let admin = Admin::new(&connection).expect("an admin client");
    admin.create_topic(TOPIC, 1).await.expect("a topic");
    let producer = Producer::new(&connection, ProducerOptions::default()).expect("a producer");
    for number in 0..4 {
        let record = Record { topic: TOPIC.into(), value: Some(vec![number]), ..Record::default() };
        producer.send(&record).await.expect("a delivery");
    }
    // Far longer than a test waits: only leaving can hand the partition on in time.
    let session_timeout = 3 * PATIENCE;
    let options = GroupOptions { commit_every: None, session_timeout, ..GroupOptions::default() };
    let member = || {
        let member = GroupConsumer::subscribe(&connection, "payments", &[TOPIC], options);
        member.expect("a member")
    };

    let first = member();
    for offset in 0..4 {
        let record = next(&first).await;
        assert_eq!(record.offset, offset);
        let work = async { if offset == 2 { Err("not this one") } else { Ok(()) } };
        let _ = first.process(&record, work).await;
    }
    first.close().await.expect("a commit");

    let second = member();
    assert_eq!(next(&second).await.offset, 2);
    let last = next(&second).await;
    assert_eq!(last.offset, 3);
    assert_eq!(second.assignment().expect("an assignment"), [(TOPIC.to_owned(), 0)]);
    let nothing = second.poll(10, Duration::from_millis(100)).await.expect("a poll");
    assert!(nothing.is_empty(), "{nothing:?}");
    second.close().await.expect("a commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_settled_of_partitions_that_go_is_committed_before_and_told_with_its_records() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Launch::serve(BINARY, data.path()).start();
    let (_, metrics) = testing::in_memory();
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_span_processor(kept.clone()).build();
    let telemetry = Telemetry::new(&metrics.metrics().global_provider(), &provider);
    let connection = Connection::to(server.kafka.to_string()).with("heartbeat.interval.ms", "200");
    let traced = connection.clone().recorded_by(&telemetry);
    let quiet = connection.recorded_by(&Telemetry::off());
    Admin::new(&quiet).expect("an admin client").create_topic(TOPIC, 2).await.expect("a topic");
    let producer = Producer::new(&traced, ProducerOptions::default()).expect("a producer");
    // Two records for each partition; those at offset 0 are sent inside the trace.
    let orders = Context::new().with_span(provider.tracer("test").start("orders"));
    for partition in [0, 1] {
        let record = Record {
            topic: TOPIC.into(),
            partition: Some(partition),
            value: Some(b"order".to_vec()),
            ..Record::default()
        };
        let sent = producer.send(&record).with_context(orders.clone()).await;
        assert_eq!(sent.expect("a delivery").offset, Some(0));
        producer.send(&record).await.expect("a delivery");
    }
    let options = GroupOptions { commit_every: Some(10 * PATIENCE), ..GroupOptions::default() };
    let member = |connection| {
        GroupConsumer::subscribe(connection, "payments", &[TOPIC], options).expect("a member")
    };

    let first = member(&traced);
    for _ in 0..4 {
        let record = next(&first).await;
        if record.offset == 0 {
            first.settle(&record);
        }
    }
    assert!(kept.named("commit").is_empty(), "none is due");
    let second = member(&quiet);
    let (mut again, start) = (BTreeSet::new(), Instant::now());
    while again.len() < 2 {
        for member in [&first, &second] {
            let records = member.poll(10, Duration::from_millis(50)).await.unwrap_or_default();
            again.extend(records.iter().map(|record| (record.partition, record.offset)));
        }
        assert!(start.elapsed() < PATIENCE, "{again:?}");
    }

    assert_eq!(again, BTreeSet::from([(0, 1), (1, 1)]), "only what was open comes again");
    let commits = kept.named("commit");
    assert_eq!(commits.len(), 1, "{commits:#?}");
    assert_eq!(commits[0].status, Status::Unset);
    assert_eq!(commits[0].parent_span_id, SpanId::INVALID, "nobody has asked for it");
    let linked = commits[0].links.iter().map(|link| link.span_context.span_id().to_string());
    let sent = kept.named("send orders").into_iter();
    let sent = sent.map(|span| span.span_context.span_id().to_string());
    assert_eq!(linked.collect::<BTreeSet<_>>(), sent.collect::<BTreeSet<_>>());
    assert_eq!(commits[0].links.len(), 2);
    for member in [first, second] {
        member.close().await.expect("nothing is left to commit");
    }
    assert_eq!(kept.named("commit").len(), 1);
}

/// The spans that have ended.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl Kept {
    fn named(&self, name: &str) -> Vec<SpanData> {
        let spans = self.0.lock().expect("no panic");
        spans.iter().filter(|span| span.name == name).cloned().collect()
    }
}

impl SpanProcessor for Kept {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().expect("no panic").push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
