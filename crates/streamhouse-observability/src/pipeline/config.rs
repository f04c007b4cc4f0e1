//! What the pipeline can be told. Plain structs: [`Config::from_env`](super::Config::from_env)
//! lays the standard variables over them.

use super::secret::Headers;
use crate::exposition::Mode;
use crate::labels::Signal;
use crate::logging::LogConfig;
use crate::spans::Sampling;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that the pipeline can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// No spans and no export; cells count and `/metrics` works. Default: false.
    /// `OTEL_SDK_DISABLED`.
    pub disabled: bool,
    /// Who the telemetry is about.
    pub service: Service,
    /// Where all signals go, unless a signal says otherwise. Default: nowhere.
    pub otlp: Otlp,
    /// Spans.
    pub traces: Traces,
    /// Log records over OTLP.
    pub logs: Logs,
    /// Log lines, and the filter that lines and records share. Service, instance and terminal
    /// are filled in at the start. `RUST_LOG` sets the filter.
    pub log: LogConfig,
    /// Whether log lines are written, to standard error. Default: true.
    pub log_lines: bool,
    /// Metrics over OTLP.
    pub metrics: Metrics,
    /// How trace context crosses processes. Default: W3C trace context.
    /// `OTEL_PROPAGATORS` (`tracecontext`, `baggage`, `none`).
    pub propagators: Vec<Propagator>,
}

impl Config {
    /// The defaults of the service `name`, whose version is `version`.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            disabled: false,
            log: LogConfig::new(name.clone(), ""),
            log_lines: true,
            service: Service {
                name,
                version: version.into(),
                instance: None,
                attributes: Vec::new(),
            },
            otlp: Otlp::default(),
            traces: Traces::default(),
            logs: Logs::default(),
            metrics: Metrics::default(),
            propagators: vec![Propagator::TraceContext],
        }
    }

    /// The settings of `signal`'s export alone: what it overrides, and whether it is on.
    pub(crate) fn signal(&self, signal: Signal) -> (&Otlp, Option<Exporter>) {
        match signal {
            Signal::Traces => (&self.traces.otlp, self.traces.exporter),
            Signal::Logs => (&self.logs.otlp, self.logs.exporter),
            Signal::Metrics => (&self.metrics.otlp, self.metrics.exporter),
        }
    }
}

/// Who the telemetry is about: the resource of every signal.
#[derive(Clone, Debug)]
pub struct Service {
    /// `service.name`. Default: what the program passes. `OTEL_SERVICE_NAME`.
    pub name: String,
    /// `service.version`. Default: what the program passes. `OTEL_RESOURCE_ATTRIBUTES`.
    pub version: String,
    /// `service.instance.id`. Default: a fresh random UUID. `OTEL_RESOURCE_ATTRIBUTES`.
    pub instance: Option<String>,
    /// More attributes; they win over what the process finds out about itself. Default: none.
    /// `OTEL_RESOURCE_ATTRIBUTES` (`key=value,…`, values percent-encoded).
    pub attributes: Vec<(String, String)>,
}

/// Where and how OTLP is sent. What is `None` is taken from the general settings, then from
/// the default.
///
/// The variables are `OTEL_EXPORTER_OTLP_…`, and `OTEL_EXPORTER_OTLP_{TRACES,METRICS,LOGS}_…`
/// for one signal.
#[derive(Clone, Debug, Default)]
pub struct Otlp {
    /// The receiver's URL. A general one gets `/v1/traces` and so on appended over HTTP, a
    /// signal's own is taken as it is. Over gRPC, `host:port` without a scheme is allowed.
    /// Setting it switches the export on. Default: `http://localhost:4318` (HTTP),
    /// `http://localhost:4317` (gRPC). `…_ENDPOINT`.
    pub endpoint: Option<String>,
    /// Default: HTTP with protobuf. `…_PROTOCOL` (`grpc`, `http/protobuf`).
    pub protocol: Option<Protocol>,
    /// Time for one batch, retries included. Default: 10 s. `…_TIMEOUT` (milliseconds).
    pub timeout: Option<Duration>,
    /// Sent with every request; shown nowhere. Default: none.
    /// `…_HEADERS` (`key=value,…`, values percent-encoded).
    pub headers: Option<Headers>,
    /// Default: none. `…_COMPRESSION` (`gzip`, `none`).
    pub compression: Option<Compression>,
    /// PEM file of the authorities that may sign the receiver's certificate.
    /// Default: those of the system. `…_CERTIFICATE`.
    pub certificate: Option<PathBuf>,
    /// PEM file of our private key, for mutual TLS. Default: none. `…_CLIENT_KEY`.
    pub client_key: Option<PathBuf>,
    /// PEM file of our certificate chain, for mutual TLS. Default: none.
    /// `…_CLIENT_CERTIFICATE`.
    pub client_certificate: Option<PathBuf>,
    /// Whether a gRPC endpoint without a scheme is reached without TLS. Default: false.
    /// `…_INSECURE`.
    pub insecure: Option<bool>,
}

/// Spans: whether, how many, how they wait.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    /// Default: on if an endpoint is set. `OTEL_TRACES_EXPORTER` (`otlp`, `none`).
    pub exporter: Option<Exporter>,
    /// What differs from the general settings.
    pub otlp: Otlp,
    /// Which traces are kept. Default: all, and what the caller decided.
    /// `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` set its ratio and whether the caller's
    /// decision counts.
    pub sampling: Sampling,
    /// How spans wait. `OTEL_BSP_…`.
    pub batch: Batch,
}

/// Log records over OTLP.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// Default: on if an endpoint is set. `OTEL_LOGS_EXPORTER` (`otlp`, `none`).
    pub exporter: Option<Exporter>,
    /// What differs from the general settings.
    pub otlp: Otlp,
    /// How log records wait. `OTEL_BLRP_…`.
    pub batch: Batch,
}

/// Metrics over OTLP. (`/metrics` is always there.)
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Default: on if an endpoint is set. `OTEL_METRICS_EXPORTER` (`otlp`, `none`).
    pub exporter: Option<Exporter>,
    /// What differs from the general settings.
    pub otlp: Otlp,
    /// Time from one push to the next; more than zero. Default: 60 s.
    /// `OTEL_METRIC_EXPORT_INTERVAL` (milliseconds).
    pub interval: Duration,
    /// Who renders `/metrics`. Default: native. No standard variable.
    pub exposition: Mode,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            exporter: None,
            otlp: Otlp::default(),
            interval: Duration::from_secs(60),
            exposition: Mode::Native,
        }
    }
}

/// How spans or log records wait for their export.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Items that may wait; more are dropped and counted. Default: 32,768.
    /// `OTEL_BSP_MAX_QUEUE_SIZE`, `OTEL_BLRP_MAX_QUEUE_SIZE`.
    pub queue: usize,
    /// Items in one request, at most as many as may wait. Default: 1,024.
    /// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, `OTEL_BLRP_MAX_EXPORT_BATCH_SIZE`.
    pub size: usize,
    /// How long an item waits for its batch to fill. Default: 1 s.
    /// `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_BLRP_SCHEDULE_DELAY` (milliseconds).
    pub delay: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Self { queue: 32_768, size: 1_024, delay: Duration::from_secs(1) }
    }
}

/// Whether a signal is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    /// Over OTLP.
    Otlp,
    /// Not at all.
    None,
}

/// How OTLP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// HTTP with protobuf bodies.
    HttpProtobuf,
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
}

/// How trace context crosses processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagator {
    /// `traceparent` and `tracestate`.
    TraceContext,
    /// `baggage`.
    Baggage,
}
