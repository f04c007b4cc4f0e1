//! Members of groups: at least once, and what they record.

use crate::support::{Cluster, attribute, cluster, recorded, text};
use opentelemetry::trace::SpanKind;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use streamhouse_client::{
    ClientError, Connection, GroupConsumer, GroupOptions, Producer, ProducerOptions, Record,
    Telemetry,
};

pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn filled(partitions: i32, records: usize) -> (Cluster, Connection) {
    let (cluster, connection) = cluster("orders", partitions);
    let quiet = connection.clone().recorded_by(&Telemetry::off());
    let producer = Producer::new(&quiet, ProducerOptions::default()).unwrap();
    for number in 0..records {
        let partition = Some(number as i32 % partitions);
        let record = Record { partition, ..text("orders", &number.to_string()) };
        producer.send(&record).await.unwrap();
    }
    (cluster, connection)
}

pub fn manual() -> GroupOptions {
    // The test's cluster gives the partitions of a member that left on only after this time.
    let session_timeout = Duration::from_secs(3);
    GroupOptions { commit_every: None, session_timeout, ..GroupOptions::default() }
}

pub fn member(connection: &Connection, options: GroupOptions) -> GroupConsumer {
    GroupConsumer::subscribe(connection, "payments", &["orders"], options).unwrap()
}

pub async fn offset(member: &GroupConsumer) -> i64 {
    tokio::time::timeout(PATIENCE, member.recv()).await.unwrap().unwrap().offset
}

#[tokio::test]
async fn what_was_not_settled_is_read_again_by_the_next_member_and_the_rest_is_not() {
    let (_cluster, connection) = filled(1, 4).await;
    let connection = connection.recorded_by(&Telemetry::off());
    let first = member(&connection, manual());
    for expected in 0..4 {
        let record = tokio::time::timeout(PATIENCE, first.recv()).await.unwrap().unwrap();
        assert_eq!(record.offset, expected);
        let work = async { if expected == 2 { Err("not this one") } else { Ok(()) } };
        let _ = first.process(&record, work).await;
    }
    first.close().await.unwrap();

    let second = member(&connection, manual());
    assert_eq!(offset(&second).await, 2, "settled records are not read again");
    assert_eq!(offset(&second).await, 3, "nor is one behind an open record committed");
    second.close().await.unwrap();
}

#[tokio::test]
async fn settled_records_are_committed_by_themselves() {
    let (_cluster, connection) = filled(1, 3).await;
    let connection = connection.recorded_by(&Telemetry::off());
    let often = Some(Duration::from_millis(20));
    let first = member(&connection, GroupOptions { commit_every: often, ..manual() });
    let record = tokio::time::timeout(PATIENCE, first.recv()).await.unwrap().unwrap();
    first.settle(&record);
    // Leaving the group without a commit of the application's own.
    tokio::task::spawn_blocking(move || drop(first)).await.unwrap();

    let second = member(&connection, manual());
    assert_eq!(offset(&second).await, 1);
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_poll_gives_what_is_there_as_one_span_linked_with_each_creation() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();
    for number in 0..3 {
        let record = text("orders", &number.to_string());
        recorded.inside(producer.send(&record)).await.1.unwrap();
    }
    let member = member(&connection, manual());
    let start = Instant::now();
    let mut records = Vec::new();
    while records.len() < 3 {
        let poll = member.poll(10, Duration::from_secs(1));
        records.extend(recorded.inside(poll).await.1.unwrap());
        assert!(start.elapsed() < PATIENCE, "{records:?}");
    }
    assert!(member.poll(10, Duration::ZERO).await.unwrap().is_empty());

    let polls = recorded.named("poll orders");
    let links: usize = polls.iter().map(|span| span.links.len()).sum();
    assert_eq!(links, 3, "{polls:#?}");
    let count = |span| attribute(span, "messaging.batch.message_count").unwrap();
    let told: usize = polls.iter().map(|span| count(span).parse::<usize>().unwrap()).sum();
    assert_eq!(told, 3);
    let consumed = "messaging_client_consumed_messages_total";
    let group = [("messaging_consumer_group_name", "payments")];
    assert_eq!(recorded.count(consumed, &group), Some(3.0));
    member.close().await.unwrap();
}

#[tokio::test]
async fn a_commit_is_a_span_of_its_own_linked_with_the_records_it_settles() {
    let (_cluster, connection) = cluster("orders", 1);
    let recorded = recorded();
    let connection = connection.recorded_by(&recorded.telemetry);
    let producer = Producer::new(&connection, ProducerOptions::default()).unwrap();
    recorded.inside(producer.send(&text("orders", "one"))).await.1.unwrap();
    let created = recorded.only("send orders").span_context;

    let member = member(&connection, manual());
    let record = tokio::time::timeout(PATIENCE, member.recv()).await.unwrap().unwrap();
    member.process(&record, async { Ok::<_, ()>(()) }).await.unwrap();
    let (at_hand, committed) = recorded.inside(member.commit()).await;
    committed.unwrap();

    let span = recorded.only("commit");
    assert_eq!(span.span_kind, SpanKind::Client);
    assert_eq!(span.parent_span_id, at_hand.span_id());
    assert_eq!(span.links.links[0].span_context.span_id(), created.span_id());
    for (key, value) in [
        ("messaging.operation.name", "commit"),
        ("messaging.operation.type", "settle"),
        ("messaging.consumer.group.name", "payments"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    let commits = [("messaging_operation_name", "commit")];
    let durations = "messaging_client_operation_duration_seconds_count";
    assert_eq!(recorded.count(durations, &commits), Some(1.0));
    member.close().await.unwrap();
}

#[tokio::test]
async fn a_commit_of_nothing_is_no_error() {
    let (_cluster, connection) = filled(1, 1).await;
    let connection = connection.recorded_by(&Telemetry::off());
    let member = member(&connection, manual());
    offset(&member).await;
    member.commit().await.unwrap();
    member.close().await.unwrap();
}

#[tokio::test]
async fn records_that_wait_to_be_settled_are_bounded() {
    let (_cluster, connection) = filled(1, 5).await;
    let connection = connection.recorded_by(&Telemetry::off());
    let member = member(&connection, GroupOptions { unsettled: 2, ..manual() });
    let first = tokio::time::timeout(PATIENCE, member.recv()).await.unwrap().unwrap();
    offset(&member).await;

    let error = member.recv().await.unwrap_err();
    assert_eq!(error, ClientError::Unsettled { waiting: 2 });
    assert!(error.is_retryable());
    let poll = member.poll(1, Duration::from_millis(1));
    assert_eq!(poll.await.unwrap_err(), ClientError::Unsettled { waiting: 2 });
    member.settle(&first);
    assert_eq!(offset(&member).await, 2);
    member.close().await.unwrap();
}

#[tokio::test]
async fn who_settles_elsewhere_gets_a_turn_while_a_member_waits_for_room() {
    let (_cluster, connection) = filled(1, 5).await;
    let connection = connection.recorded_by(&Telemetry::off());
    let member = member(&connection, GroupOptions { unsettled: 2, ..manual() });
    let (mut offsets, mut refused) = (Vec::new(), 0);
    while offsets.len() < 5 {
        match tokio::time::timeout(PATIENCE, member.recv()).await.unwrap() {
            Ok(record) => {
                offsets.push(record.offset);
                let member = member.clone();
                tokio::spawn(async move { member.settle(&record) });
            }
            Err(ClientError::Unsettled { .. }) => refused += 1,
            Err(error) if error.is_retryable() => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((offsets, refused), (vec![0, 1, 2, 3, 4], 0));
    member.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_partitions_and_every_record_is_worked_on() {
    let (_cluster, connection) = filled(4, 40).await;
    let connection = connection.recorded_by(&Telemetry::off());
    let members = [member(&connection, manual()), member(&connection, manual())];
    let mut seen = BTreeSet::new();
    let mut shared = false;
    let start = Instant::now();
    while seen.len() < 40 || !shared {
        for member in &members {
            for record in member.poll(10, Duration::from_millis(50)).await.unwrap_or_default() {
                member.process(&record, async { Ok::<_, ()>(()) }).await.unwrap();
                seen.insert((record.partition, record.offset));
            }
            let _ = member.commit().await;
        }
        shared = members.iter().all(|member| !member.assignment().unwrap().is_empty());
        assert!(start.elapsed() < PATIENCE, "{} records, shared: {shared}", seen.len());
    }
    for member in members {
        let _ = member.close().await;
    }
}

#[test]
fn a_group_without_a_name_or_topics_is_refused() {
    let connection = Connection::to("127.0.0.1:9092").recorded_by(&Telemetry::off());
    for (group, topics) in [("", &["orders"][..]), ("payments", &[])] {
        let error = GroupConsumer::subscribe(&connection, group, topics, manual()).unwrap_err();
        assert!(error.to_string().contains("at least one topic"), "{error}");
    }
}
