//! A collector that is configured and not there.

use crate::clients::{create_topic, flush, producer, send};
use streamhouse_observability::testing::otlp::RefusingPort;
use streamhouse_tests::metrics::Scrape;
use streamhouse_tests::process::Launch;

const SIGNALS: [&str; 3] = ["traces", "logs", "metrics"];

fn total(scrape: &Scrape, name: &str, signal: &str) -> f64 {
    scrape.sum(&format!("streamhouse_telemetry_{name}"), &[("signal", signal)]).unwrap_or(f64::NAN)
}

/// What was made and what became of it differ by nothing.
fn is_balanced(scrape: &Scrape, signal: &str) -> bool {
    let became = ["exported", "rejected", "failed", "dropped", "unsampled"]
        .map(|name| total(scrape, &format!("{name}_total"), signal));
    let pending = total(scrape, "pending", signal);
    total(scrape, "created_total", signal) == became.iter().sum::<f64>() + pending
}

#[test]
fn a_collector_that_is_down_costs_a_warning_and_exact_counts_and_nothing_else() {
    let nobody = RefusingPort::reserve();
    let data = tempfile::tempdir().expect("a directory");
    let server = Launch::serve(crate::BINARY, data.path())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &nobody.endpoint())
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "100")
        .start();
    create_topic(server.kafka, "orders", 2);
    let (producer, told) = producer(server.kafka, &[("enable.idempotence", "true")]);
    for n in 0..1_000 {
        send(&producer, "orders", (n % 2) as i32, n);
    }
    flush(&producer);

    told.with(|told| assert_eq!((told.acknowledged.len(), told.failed.len()), (1_000, 0)));
    server.scrape_until("failed exports of every signal, counted exactly", |scrape| {
        SIGNALS.iter().all(|signal| {
            total(scrape, "failed_total", signal) > 0.0 && is_balanced(scrape, signal)
        })
    });
    let log = server.log();
    let warnings: Vec<_> = log.iter().filter(|line| line.contains("\"WARN\"")).collect();
    // One for each signal, and one for what clients push about themselves.
    assert!(warnings.len() <= SIGNALS.len() + 1, "{warnings:#?}");
    let (status, _) = server.stop();
    assert!(status.success(), "{status}");
}
