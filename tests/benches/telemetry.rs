//! What telemetry costs: produce throughput with it on against off, in interleaved pairs.
//!
//! `cargo bench -p streamhouse-tests --bench telemetry [-- ROUNDS]`
//!
//! On: metrics scraped every second, JSON logs at INFO, 1 % of requests traced, all three signals
//! exported to a receiver in this process. Off: `OTEL_SDK_DISABLED=true`, no logs, no scrape.

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
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let (on, off) = if round % 2 == 0 {
            let on = records_per_second(Some(receiver.endpoint()))?;
            (on, records_per_second(None)?)
        } else {
            let off = records_per_second(None)?;
            (records_per_second(Some(receiver.endpoint()))?, off)
        };
        println!("round {round}: on {on:.0}/s, off {off:.0}/s, ratio {:.3}", on / off);
        ratios.push(on / off);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "median ratio {:.3} (min {:.3}, max {:.3}) of {rounds} pairs",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1]
    );
    Ok(())
}

fn records_per_second(export_to: Option<String>) -> std::io::Result<f64> {
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
    server.stop();
    Ok(report.records as f64 / report.seconds)
}

fn scrape_every_second(admin: SocketAddr, running: &AtomicBool) {
    while running.load(Ordering::Relaxed) {
        let _ = http::get(admin, "/metrics");
        std::thread::park_timeout(Duration::from_secs(1));
    }
}
