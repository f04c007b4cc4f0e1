//! What the computation of lag does to the latency of produce: with it against without, in
//! interleaved pairs.
//!
//! `cargo bench -p streamhouse-tests --bench lag [-- PAIRS]`
//!
//! Two servers each keep 1,000 groups with offsets in 100 partitions; one computes lag every two
//! seconds, the other every hour. The one that is not measured is stopped (SIGSTOP). While records
//! are written at 200,000 a second, 100 groups commit 100 offsets each in every two seconds, to
//! either server alike.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use streamhouse_tests::load::{Load, create_topic, run};
use streamhouse_tests::process::{Launch, Server};
use streamhouse_tests::raw::Connection;

const GROUPS: usize = 1_000;
const CHANGING: usize = GROUPS / 10;
const PARTITIONS: i32 = 100;
const CYCLE: Duration = Duration::from_secs(2);
const TIME: Duration = Duration::from_secs(6);
const RATE: f64 = 200_000.0;
/// The upper bound that is promised for the ratio of the two p99.
const LIMIT: f64 = 1.10;

fn main() -> Result<()> {
    let pairs: usize = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(16);
    let data = (tempfile::tempdir()?, tempfile::tempdir()?);
    let with = prepare(data.0.path(), "2s")?;
    signal(&with, "-STOP")?;
    let without = prepare(data.1.path(), "1h")?;
    signal(&without, "-STOP")?;
    let mut logs = Vec::new();
    for pair in 0..=pairs {
        let (a, b) = if pair % 2 == 0 {
            let a = measure(&with)?;
            (a, measure(&without)?)
        } else {
            let b = measure(&without)?;
            (measure(&with)?, b)
        };
        println!("pair {pair}: p99 with {:.2} ms, without {:.2} ms", a * 1e3, b * 1e3);
        // The first warms both up.
        if pair > 0 {
            logs.push((a / b).ln());
        }
    }
    signal(&with, "-CONT")?;
    signal(&without, "-CONT")?;
    let cycles = with.scrape().sum("streamhouse_consumer_lag_duration_seconds_count", &[]);
    println!("cycles computed meanwhile: {:.0}", cycles.unwrap_or(f64::NAN));
    let (ratio, upper) = interval(&logs);
    let verdict = if upper <= LIMIT { "held" } else { "NOT HELD" };
    println!(
        "p99 with / without: {ratio:.3}, upper 95 % bound {upper:.3} of {pairs} pairs; limit {LIMIT}: {verdict}"
    );
    with.stop();
    without.stop();
    Ok(())
}

/// The geometric mean of ratios, and the one-sided upper 95 % bound of it.
fn interval(logs: &[f64]) -> (f64, f64) {
    // Student's t for 95 %, one-sided, near enough for 8 to 40 pairs.
    const T: f64 = 1.75;
    let count = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean.exp(), (mean + T * (variance / count).sqrt()).exp())
}

fn prepare(data: &std::path::Path, interval: &str) -> Result<Server> {
    let launch = Launch::serve(env!("CARGO_BIN_EXE_streamhouse-under-test"), data);
    let server = launch.env("STREAMHOUSE_LAG_INTERVAL", interval).start();
    create_topic(server.kafka, "load", 1)?;
    create_topic(server.kafka, "groups", PARTITIONS)?;
    for partition in 0..PARTITIONS {
        let load = Load {
            topic: "groups".into(),
            partition,
            records: 10,
            value_bytes: 10,
            in_flight: 1,
            rate: Some(1_000.0),
            time: Duration::from_millis(5),
        };
        run(server.kafka, &load)?;
    }
    let mut connection = Connection::open(server.kafka)?;
    for group in 0..GROUPS {
        commit(&mut connection, group, 0)?;
    }
    Ok(server)
}

/// Commits an offset in every partition, as a consumer without membership does.
fn commit(connection: &mut Connection, group: usize, offset: i64) -> Result<()> {
    let text = |text: String| StrBytes::from_string(text);
    let partition = |index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("groups".into())))
        .with_partitions((0..PARTITIONS).map(partition).collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(format!("group-{group}"))))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    // A group is taken when it is first heard of; until then the answer asks to try again.
    let patience = Instant::now();
    loop {
        let answer = connection.call(8, &request)?;
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        match partitions.find(|partition| partition.error_code != 0) {
            None => return Ok(()),
            Some(refused) if patience.elapsed() > Duration::from_secs(30) => {
                let code = refused.error_code;
                return Err(Error::other(format!("group-{group}: error code {code}")));
            }
            Some(_) => thread::park_timeout(Duration::from_millis(5)),
        }
    }
}

fn signal(server: &Server, signal: &str) -> Result<()> {
    let sent = Command::new("kill").args([signal, &server.pid().to_string()]).status()?;
    if sent.success() { Ok(()) } else { Err(Error::other(format!("kill {signal}: {sent}"))) }
}

/// The p99 of produce, in seconds.
fn measure(server: &Server) -> Result<f64> {
    signal(server, "-CONT")?;
    let load = Load {
        topic: "load".into(),
        partition: 0,
        records: 1000,
        value_bytes: 100,
        in_flight: 16,
        rate: Some(RATE),
        time: TIME,
    };
    let report = thread::scope(|scope| {
        let committing = scope.spawn(|| keep_committing(server.kafka));
        let report = run(server.kafka, &load);
        committing.join().unwrap_or_else(|_| Err(Error::other("the committer panicked")))?;
        report
    })?;
    signal(server, "-STOP")?;
    Ok(report.quantile(0.99))
}

/// Lets some groups commit, evenly over the time of a measurement.
fn keep_committing(addr: SocketAddr) -> Result<()> {
    let mut connection = Connection::open(addr)?;
    let (start, pause) = (Instant::now(), CYCLE / CHANGING as u32);
    for turn in 0_u32.. {
        let due = pause * turn;
        if due >= TIME {
            break;
        }
        thread::park_timeout(due.saturating_sub(start.elapsed()));
        let group = rand::random_range(0..GROUPS);
        commit(&mut connection, group, rand::random_range(0..50))?;
    }
    Ok(())
}
