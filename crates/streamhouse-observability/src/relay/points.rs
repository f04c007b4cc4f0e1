//! The data points of a push: which series each is of, and leaving some out.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use std::hash::{BuildHasher, Hash as _, Hasher, RandomState};

/// How many data points are in `metric`.
pub(super) fn count(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    }
}

/// The series of every data point, in order: a hash with `key` of all that makes a store keep it
/// apart from others.
pub(super) fn series(pushed: &[ResourceMetrics], key: &RandomState) -> Vec<u64> {
    let mut all = Vec::new();
    for resource in pushed {
        let under = hash_resource(resource.resource.as_ref(), key);
        for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            of_metric(metric, under, key, &mut all);
        }
    }
    all
}

/// Leaves out each data point for which `keep` says no, and metrics without any that is left.
pub(super) fn retain(pushed: &mut Vec<ResourceMetrics>, mut keep: impl FnMut() -> bool) {
    for scope in pushed.iter_mut().flat_map(|resource| &mut resource.scope_metrics) {
        scope.metrics.retain_mut(|metric| {
            match &mut metric.data {
                Some(Data::Gauge(gauge)) => gauge.data_points.retain(|_| keep()),
                Some(Data::Sum(sum)) => sum.data_points.retain(|_| keep()),
                Some(Data::Histogram(histogram)) => histogram.data_points.retain(|_| keep()),
                Some(Data::ExponentialHistogram(histogram)) => {
                    histogram.data_points.retain(|_| keep());
                }
                Some(Data::Summary(summary)) => summary.data_points.retain(|_| keep()),
                None => {}
            }
            count(metric) > 0
        });
    }
    pushed.retain(|it| it.scope_metrics.iter().any(|scope| !scope.metrics.is_empty()));
}

fn hash_resource(resource: Option<&Resource>, key: &RandomState) -> u64 {
    let mut hasher = key.build_hasher();
    hash_attributes(resource.map(|it| it.attributes.as_slice()).unwrap_or_default(), &mut hasher);
    hasher.finish()
}

fn of_metric(metric: &Metric, under: u64, key: &RandomState, all: &mut Vec<u64>) {
    let monotonic = matches!(&metric.data, Some(Data::Sum(sum)) if sum.is_monotonic);
    let kind = metric.data.as_ref().map(std::mem::discriminant);
    let name = key.hash_one((under, &metric.name, &metric.unit, kind, monotonic));
    let mut point = |attributes: &[KeyValue], parts: &mut dyn Iterator<Item = f64>| {
        let mut hasher = key.build_hasher();
        name.hash(&mut hasher);
        hash_attributes(attributes, &mut hasher);
        parts.for_each(|part| part.to_bits().hash(&mut hasher));
        all.push(hasher.finish());
    };
    let mut none = std::iter::empty();
    match &metric.data {
        Some(Data::Gauge(it)) => {
            it.data_points.iter().for_each(|it| point(&it.attributes, &mut none))
        }
        Some(Data::Sum(it)) => {
            it.data_points.iter().for_each(|it| point(&it.attributes, &mut none))
        }
        // Stores of the Prometheus kind make a series of each bucket and quantile.
        Some(Data::Histogram(it)) => it
            .data_points
            .iter()
            .for_each(|it| point(&it.attributes, &mut it.explicit_bounds.iter().copied())),
        Some(Data::ExponentialHistogram(it)) => {
            it.data_points.iter().for_each(|it| point(&it.attributes, &mut none));
        }
        Some(Data::Summary(it)) => it.data_points.iter().for_each(|it| {
            point(&it.attributes, &mut it.quantile_values.iter().map(|it| it.quantile));
        }),
        None => {}
    }
}

/// Hashes `attributes` in the order of their names: clients keep them in maps without order.
fn hash_attributes(attributes: &[KeyValue], hasher: &mut impl Hasher) {
    let mut sorted: Vec<&KeyValue> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    sorted.len().hash(hasher);
    for attribute in sorted {
        attribute.key.hash(hasher);
        attribute.value.as_ref().map(|value| value.encode_to_vec()).hash(hasher);
    }
}
