//! What consumers at the tail get, all together, and that it costs the object store nothing.
//!
//! `cargo bench -p streamhouse-tests --bench consume`
//!
//! First, consumers tail four partitions while these are written at a fixed rate; then consumers
//! read again, at full speed, what still lies in the cache. Generator and server share the machine.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};
use streamhouse_tests::fetch::Fetcher;
use streamhouse_tests::load::{Load, create_topic, run};
use streamhouse_tests::process::{Launch, Server};

const PARTITIONS: usize = 4;
const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(6);
/// Records per second that each partition gets while consumers tail it.
const WRITTEN: f64 = 50_000.0;
const TAILING: usize = 8;
const REREADING: usize = 4;
/// Less than the cache holds, so that all of it can be read again.
const REREAD_FOR: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let data = tempfile::tempdir()?;
    let server = Launch::serve(env!("CARGO_BIN_EXE_streamhouse-under-test"), data.path()).start();
    create_topic(server.kafka, "load", PARTITIONS as i32)?;
    let mut end = vec![0; PARTITIONS];
    for round in 1..=ROUNDS {
        let before = gets(&server);
        let (written, report) = tail(server.kafka, &mut end)?;
        show(&format!("round {round}: {TAILING} consumers at the tail"), &report);
        println!("  of {:.0} records/s written", written as f64 / TIME.as_secs_f64());
        refuse_gets(&server, before)?;
    }
    write(server.kafka, REREAD_FOR)?;
    for round in 1..=ROUNDS {
        let before = gets(&server);
        let report = reread(server.kafka, &end)?;
        show(&format!("round {round}: {REREADING} consumers read the cache again"), &report);
        refuse_gets(&server, before)?;
    }
    server.stop();
    Ok(())
}

/// What came of some consumers.
#[derive(Default)]
struct Report {
    records: u64,
    bytes: u64,
    seconds: f64,
}

fn show(what: &str, report: &Report) {
    let (records, bytes) = (report.records as f64, report.bytes as f64);
    let (rate, megabytes) = (records / report.seconds, bytes / report.seconds / 1e6);
    println!("{what}: {rate:.0} records/s, {megabytes:.0} MB/s, no GET");
}

fn gets(server: &Server) -> f64 {
    let scrape = server.scrape();
    scrape.sum("streamhouse_s3_requests_total", &[("operation", "get")]).unwrap_or(f64::NAN)
}

fn refuse_gets(server: &Server, before: f64) -> Result<()> {
    let after = gets(server);
    if after == before {
        return Ok(());
    }
    Err(Error::other(format!("consumers at the tail caused GETs: {before} before, {after} after")))
}

/// Writes all partitions at their rate for `time`; returns how many records were acknowledged.
fn write(addr: SocketAddr, time: Duration) -> Result<u64> {
    let one = |partition: usize| {
        let load = Load {
            topic: "load".into(),
            partition: partition as i32,
            records: 1000,
            value_bytes: 100,
            in_flight: 16,
            rate: Some(WRITTEN),
            time,
        };
        run(addr, &load).map(|report| report.records)
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..PARTITIONS).map(|p| scope.spawn(move || one(p))).collect();
        writers.into_iter().map(joined).sum()
    })
}

fn joined<T>(handle: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    handle.join().unwrap_or_else(|_| Err(Error::other("a thread panicked")))
}

/// Consumers that begin at the end while it moves, and stop when all is read; `end` moves along.
fn tail(addr: SocketAddr, end: &mut Vec<i64>) -> Result<(u64, Report)> {
    let start = end.clone();
    let began = Instant::now();
    thread::scope(|scope| {
        let consumers: Vec<_> = (0..TAILING)
            .map(|_| (Fetcher::open(addr, "load", start.clone(), 500), &start))
            .map(|(fetcher, start)| {
                scope.spawn(move || {
                    let mut fetcher = fetcher?;
                    let (mut records, mut bytes) = (0, 0);
                    // A wait without a record after the writers have begun: they have ended.
                    loop {
                        let (more, size) = fetcher.fetch()?;
                        if more == 0 && fetcher.offsets() != &start[..] {
                            return Ok((records, bytes, fetcher.offsets().to_vec()));
                        }
                        (records, bytes) = (records + more, bytes + size);
                    }
                })
            })
            .collect();
        let written = write(addr, TIME)?;
        let mut report = Report { seconds: began.elapsed().as_secs_f64(), ..Report::default() };
        for consumer in consumers {
            let (records, bytes, offsets) = joined(consumer)?;
            if records != written {
                return Err(Error::other(format!("{records} of {written} records consumed")));
            }
            (report.records, report.bytes) = (report.records + records, report.bytes + bytes);
            *end = offsets;
        }
        Ok((written, report))
    })
}

/// Consumers that read from `start` to the end, over and over.
fn reread(addr: SocketAddr, start: &[i64]) -> Result<Report> {
    let began = Instant::now();
    let one = || {
        let (mut records, mut bytes) = (0, 0);
        while began.elapsed() < TIME {
            let mut fetcher = Fetcher::open(addr, "load", start.to_vec(), 0)?;
            loop {
                let (more, size) = fetcher.fetch()?;
                (records, bytes) = (records + more, bytes + size);
                if more == 0 || began.elapsed() >= TIME {
                    break;
                }
            }
        }
        Ok((records, bytes))
    };
    thread::scope(|scope| {
        let consumers: Vec<_> = (0..REREADING).map(|_| scope.spawn(one)).collect();
        let mut report = Report::default();
        for consumer in consumers {
            let (records, bytes) = joined(consumer)?;
            (report.records, report.bytes) = (report.records + records, report.bytes + bytes);
        }
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    })
}
