//! The same series by scrape, in both modes, and by OTLP: names, labels, values.

use crate::clients::{create_topic, flush, producer, read_all, send};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric, metric::Data};
use std::collections::BTreeMap;
use streamhouse_observability::declare::{Kind, prometheus_name};
use streamhouse_observability::testing::otlp::{OtlpReceiver, Received};
use streamhouse_tests::metrics::Scrape;
use streamhouse_tests::process::Launch;

/// Name and labels to value. Bounds of buckets are numbers, however they are written.
type SeriesMap = BTreeMap<(String, BTreeMap<String, String>), f64>;

/// What moves by itself: an age is another one at each look.
const RESTLESS: [&str; 3] =
    ["streamhouse_telemetry_", "streamhouse_health_", "streamhouse_consumer_lag_age_"];

/// What the engine counts: it stands still when nobody uses it, but for health and leases.
fn of_the_engine(name: &str) -> bool {
    name.starts_with("streamhouse_") && !RESTLESS.iter().any(|prefix| name.starts_with(prefix))
}

fn bound(value: f64) -> String {
    format!("{value:?}")
}

fn scraped(scrape: &Scrape) -> SeriesMap {
    let samples = scrape.0.iter().filter(|sample| of_the_engine(&sample.name));
    samples
        .map(|sample| {
            let mut labels = sample.labels.clone();
            if let Some(le) = labels.get_mut("le") {
                *le = bound(le.replace("Inf", "inf").parse().expect("a bound"));
            }
            ((sample.name.clone(), labels), sample.value)
        })
        .collect()
}

fn labels(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let pair = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        let Some(any_value::Value::StringValue(text)) = value else {
            panic!("a label that is no text: {attribute:?}")
        };
        (attribute.key.replace('.', "_"), text.clone())
    };
    attributes.iter().map(pair).collect()
}

/// The server's own pushes: what clients push about themselves goes the same way.
fn own(received: &Received) -> impl Iterator<Item = &ExportMetricsServiceRequest> {
    received.metrics.iter().filter(|request| {
        let resources = request.resource_metrics.iter().flat_map(|one| &one.resource);
        let mut attributes = resources.flat_map(|resource| &resource.attributes);
        attributes.all(|attribute| attribute.key != "client_id")
    })
}

/// The series that the latest push holds.
fn pushed(received: &Received) -> SeriesMap {
    let mut series = SeriesMap::new();
    let Some(last) = own(received).last() else { return series };
    let scopes = last.resource_metrics.iter().flat_map(|one| &one.scope_metrics);
    for metric in scopes.flat_map(|scope| &scope.metrics) {
        add(metric, &mut series);
    }
    series
}

fn add(metric: &Metric, series: &mut SeriesMap) {
    let name = |kind| prometheus_name(&metric.name, &metric.unit, kind);
    let (kind, points) = match metric.data.as_ref().expect("data") {
        Data::Sum(sum) => (Kind::Counter, &sum.data_points),
        Data::Gauge(gauge) => (Kind::Gauge, &gauge.data_points),
        Data::Histogram(histogram) => {
            let name = name(Kind::Histogram);
            if of_the_engine(&name) {
                histogram.data_points.iter().for_each(|point| add_histogram(&name, point, series));
            }
            return;
        }
        other => panic!("unexpected: {other:?}"),
    };
    let name = name(kind);
    for point in points.iter().filter(|_| of_the_engine(&name)) {
        let value = match point.value.expect("a value") {
            Value::AsInt(whole) => whole as f64,
            Value::AsDouble(value) => value,
        };
        let before = series.insert((name.clone(), labels(&point.attributes)), value);
        assert_eq!(before, None, "{name} twice in one push");
    }
}

fn add_histogram(name: &str, point: &HistogramDataPoint, series: &mut SeriesMap) {
    let labels = labels(&point.attributes);
    let mut total = 0;
    let bounds = point.explicit_bounds.iter().copied().chain([f64::INFINITY]);
    for (le, count) in bounds.zip(&point.bucket_counts) {
        total += count;
        let mut labels = labels.clone();
        labels.insert("le".into(), bound(le));
        series.insert((format!("{name}_bucket"), labels), total as f64);
    }
    series.insert((format!("{name}_count"), labels.clone()), point.count as f64);
    series.insert((format!("{name}_sum"), labels), point.sum.unwrap_or(f64::NAN));
}

#[test]
fn the_same_series_leave_by_scrape_in_both_modes_and_by_otlp() {
    for mode in ["native", "bridge"] {
        let receiver = OtlpReceiver::start();
        let data = tempfile::tempdir().expect("a directory");
        let server = Launch::serve(crate::BINARY, data.path())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint())
            .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
            .env("STREAMHOUSE_METRICS_EXPOSITION", mode)
            .start();
        create_topic(server.kafka, "orders", 2);
        let (producer, _) = producer(server.kafka, &[("enable.idempotence", "true")]);
        for n in 0..500 {
            send(&producer, "orders", (n % 2) as i32, n);
        }
        flush(&producer);
        drop(producer);
        read_all(server.kafka, "orders", 2);

        // Both stand still but for health checks and leases: some push equals a scrape exactly.
        let equal = (0..100).any(|_| {
            let before = own(&receiver.received()).count();
            let received =
                receiver.wait_for("another push", |received| own(received).count() > before);
            differences(&scraped(&server.scrape()), &pushed(&received), mode) == 0
        });
        assert!(equal, "{mode}: no push equals a scrape; the differences are above");
    }
}

/// Shows some of the series that are not the same on both ways, and counts them.
fn differences(scraped: &SeriesMap, pushed: &SeriesMap, mode: &str) -> usize {
    assert!(scraped.len() > 100, "{mode}: only {} series", scraped.len());
    let missing = scraped.iter().filter(|one| pushed.get(one.0) != Some(one.1));
    let extra = pushed.iter().filter(|one| scraped.get(one.0) != Some(one.1));
    let all: Vec<_> = missing.chain(extra).collect();
    if !all.is_empty() {
        println!("{mode}: {:#?}", all.iter().take(10).collect::<Vec<_>>());
    }
    all.len()
}
