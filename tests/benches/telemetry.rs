//! What telemetry costs: produce throughput with it on against off, in interleaved pairs.
//!
//! `cargo bench -p streamhouse-tests --bench telemetry [-- ROUNDS]`
//!
//! On: metrics scraped every second, JSON logs at INFO, 1 % of requests traced, all three signals
//! exported to a receiver in this process. Off: `OTEL_SDK_DISABLED=true`, no logs, no scrape.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use streamhouse_observability::testing::otlp::OtlpReceiver;
use streamhouse_tests::http;
use streamhouse_tests::load::{Load, create_topic, run};
use streamhouse_tests::process::Launch;

const TIME: Duration = Duration::from_secs(5);

fn main() -> std::io::Result<()> {
    let rounds: usize = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(12);
    let receiver = OtlpReceiver::start();
    let (mut throughput, mut cost) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (on, off) = if round % 2 == 0 {
            let on = measure(Some(receiver.endpoint()))?;
            (on, measure(None)?)
        } else {
            let off = measure(None)?;
            (measure(Some(receiver.endpoint()))?, off)
        };
        println!(
            "round {round}: records/s on {:.0}, off {:.0}; CPU s per million records on {:.3}, off {:.3}",
            on.rate, off.rate, on.cpu, off.cpu
        );
        throughput.push(on.rate / off.rate);
        cost.push(on.cpu / off.cpu);
    }
    show("throughput on / off", throughput);
    show("server CPU per record on / off", cost);
    Ok(())
}

fn show(what: &str, mut ratios: Vec<f64>) {
    ratios.sort_by(f64::total_cmp);
    let (count, middle) = (ratios.len(), ratios[ratios.len() / 2]);
    let (least, most) = (ratios[0], ratios[count - 1]);
    println!("{what}: median {middle:.3} (min {least:.3}, max {most:.3}) of {count} pairs");
}

struct Measured {
    /// Records per second.
    rate: f64,
    /// Seconds of the server's CPU time per million records.
    cpu: f64,
}

/// User and system seconds of a process so far.
fn cpu_seconds(pid: u32) -> std::io::Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> =
        after_name.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    Ok((fields.get(11).unwrap_or(&0.0) + fields.get(12).unwrap_or(&0.0)) / TICKS_PER_SECOND)
}

fn measure(export_to: Option<String>) -> std::io::Result<Measured> {
    let data = tempfile::tempdir()?;
    let launch = Launch::serve(env!("CARGO_BIN_EXE_streamhouse-under-test"), data.path());
    let launch = match &export_to {
        Some(endpoint) => launch
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
            .env("OTEL_TRACES_SAMPLER_ARG", "0.01"),
        // The `ready` line is the only one that the harness needs.
        None => launch
            .env("OTEL_SDK_DISABLED", "true")
            .env("STREAMHOUSE_LOG_LEVEL", "off,streamhouse::ready=info"),
    };
    let server = launch.start();
    create_topic(server.kafka, "load", 1)?;
    let load = Load {
        topic: "load".into(),
        partition: 0,
        records: 1000,
        value_bytes: 100,
        in_flight: 16,
        rate: None,
        time: TIME,
    };
    let running = AtomicBool::new(export_to.is_some());
    let report = std::thread::scope(|scope| {
        scope.spawn(|| scrape_every_second(server.admin, &running));
        let report = run(server.kafka, &load);
        running.store(false, Ordering::Relaxed);
        report
    })?;
    let cpu = cpu_seconds(server.pid())? / (report.records as f64 / 1e6);
    server.stop();
    Ok(Measured { rate: report.records as f64 / report.seconds, cpu })
}

fn scrape_every_second(admin: SocketAddr, running: &AtomicBool) {
    while running.load(Ordering::Relaxed) {
        let _ = http::get(admin, "/metrics");
        std::thread::park_timeout(Duration::from_secs(1));
    }
}
