//! The durable acknowledgement's latency at half of the promised rate, produce throughput, idle
//! memory.
//!
//! `cargo bench -p streamhouse-tests --bench produce`
//!
//! The generator sends batches encoded beforehand over one connection and shares the machine
//! with the server; the store is a local directory with synced writes.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::time::Duration;
use streamhouse_tests::load::{Load, create_topic, run};
use streamhouse_tests::process::Launch;

const ROUNDS: usize = 3;
/// Records per second that are promised; latency is promised at half of that.
const PROMISED: f64 = 400_000.0;
const TIME: Duration = Duration::from_secs(8);

fn main() -> std::io::Result<()> {
    let data = tempfile::tempdir()?;
    let server = Launch::serve(env!("CARGO_BIN_EXE_streamhouse-under-test"), data.path()).start();
    println!("idle resident memory: {:.1} MB", resident(server.pid())? / 1e6);

    create_topic(server.kafka, "load", 1)?;
    let full = Load {
        topic: "load".into(),
        partition: 0,
        records: 1000,
        value_bytes: 100,
        in_flight: 16,
        rate: None,
        time: TIME,
    };
    // Paced first: a run at full speed leaves the disk busy for a while.
    let half = Load { rate: Some(PROMISED / 2.0), ..full.clone() };
    for round in 1..=ROUNDS {
        let report = run(server.kafka, &half)?;
        println!(
            "round {round}: at {:.0} records/s: ack p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms",
            report.records as f64 / report.seconds,
            report.quantile(0.5) * 1e3,
            report.quantile(0.99) * 1e3,
            report.quantile(0.999) * 1e3,
        );
    }
    for round in 1..=ROUNDS {
        let report = run(server.kafka, &full)?;
        let rate = report.records as f64 / report.seconds;
        println!("round {round}: {rate:.0} records/s, acks=all, 1000 x 100 B batches");
    }
    println!("resident memory after the load: {:.1} MB", resident(server.pid())? / 1e6);
    server.stop();
    Ok(())
}

/// Resident bytes of a process.
fn resident(pid: u32) -> std::io::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.unwrap_or(f64::NAN) * 1024.0)
}
