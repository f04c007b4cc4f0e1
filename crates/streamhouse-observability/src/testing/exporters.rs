//! The pipeline's queues and exporters behind providers of a test's own.
#![expect(clippy::expect_used, reason = "a test that cannot start has failed")]

use crate::exposition::{Metrics, Mode};
use crate::pipeline::{
    Config, LogItem, Providers, Queue, QueueLogs, QueueSpans, Running, ShutdownReport, StartError,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::LogProcessor;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::trace::{SpanData, SpanProcessor};
use std::sync::Arc;
use std::time::Duration;

/// The queues and exporters of a pipeline without its providers, so that a test can give the same
/// items to other exporters as well. All three signals are exported.
#[derive(Debug)]
pub struct Exporters {
    metrics: Metrics,
    spans: Arc<Queue<SpanData>>,
    logs: Arc<Queue<LogItem>>,
    running: Running,
}

impl Exporters {
    /// Starts the exporters of `config`; what they send is about `resource`. `tap` sees every
    /// collection of metrics before it is pushed, on a thread that may block.
    /// # Errors
    /// [`StartError::Config`]: a setting cannot be meant; the error says which and why.
    /// # Panics
    /// A signal is off, or its exporter cannot be built.
    pub fn start(
        config: &Config,
        resource: &Resource,
        tap: impl Fn(&ResourceMetrics) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::build(resource.clone(), Mode::Native)?;
        let mut providers =
            Providers { config, resource, metrics: &metrics, running: None, problems: Vec::new() };
        let spans = providers.span_queue()?.expect("spans are exported");
        let logs = providers.log_queue()?.expect("log records are exported");
        let collected = metrics.clone();
        providers.push(Arc::new(move |into| {
            collected.collect_for_push(into)?;
            tap(into);
            Ok(())
        }))?;
        assert_eq!(providers.problems, &[] as &[String]);
        let running = providers.running.take().expect("exporters run");
        Ok(Self { metrics, spans, logs, running })
    }

    /// For the test's provider of spans.
    pub fn span_processor(&self) -> impl SpanProcessor + use<> {
        QueueSpans(self.spans.clone())
    }

    /// For the test's provider of log records.
    pub fn log_processor(&self) -> impl LogProcessor + use<> {
        QueueLogs(self.logs.clone())
    }

    /// The metrics that are pushed.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends what waits, pushes metrics once more, and returns.
    pub fn shutdown(self, deadline: Duration) -> ShutdownReport {
        self.running.shutdown(deadline)
    }
}
