//! Items to OTLP.

use super::super::processors::LogItem;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, Gauge, Histogram, Metric, ResourceMetrics, ScopeMetrics, Sum, Summary,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::logs::LogBatch;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;

/// Data points in one request: a collector takes 4 MiB over gRPC by default, and a data point is
/// a few hundred bytes.
const POINTS: usize = 4_096;

/// One request, encoded once for all its attempts.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(super) body: Bytes,
}

impl Request {
    fn new(message: &impl Message) -> Self {
        Self { body: message.encode_to_vec().into() }
    }
}

/// A request of spans.
pub(crate) fn spans(resource: &ResourceAttributesWithSchema, spans: Vec<SpanData>) -> Request {
    let resource_spans = group_spans_by_resource_and_scope(spans, resource);
    Request::new(&ExportTraceServiceRequest { resource_spans })
}

/// A request of log records.
pub(crate) fn logs(resource: &ResourceAttributesWithSchema, records: Vec<LogItem>) -> Request {
    let borrowed: Vec<_> = records.iter().map(|(record, scope)| (record, scope)).collect();
    let resource_logs = group_logs_by_resource_and_scope(&LogBatch::new(&borrowed), resource);
    Request::new(&ExportLogsServiceRequest { resource_logs })
}

/// Requests of one collection, each with the number of its data points: one as long as a request
/// takes all points, else several, of one scope each.
pub(crate) fn metrics(
    collected: &opentelemetry_sdk::metrics::data::ResourceMetrics,
) -> Vec<(Request, u64)> {
    let whole = ExportMetricsServiceRequest::from(collected);
    let scopes = whole.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let points: usize = scopes.flat_map(|scope| &scope.metrics).map(count).sum();
    if (1..=POINTS).contains(&points) {
        return vec![(Request::new(&whole), points as u64)];
    }
    let mut requests = Vec::new();
    for resource in whole.resource_metrics {
        for scope in resource.scope_metrics {
            let (about, schema_url) = (scope.scope, scope.schema_url);
            for (metrics, count) in parts(scope.metrics) {
                let scope =
                    ScopeMetrics { scope: about.clone(), schema_url: schema_url.clone(), metrics };
                let resource_metrics = vec![ResourceMetrics {
                    resource: resource.resource.clone(),
                    schema_url: resource.schema_url.clone(),
                    scope_metrics: vec![scope],
                }];
                let request = Request::new(&ExportMetricsServiceRequest { resource_metrics });
                requests.push((request, count as u64));
            }
        }
    }
    requests
}

/// How many data points `collected` holds.
pub(crate) fn points(requests: &[(Request, u64)]) -> u64 {
    requests.iter().map(|(_, points)| points).sum()
}

/// Metrics in groups of at most [`POINTS`] data points, with the number of each group's points.
fn parts(metrics: Vec<Metric>) -> Vec<(Vec<Metric>, usize)> {
    let mut parts: Vec<(Vec<Metric>, usize)> = Vec::new();
    for metric in metrics.into_iter().flat_map(split) {
        let count = count(&metric);
        match parts.last_mut() {
            Some((group, points)) if *points + count <= POINTS => {
                group.push(metric);
                *points += count;
            }
            _ if count > 0 => parts.push((vec![metric], count)),
            _ => {}
        }
    }
    parts
}

/// `metric` in pieces of at most [`POINTS`] data points.
fn split(metric: Metric) -> Vec<Metric> {
    if count(&metric) <= POINTS {
        return vec![metric];
    }
    let Metric { name, description, unit, metadata, data } = metric;
    let pieces: Vec<Data> = match data {
        None => Vec::new(),
        Some(Data::Gauge(Gauge { data_points })) => {
            pieces(data_points, |data_points| Data::Gauge(Gauge { data_points }))
        }
        Some(Data::Sum(sum)) => {
            pieces(sum.data_points, |data_points| Data::Sum(Sum { data_points, ..sum }))
        }
        Some(Data::Histogram(Histogram { data_points, aggregation_temporality })) => {
            pieces(data_points, |data_points| {
                Data::Histogram(Histogram { data_points, aggregation_temporality })
            })
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            let ExponentialHistogram { data_points, aggregation_temporality } = histogram;
            pieces(data_points, |data_points| {
                let piece = ExponentialHistogram { data_points, aggregation_temporality };
                Data::ExponentialHistogram(piece)
            })
        }
        Some(Data::Summary(Summary { data_points })) => {
            pieces(data_points, |data_points| Data::Summary(Summary { data_points }))
        }
    };
    let piece = |data| Metric {
        name: name.clone(),
        description: description.clone(),
        unit: unit.clone(),
        metadata: metadata.clone(),
        data: Some(data),
    };
    pieces.into_iter().map(piece).collect()
}

fn pieces<T>(points: Vec<T>, data: impl Fn(Vec<T>) -> Data) -> Vec<Data> {
    let mut points = points.into_iter();
    let piece = || Some(points.by_ref().take(POINTS).collect()).filter(|p: &Vec<T>| !p.is_empty());
    std::iter::from_fn(piece).map(data).collect()
}

fn count(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;

    fn sum(name: &str, points: usize) -> Metric {
        let point = |place| NumberDataPoint { time_unix_nano: place as u64, ..Default::default() };
        let data_points = (0..points).map(point).collect();
        let sum = Sum { data_points, aggregation_temporality: 2, is_monotonic: true };
        Metric { name: name.into(), data: Some(Data::Sum(sum)), ..Default::default() }
    }

    #[test]
    fn no_request_of_metrics_has_more_points_than_it_may_and_no_point_is_lost() {
        let metrics = vec![sum("a", 3), sum("b", POINTS * 2 + 5), sum("c", 1), sum("d", 0)];
        let parts = parts(metrics);

        let mut seen = Vec::new();
        for (metrics, points) in &parts {
            assert!(*points <= POINTS);
            assert_eq!(metrics.iter().map(count).sum::<usize>(), *points);
            for metric in metrics {
                let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
                let times = sum.data_points.iter().map(|point| point.time_unix_nano);
                seen.extend(times.map(|time| (metric.name.clone(), time)));
            }
        }
        let all =
            |name: &str, points: u64| (0..points).map(move |n| (name.to_owned(), n)).collect();
        let whole: [Vec<_>; 3] = [all("a", 3), all("b", POINTS as u64 * 2 + 5), all("c", 1)];
        assert_eq!(seen, whole.concat());
    }
}
