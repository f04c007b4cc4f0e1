//! What the computation of lag does to the latency of produce: with it against without, in
//! interleaved pairs.
//!
//! `cargo bench -p streamhouse-tests --bench lag [-- PAIRS]`
//!
//! Two servers each keep 1,000 groups with offsets in 100 partitions; one computes lag every two
//! seconds, the other every 30, and what is measured while it does is measured again. The one that is
//! not measured is stopped (SIGSTOP). While records are written at 200,000 a second, 100 groups
//! commit 100 offsets each in every two seconds, to either server alike.
//!
//! A stall of the disk makes single measurements many times as slow, with lag or without. So the
//! figure is the median of the pairs' ratios, with a bound that supposes no distribution.

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
    let without = prepare(data.1.path(), "30s")?;
    signal(&without, "-STOP")?;
    let mut ratios = Vec::new();
    for pair in 0..=pairs {
        let (a, b) = if pair % 2 == 0 {
            let a = measure(&with)?.p99;
            (a, measure_undisturbed(&without)?)
        } else {
            let b = measure_undisturbed(&without)?;
            (measure(&with)?.p99, b)
        };
        println!("pair {pair}: p99 with {:.2} ms, without {:.2} ms", a * 1e3, b * 1e3);
        // The first warms both up.
        if pair > 0 {
            ratios.push(a / b);
        }
    }
    signal(&with, "-CONT")?;
    signal(&without, "-CONT")?;
    println!("cycles computed meanwhile: {:.0}", cycles(&with));
    let (ratio, upper) = interval(&mut ratios);
    let verdict = if upper <= LIMIT { "held" } else { "NOT HELD" };
    println!(
        "p99 with / without: median {ratio:.3}, upper 95 % bound {upper:.3} of {pairs} pairs; limit {LIMIT}: {verdict}"
    );
    with.stop();
    without.stop();
    Ok(())
}

/// The median of ratios, and its one-sided upper 95 % bound: the least ratio of which so many others
/// lie below that at most one in twenty samples has as many below its true median.
fn interval(ratios: &mut [f64]) -> (f64, f64) {
    ratios.sort_by(f64::total_cmp);
    let count = ratios.len();
    let median = f64::midpoint(ratios[(count - 1) / 2], ratios[count / 2]);
    // The probability that exactly `below` of the ratios lie below their true median.
    let mut probability = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let (mut below, mut at_least) = (count, probability);
    while below > 0 && at_least <= 0.05 {
        probability *= below as f64 / (count - below + 1) as f64;
        below -= 1;
        at_least += probability;
    }
    (median, ratios.get(below).copied().unwrap_or(f64::INFINITY))
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

struct Measured {
    /// Of produce, in seconds.
    p99: f64,
    /// How often lag was computed meanwhile.
    cycles: f64,
}

/// The p99 of produce without any computation of lag, in seconds.
fn measure_undisturbed(server: &Server) -> Result<f64> {
    loop {
        let Measured { p99, cycles } = measure(server)?;
        if cycles == 0.0 {
            return Ok(p99);
        }
    }
}

fn measure(server: &Server) -> Result<Measured> {
    signal(server, "-CONT")?;
    let before = cycles(server);
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
    let cycles = cycles(server) - before;
    signal(server, "-STOP")?;
    Ok(Measured { p99: report.quantile(0.99), cycles })
}

/// How often lag was computed so far.
fn cycles(server: &Server) -> f64 {
    let count = server.scrape().sum("streamhouse_consumer_lag_duration_seconds_count", &[]);
    count.unwrap_or(0.0)
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
