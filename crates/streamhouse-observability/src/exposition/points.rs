//! The points that only the SDK holds: histograms and other libraries' instruments.

use super::head::{Format, Head};
use super::lines::{self, Sample};
use crate::declare::{ExemplarSeries, write_labels};
use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, HistogramDataPoint, Metric, MetricData};
use std::ops::Range;
use std::sync::PoisonError;

/// The points of one family, out of one or several instruments, in the order of their labels.
#[derive(Default)]
pub(super) struct Points<'a> {
    /// All label texts, one after the other.
    labels: String,
    points: Vec<(Range<usize>, Point<'a>)>,
}

enum Point<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    UnsignedHistogram(&'a HistogramDataPoint<u64>),
    SignedHistogram(&'a HistogramDataPoint<i64>),
    FloatHistogram(&'a HistogramDataPoint<f64>),
}

impl<'a> Points<'a> {
    pub(super) fn add(&mut self, metric: &'a Metric) {
        match metric.data() {
            AggregatedMetrics::U64(data) => {
                self.add_all(data, Point::Unsigned, Point::UnsignedHistogram);
            }
            AggregatedMetrics::I64(data) => {
                self.add_all(data, Point::Signed, Point::SignedHistogram);
            }
            AggregatedMetrics::F64(data) => {
                self.add_all(data, Point::Float, Point::FloatHistogram);
            }
        }
    }

    fn add_all<T: Copy>(
        &mut self,
        data: &'a MetricData<T>,
        value: fn(T) -> Point<'a>,
        histogram: fn(&'a HistogramDataPoint<T>) -> Point<'a>,
    ) {
        match data {
            MetricData::Gauge(gauge) => {
                for point in gauge.data_points() {
                    self.push(point.attributes(), value(point.value()));
                }
            }
            MetricData::Sum(sum) => {
                for point in sum.data_points() {
                    self.push(point.attributes(), value(point.value()));
                }
            }
            MetricData::Histogram(all) => {
                for point in all.data_points() {
                    self.push(point.attributes(), histogram(point));
                }
            }
            MetricData::ExponentialHistogram(_) => {}
        }
    }

    fn push<'b>(&mut self, attributes: impl Iterator<Item = &'b KeyValue>, point: Point<'a>) {
        let start = self.labels.len();
        write_labels(&mut self.labels, attributes.map(|pair| (pair.key.as_str(), &pair.value)));
        self.points.push((start..self.labels.len(), point));
    }

    /// Writes the family, and returns how many lines it has and how many series were left out
    /// because another one has their labels.
    pub(super) fn write(
        mut self,
        out: &mut Vec<u8>,
        format: Format,
        head: &Head,
        exemplars: Option<&ExemplarSeries>,
    ) -> (usize, usize) {
        let (labels, name) = (self.labels.as_str(), head.name.as_str());
        let text = |range: &Range<usize>| labels.get(range.clone()).unwrap_or_default();
        self.points.sort_by(|a, b| text(&a.0).cmp(text(&b.0)));
        let all = self.points.len();
        self.points.dedup_by(|a, b| text(&a.0) == text(&b.0));
        out.extend_from_slice(head.lines(format).as_bytes());
        let mut lines = 0;
        for (range, point) in &self.points {
            let labels = text(range);
            lines += match point {
                Point::Unsigned(value) => single(out, name, labels, *value),
                Point::Signed(value) => single(out, name, labels, *value),
                Point::Float(value) => single(out, name, labels, *value),
                Point::UnsignedHistogram(point) => {
                    lines::histogram(out, format, name, labels, point, &[])
                }
                Point::SignedHistogram(point) => {
                    lines::histogram(out, format, name, labels, point, &[])
                }
                Point::FloatHistogram(point) => {
                    let found =
                        exemplars.filter(|_| format == Format::OpenMetrics).and_then(|series| {
                            let series = series.lock().unwrap_or_else(PoisonError::into_inner);
                            series.get(labels).cloned()
                        });
                    let found = found.map(|exemplars| exemplars.snapshot()).unwrap_or_default();
                    lines::histogram(out, format, name, labels, point, &found)
                }
            };
        }
        (lines, all - self.points.len())
    }
}

fn single(out: &mut Vec<u8>, name: &str, labels: &str, value: impl Sample) -> usize {
    lines::sample(out, name, labels, value);
    1
}
