use crate::labels::Signal;
use crate::pipeline::Protocol;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;

/// What was received, in order. Requests that were answered with an error are in `requests` alone.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Every request, whatever its answer.
    pub requests: Vec<RequestInfo>,
    /// Requests of spans that were taken.
    pub traces: Vec<ExportTraceServiceRequest>,
    /// Requests of log records that were taken.
    pub logs: Vec<ExportLogsServiceRequest>,
    /// Requests of metrics that were taken.
    pub metrics: Vec<ExportMetricsServiceRequest>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// What it carried.
    pub signal: Signal,
    /// How it came.
    pub protocol: Protocol,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl RequestInfo {
    /// The value of header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Received {
    /// Every span.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        let scopes = self.traces.iter().flat_map(|one| &one.resource_spans);
        scopes.flat_map(|one| &one.scope_spans).flat_map(|one| &one.spans)
    }

    /// Every log record, with the name of its scope: the event's target.
    pub fn log_records(&self) -> impl Iterator<Item = (&str, &LogRecord)> {
        let scopes = self.logs.iter().flat_map(|one| &one.resource_logs);
        scopes.flat_map(|one| &one.scope_logs).flat_map(|one| {
            let scope = one.scope.as_ref().map_or("", |scope| scope.name.as_str());
            one.log_records.iter().map(move |record| (scope, record))
        })
    }

    /// Every metric, the newest request last.
    pub fn metric_list(&self) -> impl Iterator<Item = &Metric> {
        let scopes = self.metrics.iter().flat_map(|one| &one.resource_metrics);
        scopes.flat_map(|one| &one.scope_metrics).flat_map(|one| &one.metrics)
    }

    /// The newest state of metric `name`.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metric_list().filter(|metric| metric.name == name).last()
    }

    /// How many requests of `signal` came, whatever their answer.
    pub fn attempts(&self, signal: Signal) -> usize {
        self.requests.iter().filter(|request| request.signal == signal).count()
    }
}
