//! Metrics as a test sees them.

use crate::declare::{Declare, Declared, Number, Row, Source};
use crate::exposition::{Metrics, Mode};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use std::time::Duration;

/// A private registry, and what is seen of it.
pub fn in_memory() -> (Declare, Seen) {
    let resource = Resource::builder_empty().with_service_name("test").build();
    match Metrics::build(resource, Mode::Native) {
        Ok(metrics) => (metrics.declare().clone(), Seen { metrics }),
        Err(error) => panic!("native metrics can always be built: {error}"),
    }
}

/// What a test sees of the instruments declared on one [`Declare`].
///
/// Instruments are asked for by their OpenTelemetry name. Looking changes nothing: a counter whose
/// owners are gone is seen until [`text`](Self::text) has shown it once.
#[derive(Clone, Debug)]
pub struct Seen {
    metrics: Metrics,
}

/// One series of a counter or gauge, or one label set of a histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, sorted by key.
    pub labels: Vec<(String, String)>,
    /// A counter's or gauge's value; a histogram's number of records.
    pub value: f64,
}

impl Seen {
    /// The sum of the counter's series that have `labels`; of a histogram, the number of records.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.matching(name, labels).map(|series| series.value as u64).sum()
    }

    /// The sum of the series that have `labels`; `None` if there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.matching(name, labels).map(|series| series.value).reduce(|sum, value| sum + value)
    }

    /// Every series of an instrument, brought up to date as before any collect.
    pub fn series(&self, name: &str) -> Vec<Series> {
        self.metrics.declare().refresh();
        let declared = self.declared(name);
        match &declared.source {
            Source::Cells(family) => {
                let mut all = Vec::new();
                family.peek(|cell, bits| {
                    all.push(Series::new(&cell.pairs, number(family.number, bits)));
                });
                all
            }
            Source::Sdk(_) => self.histogram(&declared.row),
        }
    }

    /// The text 0.0.4 of one scrape.
    pub fn text(&self) -> String {
        self.metrics.exposition().text()
    }

    /// The OpenMetrics 1.0 text of one scrape.
    pub fn open_metrics(&self) -> String {
        let mut out = Vec::new();
        self.metrics.exposition().write_open_metrics(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The metrics behind it, for tests of exports.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Lets `time` pass at once for everything that ends by time.
    pub fn skip(&self, time: Duration) {
        self.metrics.declare().skip(time);
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = Series> {
        let row = self.declared(name).row;
        for (key, _) in labels {
            let is_known = row.labels.iter().any(|label| label.key == *key);
            assert!(is_known, "{name} has no label {key}: it has {:?}", row.labels);
        }
        self.series(name).into_iter().filter(|series| {
            labels.iter().all(|(key, value)| {
                series.labels.iter().any(|label| label.0 == *key && label.1 == *value)
            })
        })
    }

    fn declared(&self, name: &str) -> Declared {
        let mut all = self.metrics.declare().declared();
        match all.iter().position(|declared| declared.row.name == name) {
            Some(place) => all.swap_remove(place),
            None => panic!("no instrument {name} is declared here"),
        }
    }

    fn histogram(&self, row: &Row) -> Vec<Series> {
        let mut collected = ResourceMetrics::default();
        let result = self.metrics.collect_sdk(&mut collected);
        assert!(result.is_ok(), "collecting failed: {result:?}");
        let mut all = Vec::new();
        for metric in collected.scope_metrics().flat_map(|scope| scope.metrics()) {
            if metric.name() == row.name
                && let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data()
            {
                for point in histogram.data_points() {
                    let pairs: Vec<KeyValue> = point.attributes().cloned().collect();
                    all.push(Series::new(&pairs, point.count() as f64));
                }
            }
        }
        all
    }
}

impl Series {
    fn new(pairs: &[KeyValue], value: f64) -> Self {
        let text = |pair: &KeyValue| (pair.key.to_string(), pair.value.as_str().into_owned());
        let mut labels: Vec<_> = pairs.iter().map(text).collect();
        labels.sort();
        Self { labels, value }
    }
}

fn number(number: Number, bits: u64) -> f64 {
    match number {
        Number::Unsigned => bits as f64,
        Number::Signed => bits as i64 as f64,
        Number::Float => f64::from_bits(bits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declare::ClosedLabel;
    use crate::instruments::{Instruments, ProducerMetrics};
    use crate::labels::{Outcome, ProduceError, Topic};

    #[test]
    fn a_test_sees_what_it_records_and_nothing_else() {
        let (declare, seen) = in_memory();
        let (other, _) = in_memory();
        let producer = ProducerMetrics::declare(&declare);
        let topic = producer.topic(&Topic("orders".into()));
        let _not_ours = ProducerMetrics::declare(&other).topic(&Topic("bills".into()));

        topic.records.add(3);
        topic.errors.of(ProduceError::Throttling).add(1);
        producer.requests().latency.of(Outcome::Ok).record(0.1);

        assert_eq!(seen.count("streamhouse.producer.records", &[]), 3);
        assert_eq!(seen.count("streamhouse.producer.errors", &[("error", "throttling")]), 1);
        assert_eq!(seen.count("streamhouse.producer.latency", &[("outcome", "ok")]), 1);
        assert_eq!(seen.value("streamhouse.producer.records", &[("topic", "bills")]), None);
        let errors = seen.series("streamhouse.producer.errors").len();
        assert_eq!(errors, ProduceError::ALL.len());
    }

    #[test]
    fn the_same_table_declared_twice_is_one_table() {
        let (declare, seen) = in_memory();
        let topic = Topic("orders".into());
        let (first, second) = (Instruments::declare(&declare), Instruments::declare(&declare));
        let (a, b) = (first.producer.topic(&topic), second.producer.topic(&topic));

        a.records.add(1);
        b.records.add(2);

        assert_eq!(seen.count("streamhouse.producer.records", &[]), 3);
        assert_eq!(seen.series("streamhouse.producer.records").len(), 1);
    }
}
