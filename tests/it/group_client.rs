//! The client's members of groups on the real binary.

use crate::BINARY;
use std::time::Duration;
use streamhouse_client::{
    Admin, Connection, GroupConsumer, GroupOptions, Producer, ProducerOptions, Received, Record,
    Telemetry,
};
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
