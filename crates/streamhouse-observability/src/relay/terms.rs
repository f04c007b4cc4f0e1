//! What one push may hold, metric by metric.

use super::message::MessageError;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric};
use prost::Message as _;

/// The longest name of a metric in bytes, as for instruments of OpenTelemetry.
const NAME: usize = 255;
/// The longest unit in bytes, likewise.
const UNIT: usize = 63;
/// The longest name of an attribute in bytes.
const KEY: usize = 255;
/// The longest value of an attribute in bytes.
const VALUE: usize = 1_024;
/// Attributes of a data point.
const ATTRIBUTES: usize = 64;
/// Buckets or quantiles of a data point.
const BUCKETS: usize = 320;

/// What is taken of a push.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Prefixes of the names of metrics that were asked for; an empty prefix is that of all.
    pub prefixes: &'a [String],
    /// Data points in a push.
    pub series: usize,
}

impl Terms<'_> {
    /// Whether the metric called `name` was asked for.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }
}

/// Whether `metric` may be passed on: cumulative, and its texts of reasonable length.
///
/// Texts are not cut: two series would become one.
pub(super) fn check(metric: &Metric) -> Result<(), MessageError> {
    within("the name of a metric", metric.name.len(), NAME)?;
    within("a unit", metric.unit.len(), UNIT)?;
    let temporality = match &metric.data {
        Some(Data::Sum(sum)) => Some(sum.aggregation_temporality),
        Some(Data::Histogram(histogram)) => Some(histogram.aggregation_temporality),
        Some(Data::ExponentialHistogram(histogram)) => Some(histogram.aggregation_temporality),
        Some(Data::Gauge(_) | Data::Summary(_)) | None => None,
    };
    if temporality.is_some_and(|it| it != AggregationTemporality::Cumulative as i32) {
        return Err(MessageError::NotCumulative);
    }
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.iter().try_for_each(|it| of(&it.attributes)),
        Some(Data::Sum(sum)) => sum.data_points.iter().try_for_each(|it| of(&it.attributes)),
        Some(Data::Histogram(all)) => all.data_points.iter().try_for_each(|it| {
            let most = it.explicit_bounds.len().max(it.bucket_counts.len());
            within_number("buckets", most, BUCKETS)?;
            of(&it.attributes)
        }),
        Some(Data::ExponentialHistogram(all)) => all.data_points.iter().try_for_each(|it| {
            let counts = [&it.positive, &it.negative]
                .map(|side| side.as_ref().map_or(0, |side| side.bucket_counts.len()));
            within_number("buckets", counts[0].max(counts[1]), BUCKETS)?;
            of(&it.attributes)
        }),
        Some(Data::Summary(all)) => all.data_points.iter().try_for_each(|it| {
            within_number("quantiles", it.quantile_values.len(), BUCKETS)?;
            of(&it.attributes)
        }),
        None => Ok(()),
    }
}

/// Whether a data point may have `attributes`.
fn of(attributes: &[KeyValue]) -> Result<(), MessageError> {
    within_number("attributes", attributes.len(), ATTRIBUTES)?;
    attributes.iter().try_for_each(|attribute| {
        within("the name of an attribute", attribute.key.len(), KEY)?;
        within("the value of an attribute", length(attribute.value.as_ref()), VALUE)
    })
}

fn length(value: Option<&AnyValue>) -> usize {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.len(),
        Some(_) => value.map_or(0, |value| value.encoded_len()),
        None => 0,
    }
}

fn within(what: &'static str, length: usize, limit: usize) -> Result<(), MessageError> {
    if length <= limit { Ok(()) } else { Err(MessageError::TooLong { what, length, limit }) }
}

fn within_number(what: &'static str, number: usize, limit: usize) -> Result<(), MessageError> {
    if number <= limit { Ok(()) } else { Err(MessageError::TooMany { what, number, limit }) }
}
