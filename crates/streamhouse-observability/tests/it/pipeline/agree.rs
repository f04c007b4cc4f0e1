//! Both exits tell the same.

use super::{config, entered, string};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, number_data_point};
use std::collections::BTreeMap;
use std::time::Duration;
use streamhouse_observability::declare::{Counter, FloatGauge, Gauge, Histogram};
use streamhouse_observability::exposition::Mode;
use streamhouse_observability::labels::{Outcome, Signal, Topic};
use streamhouse_observability::pipeline::Protocol;
use streamhouse_observability::testing::otlp::OtlpReceiver;

streamhouse_observability::instruments! {
    /// One instrument of each kind.
    struct Kinds("test") {
        /// Things.
        things: Counter<(Topic, Signal)> = "{thing}", series = 10;
        /// Bytes.
        bytes: Counter<Signal> = "By";
        /// Waiting.
        waiting: Gauge<()> = "{thing}";
        /// Age.
        age: FloatGauge<Signal> = "s";
        /// Latency.
        latency: Histogram<Outcome> = "s";
    }
}

/// What a scrape shows of a pushed metric, by the rules of Prometheus' translator for the units of
/// this test.
fn as_scraped(metric: &Metric, into: &mut BTreeMap<String, f64>) {
    let mut name = metric.name.replace('.', "_");
    let word = match metric.unit.as_str() {
        "By" if !name.ends_with("bytes") => "_bytes",
        "s" => "_seconds",
        _ => "",
    };
    name.push_str(word);
    let number = |value: Option<number_data_point::Value>| match value {
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        Some(number_data_point::Value::AsDouble(value)) => value,
        None => f64::NAN,
    };
    match &metric.data {
        Some(Data::Sum(sum)) => {
            for point in &sum.data_points {
                let labels = labels(&point.attributes, None);
                into.insert(format!("{name}_total{labels}"), number(point.value));
            }
        }
        Some(Data::Gauge(gauge)) => {
            for point in &gauge.data_points {
                into.insert(
                    format!("{name}{}", labels(&point.attributes, None)),
                    number(point.value),
                );
            }
        }
        Some(Data::Histogram(histogram)) => {
            for point in &histogram.data_points {
                let plain = labels(&point.attributes, None);
                into.insert(format!("{name}_count{plain}"), point.count as f64);
                into.insert(format!("{name}_sum{plain}"), point.sum.unwrap());
                let bounds = point.explicit_bounds.iter().copied().chain([f64::INFINITY]);
                let mut below = 0;
                for (bound, count) in bounds.zip(&point.bucket_counts) {
                    below += count;
                    let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".into() };
                    let labels = labels(&point.attributes, Some(&bound));
                    into.insert(format!("{name}_bucket{labels}"), below as f64);
                }
            }
        }
        other => panic!("{other:?}"),
    }
}

fn labels(attributes: &[KeyValue], le: Option<&str>) -> String {
    let mut pairs: BTreeMap<String, &str> = BTreeMap::new();
    for pair in attributes {
        pairs.insert(pair.key.replace('.', "_"), string(pair.value.as_ref()).unwrap());
    }
    if let Some(bound) = le {
        pairs.insert("le".to_owned(), bound);
    }
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

/// The samples of a text that begin with `prefix`, labels sorted.
fn samples(text: &str, prefix: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with(prefix)) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let series = match series.split_once('{') {
            None => series.to_owned(),
            Some((name, labels)) => {
                let mut labels: Vec<_> = labels.trim_end_matches('}').split(',').collect();
                labels.sort_unstable();
                format!("{name}{{{}}}", labels.join(","))
            }
        };
        samples.insert(series, value.parse().unwrap());
    }
    samples
}

#[test]
fn what_is_pushed_equals_what_is_scraped() {
    for mode in [Mode::Native, Mode::Bridge] {
        let receiver = OtlpReceiver::start();
        let mut config = config(receiver.endpoint(), Protocol::Grpc);
        config.metrics.exposition = mode;
        let (observability, _default) = entered(config);
        let kinds = Kinds::declare(observability.declare());
        let orders = kinds.things.bind(&(Topic("orders".into()), Signal::Logs));
        orders.add(42);
        let empty = kinds.things.bind(&(Topic("empty".into()), Signal::Traces));
        let bytes = kinds.bytes.bind(&Signal::Logs);
        bytes.add(1 << 40);
        let waiting = kinds.waiting.bind(&());
        waiting.set(-7);
        let age = kinds.age.bind(&Signal::Metrics);
        age.set(0.25);
        let latency = kinds.latency.bind(&Outcome::Ok);
        [0.0005, 0.003, 0.003, 99.0].iter().for_each(|value| latency.record(*value));

        let exposition = observability.exposition();
        let scraped = samples(&exposition.text(), "test_");
        observability.shutdown(Duration::from_secs(20));
        let mut pushed = BTreeMap::new();
        let received = receiver.received();
        for metric in received.metric_list().filter(|metric| metric.name.starts_with("test.")) {
            as_scraped(metric, &mut pushed);
        }

        assert_eq!(scraped, pushed, "{mode:?}");
        assert!(scraped.len() > 15, "{scraped:?}");
        drop((orders, empty, bytes, waiting, age));
    }
}

#[test]
fn disabled_cells_count_and_nothing_else_happens() {
    let receiver = OtlpReceiver::start();
    let mut config = config(receiver.endpoint(), Protocol::Grpc);
    config.disabled = true;
    let (observability, _default) = entered(config);
    let kinds = Kinds::declare(observability.declare());
    let bytes = kinds.bytes.bind(&Signal::Logs);
    bytes.add(3);
    drop(tracing::info_span!("work"));
    tracing::info!("something happened");
    let text = observability.exposition().text();
    assert!(text.contains("test_bytes_total{signal=\"logs\"} 3"), "{text}");
    let report = observability.shutdown(Duration::from_secs(20));
    assert_eq!(receiver.received().requests.len(), 0);
    assert_eq!((report.traces.created, report.logs.created, report.metrics.created), (0, 0, 0));
}
