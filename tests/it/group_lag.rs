//! What is said of groups whose consumers die, stall, jump back and lose records, and of groups
//! whose server dies.

use crate::cleanup::delete_records_before as delete_records;
use crate::clients::{create_topic, flush, producer, send};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use streamhouse_tests::http;
use streamhouse_tests::process::{Launch, PATIENCE, Server};

const TOPIC: &str = "orders";
const LAG: &str = "streamhouse_consumer_lag";
const LAG_TIME: &str = "streamhouse_consumer_lag_time_seconds";

/// How long a computation and a look at it may be behind, in seconds, on a slow machine.
const SLACK: f64 = 5.0;

fn launch(data: &std::path::Path) -> Launch {
    Launch::serve(crate::BINARY, data).env("STREAMHOUSE_LAG_INTERVAL", "100ms")
}

fn consumer(addr: SocketAddr, group: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", addr.to_string())
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .set("reconnect.backoff.max.ms", "200")
        .create()
        .expect("a consumer")
}

/// Reads `records` records of the topic as a member of the group.
fn read(consumer: &BaseConsumer, records: usize) {
    let begun = Instant::now();
    let mut found = 0;
    while found < records {
        assert!(begun.elapsed() < PATIENCE, "only {found} of {records} records were read");
        if let Some(Ok(_)) = consumer.poll(Duration::from_millis(100)) {
            found += 1;
        }
    }
}

fn at(offset: i64) -> TopicPartitionList {
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(TOPIC, 0, Offset::Offset(offset)).expect("an offset");
    places
}

fn commit(consumer: &BaseConsumer, offset: i64) {
    consumer.commit(&at(offset), CommitMode::Sync).expect("a commit");
}

fn append(addr: SocketAddr, records: u64) {
    let (producer, _) = producer(addr, &[]);
    (0..records).for_each(|n| send(&producer, TOPIC, 0, n));
    flush(&producer);
}

/// What the page of a group says; `None` while there is none.
fn page(server: &Server, group: &str) -> Option<Value> {
    let answer = http::get(server.admin, &format!("/groups/{group}")).expect("an answer");
    (answer.status == 200).then(|| serde_json::from_str(&answer.body).expect("JSON"))
}

/// Waits for what a page is to say.
fn told(server: &Server, group: &str, what: &str, enough: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let last = page(server, group);
        if let Some(page) = last.as_ref().filter(|page| enough(page)) {
            return page.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "never told of {group}: {what}; last: {last:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// What the command line says of a group.
fn describe(server: &Server, group: &str) -> Value {
    let mut command = Command::new(crate::BINARY);
    command.env_clear().args(["group", "describe", group, "--output", "json"]);
    let output = command.args(["--admin", &server.admin.to_string()]).output().expect("an end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Records and seconds on `/metrics`.
fn shown(server: &Server, group: &str) -> (f64, f64) {
    let scrape = server.scrape();
    let labels = [("group", group), ("topic", TOPIC), ("partition", "0")];
    let value = |name| scrape.sum(name, &labels).unwrap_or_else(|| panic!("no {name} of {group}"));
    (value(LAG), value(LAG_TIME))
}

/// Asserts that an age is that of a record appended between two moments.
fn assert_age(seconds: f64, before: Instant, after: Instant) {
    let (most, least) = (before.elapsed().as_secs_f64(), after.elapsed().as_secs_f64());
    assert!(seconds <= most, "{seconds} s is more than {most} s");
    assert!(seconds >= least - SLACK && seconds > 0.0, "{seconds} s is less than {least} s");
}

#[test]
fn the_lag_of_dead_and_of_stalled_consumers_is_exact_and_a_reset_is_seen() {
    let data = tempfile::tempdir().expect("a directory");
    let server = launch(data.path()).start();
    create_topic(server.kafka, TOPIC, 1);
    let before = Instant::now();
    append(server.kafka, 40);
    let (dead, stalled) = (consumer(server.kafka, "dead"), consumer(server.kafka, "stalled"));
    let joined = Instant::now();
    for consumer in [&dead, &stalled] {
        consumer.subscribe(&[TOPIC]).expect("a subscription");
        read(consumer, 40);
        commit(consumer, 40);
    }
    let committed = Instant::now();
    for group in ["dead", "stalled"] {
        let page = told(&server, group, "no lag", |page| {
            page["committed_partitions"] == 1 && page["lag"] == 0
        });
        assert_eq!((&page["state"], &page["members"]), (&"stable".into(), &1.into()), "{page}");
        assert_eq!(page["lag_seconds"], 0.0, "{page}");
        assert_eq!(shown(&server, group), (0.0, 0.0));
    }

    let begun = Instant::now();
    append(server.kafka, 25);
    let ended = Instant::now();
    drop(dead);
    let page = told(&server, "dead", "no members", |page| page["members"] == 0);
    assert_eq!(page["state"], "empty", "{page}");
    let page = told(&server, "dead", "25 records behind", |page| page["lag"] == 25);
    assert_age(page["lag_seconds"].as_f64().expect("seconds"), begun, ended);
    let (lag, seconds) = shown(&server, "dead");
    assert_eq!(lag, 25.0, "a dead consumer does not take its alarm along");
    assert_age(seconds, begun, ended);

    read(&stalled, 25); // it lives, and commits nothing
    let page = told(&server, "stalled", "a commit of long ago", |page| {
        page["commit_age_seconds"].as_f64().is_some_and(|age| age >= 3.0)
    });
    assert_eq!((&page["state"], &page["lag"]), (&"stable".into(), &25.into()), "{page}");
    assert_age(page["commit_age_seconds"].as_f64().expect("seconds"), joined, committed);
    assert_age(page["lag_seconds"].as_f64().expect("seconds"), begun, ended);

    let told_by_command = describe(&server, "stalled");
    assert_eq!((&told_by_command["lag"], &told_by_command["members"]), (&25.into(), &1.into()));

    // Somebody sets the dead group back, from outside.
    let outside = consumer(server.kafka, "dead");
    commit(&outside, 10);
    let page = told(&server, "dead", "55 records behind", |page| page["lag"] == 55);
    assert_age(page["lag_seconds"].as_f64().expect("seconds"), before, committed);
    assert_eq!(page["partitions"][0]["committed"], 10, "{page}");
}

#[test]
fn a_group_goes_on_with_the_same_lag_when_its_server_is_killed_and_starts_again() {
    let data = tempfile::tempdir().expect("a directory");
    let launch = launch(data.path());
    let server = launch.start();
    let launch = launch.kafka(server.kafka);
    create_topic(server.kafka, TOPIC, 1);
    let begun = Instant::now();
    append(server.kafka, 30);
    let ended = Instant::now();
    let consumer = consumer(server.kafka, "workers");
    consumer.subscribe(&[TOPIC]).expect("a subscription");
    read(&consumer, 30);
    commit(&consumer, 10);
    told(&server, "workers", "20 records behind", |page| page["lag"] == 20);

    server.kill();
    let server = launch.start();
    let page = told(&server, "workers", "20 records behind", |page| page["lag"] == 20);
    let seconds = page["lag_seconds"].as_f64().expect("seconds");
    assert!(seconds <= begun.elapsed().as_secs_f64(), "{page}");
    assert!(seconds >= ended.elapsed().as_secs_f64() - SLACK, "{page}");

    let page = told(&server, "workers", "the consumer is back", |page| {
        let _ = consumer.poll(Duration::from_millis(50));
        page["members"] == 1 && page["state"] == "stable"
    });
    assert_eq!(page["lag"], 20, "{page}");
    commit(&consumer, 30);
    let page = told(&server, "workers", "no lag", |page| page["lag"] == 0);
    assert_eq!(page["lag_seconds"], 0.0, "{page}");
    assert_eq!(shown(&server, "workers"), (0.0, 0.0));
}

#[test]
fn records_that_are_removed_before_a_group_consumed_them_are_lost_and_no_lag() {
    let data = tempfile::tempdir().expect("a directory");
    let server = launch(data.path()).start();
    create_topic(server.kafka, TOPIC, 1);
    append(server.kafka, 50);
    let slow = consumer(server.kafka, "slow");
    slow.subscribe(&[TOPIC]).expect("a subscription");
    read(&slow, 50);
    commit(&slow, 10);
    told(&server, "slow", "40 records behind", |page| page["lag"] == 40);
    let lost = |server: &Server| {
        let labels = [("group", "slow"), ("topic", TOPIC)];
        server.scrape().sum("streamhouse_consumer_records_lost_total", &labels)
    };
    assert_eq!(lost(&server), Some(0.0), "the first loss is an increase");

    let deleted = delete_records(server.kafka, TOPIC, 35).expect("an answer");
    assert_eq!(deleted.topics[0].partitions[0].low_watermark, 35, "{deleted:?}");
    let page = told(&server, "slow", "15 records behind", |page| page["lag"] == 15);
    let place = &page["partitions"][0];
    let ends = (&place["committed"], &place["log_start"], &place["end"]);
    assert_eq!(ends, (&10.into(), &35.into(), &50.into()), "{page}");
    assert_eq!(lost(&server), Some(25.0));
}
