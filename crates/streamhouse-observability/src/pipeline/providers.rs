//! The providers of spans and log records, and the exporters behind them.

use super::config::{Batch, Config, Propagator};
use super::destination::Destination;
use super::error::ConfigError;
use super::export::{self, Exporter, Request};
use super::ledger::Ledger;
use super::processors::{LogItem, QueueLogs, QueueSpans};
use super::queue::Queue;
use super::{push, running::Running};
use crate::declare::ClosedLabel;
use crate::exposition::Metrics;
use crate::labels::Signal;
use crate::logging::RecordIds;
use crate::spans::{self, SpanCells, Tracing};
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::trace::SpanData;
use std::sync::Arc;

/// What export needs, and what its start could not do.
pub(crate) struct Providers<'a> {
    pub(crate) config: &'a Config,
    pub(crate) resource: &'a Resource,
    pub(crate) metrics: &'a Metrics,
    pub(crate) running: Option<Running>,
    pub(crate) problems: Vec<String>,
}

impl Providers<'_> {
    /// The exporter of `signal`; `None` if it is off or cannot be built, which is then a problem.
    fn exporter(
        &mut self,
        signal: Signal,
        limit: Option<usize>,
    ) -> Result<Option<(Exporter, Arc<Ledger>)>, ConfigError> {
        let Some(destination) = Destination::of(self.config, signal)? else { return Ok(None) };
        if self.running.is_none() {
            match Running::new() {
                Ok(running) => self.running = Some(running),
                Err(error) => self.problems.push(format!("no thread for exports: {error}")),
            }
        }
        let Some(running) = &self.running else { return Ok(None) };
        let ledger = Arc::new(Ledger::new(self.metrics.telemetry(), signal, limit));
        let _inside = running.handle().enter();
        match Exporter::new(&destination, ledger.clone(), running.closing()) {
            Ok(exporter) => Ok(Some((exporter, ledger))),
            Err(error) => {
                let (signal, to) = (signal.as_str(), destination.shown());
                self.problems.push(format!("no export of {signal} to {to}: {error}"));
                Ok(None)
            }
        }
    }

    /// Starts to push metrics, if they are exported.
    pub(crate) fn push_metrics(&mut self) -> Result<(), ConfigError> {
        let metrics = self.metrics.clone();
        self.push(Arc::new(move |into| metrics.collect_for_push(into)))
    }

    /// Starts to push what `collect` collects, if metrics are exported.
    pub(crate) fn push(&mut self, collect: push::Collect) -> Result<(), ConfigError> {
        let exporter = self.exporter(Signal::Metrics, None)?;
        if let (Some((exporter, ledger)), Some(running)) = (exporter, &mut self.running) {
            self.metrics.expect_pushes();
            let (interval, closing) = (self.config.metrics.interval, running.closing());
            running.spawn(ledger.clone(), push::run(collect, interval, ledger, exporter, closing));
        }
        Ok(())
    }

    /// Tracing, if spans are exported.
    pub(crate) fn traces(&mut self) -> Result<Option<Tracing>, ConfigError> {
        let Some(queue) = self.span_queue()? else { return Ok(None) };
        let cells = SpanCells::new(self.metrics.telemetry());
        let sampling = self.config.traces.sampling;
        Ok(Some(spans::build(self.resource.clone(), sampling, cells, |builder| {
            builder.with_span_processor(QueueSpans(queue))
        })))
    }

    /// The queue before the exporter of spans, if they are exported.
    pub(crate) fn span_queue(&mut self) -> Result<Option<Arc<Queue<SpanData>>>, ConfigError> {
        self.queue(Signal::Traces, self.config.traces.batch, export::spans)
    }

    /// The provider of log records, if they are exported.
    pub(crate) fn logs(&mut self) -> Result<Option<SdkLoggerProvider>, ConfigError> {
        let Some(queue) = self.log_queue()? else { return Ok(None) };
        let provider = SdkLoggerProvider::builder()
            .with_resource(self.resource.clone())
            .with_log_processor(RecordIds)
            .with_log_processor(QueueLogs(queue))
            .build();
        Ok(Some(provider))
    }

    /// The queue before the exporter of log records, if they are exported.
    pub(crate) fn log_queue(&mut self) -> Result<Option<Arc<Queue<LogItem>>>, ConfigError> {
        self.queue(Signal::Logs, self.config.logs.batch, export::logs)
    }

    fn queue<T: Send + 'static>(
        &mut self,
        signal: Signal,
        batch: Batch,
        encode: fn(&ResourceAttributesWithSchema, Vec<T>) -> Request,
    ) -> Result<Option<Arc<Queue<T>>>, ConfigError> {
        let exporter = self.exporter(signal, Some(batch.queue))?;
        let (Some((exporter, ledger)), Some(running)) = (exporter, &mut self.running) else {
            return Ok(None);
        };
        let queue = Queue::new(ledger.clone(), batch);
        let about = self.resource.into();
        let encode = move |items| encode(&about, items);
        running.spawn(ledger, queue.clone().run(exporter, encode, running.closing()));
        Ok(Some(queue))
    }
}

/// The propagator that `chosen` names.
pub(crate) fn propagator(chosen: &[Propagator]) -> TextMapCompositePropagator {
    let one = |propagator: &Propagator| -> Box<dyn TextMapPropagator + Send + Sync> {
        match propagator {
            Propagator::TraceContext => Box::new(TraceContextPropagator::new()),
            Propagator::Baggage => Box::new(BaggagePropagator::new()),
        }
    };
    TextMapCompositePropagator::new(chosen.iter().map(one).collect())
}
