//! The commits of members of groups: each is recorded once, and covers nothing that is not settled.

use crate::groups::{PATIENCE, filled, manual, member, offset};
use crate::support::{Cluster, Recorded, attribute, cluster, recorded, text};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use streamhouse_client::{
    ClientError, Connection, GroupConsumer, GroupOptions, Producer, ProducerOptions, Received,
    Record, Telemetry,
};
use tracing::field::{Field, Visit};
use tracing::{Level, span};

const DURATIONS: &str = "messaging_client_operation_duration_seconds_count";
const COMMIT: (&str, &str) = ("messaging_operation_name", "commit");
const REFUSED: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;

fn often() -> GroupOptions {
    GroupOptions { commit_every: Some(Duration::from_millis(20)), ..manual() }
}

/// Commits by itself, but not within a test.
fn seldom() -> GroupOptions {
    GroupOptions { commit_every: Some(10 * PATIENCE), ..manual() }
}

async fn next(member: &GroupConsumer) -> Received {
    tokio::time::timeout(PATIENCE, member.recv()).await.unwrap().unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends traced records, one to each partition in turn.
struct Sender<'a> {
    recorded: &'a Recorded,
    producer: Producer,
    _cluster: &'a Cluster,
}

impl<'a> Sender<'a> {
    fn new(recorded: &'a Recorded, cluster: &'a Cluster, connection: &Connection) -> Self {
        let producer = Producer::new(connection, ProducerOptions::default()).unwrap();
        Self { recorded, producer, _cluster: cluster }
    }

    /// The context of the new record's creation.
    async fn send(&self, partition: i32) -> SpanContext {
        let record = Record { partition: Some(partition), ..text("orders", "one") };
        let (at_hand, sent) = self.recorded.inside(self.producer.send(&record)).await;
        sent.unwrap();
        let spans = self.recorded.named("send orders");
        let span = spans.iter().find(|span| span.parent_span_id == at_hand.span_id());
        span.unwrap().span_context.clone()
    }
}

fn links(span: &SpanData) -> Vec<String> {
    ids(span.links.iter().map(|link| &link.span_context))
}

fn ids<'a>(created: impl IntoIterator<Item = &'a SpanContext>) -> Vec<String> {
    let mut ids: Vec<_> =
        created.into_iter().map(|created| created.span_id().to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn each_periodic_commit_is_one_span_linked_with_exactly_the_records_that_it_settles() {
    let (cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let sender = Sender::new(&recorded, &cluster, &connection);
    let created = [sender.send(0).await, sender.send(0).await, sender.send(0).await];
    let member = member(&connection, often());
    let records = [next(&member).await, next(&member).await, next(&member).await];

    records[..2].iter().for_each(|record| member.settle(record));
    until("a first commit", || recorded.named("commit").len() == 1).await;
    member.settle(&records[2]);
    until("a second commit", || recorded.named("commit").len() == 2).await;

    let spans = recorded.named("commit");
    assert_eq!(links(&spans[0]), ids(&created[..2]));
    assert_eq!(links(&spans[1]), ids(&created[2..]));
    for span in &spans {
        assert_eq!(span.span_kind, SpanKind::Client);
        assert_eq!(span.parent_span_id, SpanId::INVALID, "nobody has asked for it");
        assert_eq!(span.status, Status::Unset);
        let group = attribute(span, "messaging.consumer.group.name");
        assert_eq!(group.as_deref(), Some("payments"));
    }
    assert_eq!(recorded.count(DURATIONS, &[COMMIT]), Some(2.0));

    // Everything is committed: neither closing nor giving the partition up commits again.
    member.close().await.unwrap();
    assert_eq!(recorded.named("commit").len(), 2);
    assert_eq!(recorded.count(DURATIONS, &[COMMIT]), Some(2.0));
}

#[tokio::test]
async fn commits_of_records_that_are_not_traced_are_counted_and_have_no_span() {
    let (_cluster, connection) = filled(1, 2).await;
    let recorded = recorded();
    let member = member(&connection.clone().recorded_by(&recorded.telemetry), often());
    let (first, _open) = (next(&member).await, next(&member).await);
    member.settle(&first);
    until("a commit", || recorded.count(DURATIONS, &[COMMIT]) == Some(1.0)).await;
    member.close().await.unwrap();
    assert!(recorded.spans().is_empty());

    let second = crate::groups::member(&connection.recorded_by(&Telemetry::off()), manual());
    assert_eq!(offset(&second).await, 1, "what is settled and no more");
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_commit_that_waits_for_its_turn_stands_for_all_that_are_asked_for_meanwhile() {
    let (_cluster, connection) = filled(1, 11).await;
    let recorded = recorded();
    let member = member(&connection.clone().recorded_by(&recorded.telemetry), manual());
    let mut records = Vec::new();
    while records.len() < 11 {
        records.push(next(&member).await);
    }
    for record in &records[..10] {
        member.settle(record);
        member.commit_soon();
    }
    until("a commit", || recorded.count(DURATIONS, &[COMMIT]) == Some(1.0)).await;
    member.close().await.unwrap();
    assert_eq!(recorded.count(DURATIONS, &[COMMIT]), Some(1.0), "nothing was left to commit");

    let second = crate::groups::member(&connection.recorded_by(&Telemetry::off()), manual());
    assert_eq!(offset(&second).await, 10);
    second.commit_soon();
    second.close().await.unwrap();
}

#[tokio::test]
async fn with_roots_a_periodic_commit_has_a_span_whatever_it_settles() {
    let (_cluster, connection) = filled(1, 1).await;
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry.clone().with_roots());
    let member = member(&connection, often());
    let record = next(&member).await;
    member.settle(&record);
    until("a commit", || !recorded.named("commit").is_empty()).await;
    assert!(recorded.only("commit").links.is_empty());
    member.close().await.unwrap();
}

#[tokio::test]
async fn a_commit_that_a_rebalance_refuses_is_recorded_and_what_it_was_to_settle_comes_again() {
    let (lines, _guard) = Warnings::listen();
    let (cluster, connection) = cluster("orders", 2);
    let recorded = recorded();
    // It learns of a rebalance by a heartbeat.
    let connection = connection.with("heartbeat.interval.ms", "100");
    let quiet = connection.clone().recorded_by(&Telemetry::off());
    let connection = connection.recorded_by(&recorded.telemetry);
    let sender = Sender::new(&recorded, &cluster, &connection);
    let created = [sender.send(0).await, sender.send(1).await];
    let first = member(&connection, seldom());
    for _ in 0..2 {
        let record = next(&first).await;
        first.settle(&record);
    }
    assert!(recorded.named("commit").is_empty());

    // Unlike a broker, the test's cluster takes no commits while members join.
    let second = member(&quiet, manual());
    let (mut again, start) = (BTreeSet::new(), Instant::now());
    while again.len() < 2 {
        for member in [&first, &second] {
            let records = member.poll(10, Duration::from_millis(20)).await.unwrap_or_default();
            again.extend(records.iter().map(|record| (record.partition, record.offset)));
        }
        assert!(start.elapsed() < PATIENCE, "{again:?}");
    }

    assert_eq!(again, BTreeSet::from([(0, 0), (1, 0)]));
    let span = recorded.only("commit");
    assert_eq!(links(&span), ids(&created));
    assert_eq!(span.parent_span_id, SpanId::INVALID, "nobody has asked for it");
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("rebalanced"));
    let rebalanced = [COMMIT, ("error_type", "rebalanced")];
    assert_eq!(recorded.count(DURATIONS, &rebalanced), Some(1.0));
    for member in [first, second] {
        member.close().await.unwrap();
    }
    assert_eq!(recorded.named("commit").len(), 1);
    assert!(lines.lock().unwrap().is_empty(), "nothing is lost and nobody need act");
}

#[tokio::test]
async fn what_is_settled_of_partitions_that_were_lost_is_not_committed_and_comes_again() {
    let (cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let sender = Sender::new(&recorded, &cluster, &connection);
    let created = sender.send(0).await;
    let member = member(&connection.with("heartbeat.interval.ms", "100"), seldom());
    let record = next(&member).await;
    member.settle(&record);
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[unknown]);

    let again = next(&member).await;
    assert_eq!(again.offset, record.offset);
    assert!(recorded.named("commit").is_empty(), "another member may have come further");
    member.settle(&again);
    member.close().await.unwrap();
    assert_eq!(links(&recorded.only("commit")), ids([&created]));
    assert_eq!(recorded.count(DURATIONS, &[COMMIT]), Some(1.0));
}

#[tokio::test]
async fn a_member_that_is_dropped_commits_what_is_settled_and_records_it() {
    let (cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let sender = Sender::new(&recorded, &cluster, &connection);
    let created = sender.send(0).await;
    let member = member(&connection, seldom());
    let record = next(&member).await;
    member.process(&record, async { Ok::<_, ()>(()) }).await.unwrap();

    tokio::task::spawn_blocking(move || drop(member)).await.unwrap();

    let span = recorded.only("commit");
    assert_eq!(links(&span), ids([&created]));
    assert_eq!(attribute(&span, "error.type"), None);
    assert_eq!(recorded.count(DURATIONS, &[COMMIT]), Some(1.0));
}

#[tokio::test]
async fn commits_that_fail_have_the_class_of_the_error_are_told_once_and_made_again() {
    let (lines, _guard) = Warnings::listen();
    let (cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let sender = Sender::new(&recorded, &cluster, &connection);
    let created = sender.send(0).await;
    let member = member(&connection, often());
    let record = next(&member).await;
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[REFUSED, REFUSED]);
    member.settle(&record);
    until("three commits", || recorded.named("commit").len() == 3).await;

    let spans = recorded.named("commit");
    for span in &spans {
        assert_eq!(links(span), ids([&created]), "what failed is settled by the next");
    }
    for span in &spans[..2] {
        assert_eq!(attribute(span, "error.type").as_deref(), Some("refused"));
        assert_eq!(span.status, Status::error(""));
    }
    assert_eq!(attribute(&spans[2], "error.type"), None);
    let refused = [COMMIT, ("error_type", "refused")];
    assert_eq!(recorded.count(DURATIONS, &refused), Some(2.0));
    assert_eq!(recorded.count(DURATIONS, &[COMMIT]), Some(3.0));
    member.close().await.unwrap();
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["a commit failed", "payments", "orders-0", "committing was refused"] {
        assert!(lines[0].contains(part), "{part} in {lines:?}");
    }
}

#[tokio::test]
async fn a_commit_that_fails_where_partitions_go_is_recorded_and_told() {
    let (lines, _guard) = Warnings::listen();
    let (cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    Sender::new(&recorded, &cluster, &connection).send(0).await;
    let member = member(&connection, seldom());
    let record = next(&member).await;
    member.settle(&record);
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[REFUSED]);

    drop(member);

    let span = recorded.only("commit");
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("refused"));
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("orders-0"), "{lines:?}");
}

#[tokio::test]
async fn a_failure_that_the_caller_is_given_is_not_told_as_well() {
    let (lines, _guard) = Warnings::listen();
    let (cluster, connection) = filled(1, 1).await;
    let recorded = recorded();
    let member = member(&connection.recorded_by(&recorded.telemetry), manual());
    let record = next(&member).await;
    member.settle(&record);
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[REFUSED]);

    let error = member.commit().await.unwrap_err();
    assert!(error.to_string().contains("committing was refused"), "{error}");
    member.commit().await.unwrap();
    member.commit().await.unwrap();

    assert_eq!(recorded.count(DURATIONS, &[COMMIT]), Some(2.0), "the third had nothing to commit");
    assert!(lines.lock().unwrap().is_empty());
    member.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_come_and_go_between_periodic_commits_skip_no_record() {
    const RECORDS: usize = 60;
    let (_cluster, connection) = filled(4, RECORDS).await;
    let connection = connection.recorded_by(&Telemetry::off());
    let (mut worked, start) = (BTreeSet::new(), Instant::now());
    for enough in [RECORDS / 3, 2 * RECORDS / 3, RECORDS] {
        let mut members = vec![member(&connection, often())];
        while worked.len() < enough {
            for member in &members {
                let records = member.poll(5, Duration::from_millis(20)).await.unwrap_or_default();
                // In the first rounds the first record of each poll stays open, and is settled by
                // nobody when the members go.
                let open = usize::from(enough < RECORDS && records.len() > 1);
                for record in &records[open.min(records.len())..] {
                    member.process(record, async { Ok::<_, ()>(()) }).await.unwrap();
                    worked.insert((record.partition, record.offset));
                }
            }
            // The second makes a rebalance of it.
            if members.len() == 1 && !worked.is_empty() {
                members.push(member(&connection, often()));
            }
            assert!(start.elapsed() < 2 * PATIENCE, "{} records", worked.len());
        }
        tokio::task::spawn_blocking(move || drop(members)).await.unwrap();
    }
}

#[tokio::test]
async fn settings_of_commits_that_are_the_members_own_are_refused() {
    let settings = [
        ("enable.auto.commit", "true"),
        ("auto.commit.interval.ms", "100"),
        ("enable.auto.offset.store", "true"),
    ];
    for (key, value) in settings {
        let connection = Connection::to("127.0.0.1:9092").recorded_by(&Telemetry::off());
        let connection = connection.with(key, value);
        let member = GroupConsumer::subscribe(&connection, "payments", &["orders"], manual());
        let error = member.unwrap_err();
        assert!(matches!(error, ClientError::Invalid(_)), "{error:?}");
        for part in [key, value, "commit_every"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
}

#[tokio::test]
async fn closing_ends_in_time_where_no_broker_answers_any_more() {
    let (cluster, connection) = filled(1, 1).await;
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry).within(Duration::from_secs(2));
    let member = member(&connection, seldom());
    let record = next(&member).await;
    member.settle(&record);
    cluster.broker_down(-1).unwrap();

    let error = tokio::time::timeout(PATIENCE, member.close()).await.unwrap().unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert_eq!(recorded.count(DURATIONS, &[COMMIT]), Some(1.0));
    let failed = recorded.text().lines().any(|line| {
        line.starts_with(DURATIONS) && line.contains("error_type") && line.contains("commit")
    });
    assert!(failed, "{}", recorded.text());
}

/// The lines of WARN that the client writes on this thread.
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn listen() -> (Arc<Mutex<Vec<String>>>, tracing::subscriber::DefaultGuard) {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        (lines.clone(), tracing::subscriber::set_default(Self(lines)))
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("streamhouse_client") && *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
