//! Spans and logs in memory, through a subscriber that is in force on this thread only.

use crate::instruments::TelemetryMetrics;
use crate::logging::{self, LogCells, LogConfig, LogControl, Logging, RecordIds};
use crate::spans::{self, Requests, Sampling, SpanCells};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

/// How long a test waits for the thread that writes lines.
const DEADLINE: Duration = Duration::from_secs(30);

/// Tracing and logging that end in memory. They are in force on the thread that made them until
/// they are dropped: use them with a current-thread runtime.
#[derive(Debug)]
pub struct Traces {
    tracing: spans::Tracing,
    logging: Logging,
    metrics: TelemetryMetrics,
    ended: Kept<SpanData>,
    records: Kept<SdkLogRecord>,
    lines: Kept<u8>,
    _guard: DefaultGuard,
}

/// Traces `ratio` of the requests, and those whose remote context is sampled. Log lines are JSON,
/// at every level.
pub fn traces(ratio: f64) -> Traces {
    traces_with(Sampling { ratio, ..Sampling::default() })
}

/// Traces as `sampling` says. Log lines are JSON, at every level.
pub fn traces_with(sampling: Sampling) -> Traces {
    let log = LogConfig::new("test", "one");
    telemetry(sampling, LogConfig { filter: "trace".into(), lines_per_second: u32::MAX, ..log })
}

/// Traces as `sampling` and logs as `log` says, which panics if its filter cannot be read.
pub fn telemetry(sampling: Sampling, log: LogConfig) -> Traces {
    let metrics = TelemetryMetrics::declare(&super::in_memory().0);
    let (ended, records, lines) = (Kept::default(), Kept::default(), Kept::default());

    let processor = ended.clone();
    let cells = SpanCells::new(&metrics);
    let resource = Resource::builder_empty().build();
    let tracing =
        spans::build(resource, sampling, cells, |builder| builder.with_span_processor(processor));

    let logger = SdkLoggerProvider::builder()
        .with_log_processor(RecordIds)
        .with_log_processor(records.clone())
        .build();
    let logging = match logging::build(&log, Box::new(lines.clone()), LogCells::new(&metrics)) {
        Ok(logging) => logging,
        Err(error) => panic!("{error}"),
    };
    let subscriber = Registry::default()
        .with(tracing.layer())
        .with(logging.layer())
        .with(logging.records(&logger));
    let guard = tracing::subscriber::set_default(subscriber);
    Traces { tracing, logging, metrics, ended, records, lines, _guard: guard }
}

impl Traces {
    /// The gate.
    pub fn requests(&self) -> Requests {
        self.tracing.requests.clone()
    }

    /// The table that sampling and logging count in.
    pub fn metrics(&self) -> &TelemetryMetrics {
        &self.metrics
    }

    /// The level of lines and records.
    pub fn control(&self) -> &LogControl {
        &self.logging.control
    }

    /// The spans that have ended so far, in the order of their ends.
    pub fn spans(&self) -> Vec<SpanData> {
        self.ended.all()
    }

    /// The ended spans with this name.
    pub fn named(&self, name: &str) -> Vec<SpanData> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }

    /// All log lines so far, as one text.
    pub fn text(&self) -> String {
        assert!(self.logging.guard.flush(DEADLINE), "the log writer is stuck");
        match String::from_utf8(self.lines.all()) {
            Ok(text) => text,
            Err(error) => panic!("log lines are not UTF-8: {error}"),
        }
    }

    /// All log lines so far, read as JSON.
    pub fn lines(&self) -> Vec<serde_json::Value> {
        let read = |line| match serde_json::from_str(line) {
            Ok(value) => value,
            Err(error) => panic!("not JSON: {error}: {line}"),
        };
        self.text().lines().map(read).collect()
    }

    /// The OTLP records so far.
    pub fn records(&self) -> Vec<SdkLogRecord> {
        self.records.all()
    }
}

/// Items that outlive whoever makes them.
#[derive(Debug)]
struct Kept<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Kept<T> {
    fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, items: &[T]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(items);
    }
}

impl SpanProcessor for Kept<SpanData> {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.add(&[span]);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl LogProcessor for Kept<SdkLogRecord> {
    fn emit(&self, record: &mut SdkLogRecord, _scope: &InstrumentationScope) {
        self.add(std::slice::from_ref(record));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Write for Kept<u8> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
