//! The SDK's side of the queues: what ended spans and emitted log records go through.

use super::queue::Queue;
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use std::sync::Arc;
use std::time::Duration;

/// Puts sampled spans into their queue.
#[derive(Debug)]
pub(crate) struct QueueSpans(pub(crate) Arc<Queue<SpanData>>);

impl SpanProcessor for QueueSpans {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.push(|| span);
        } else {
            self.0.ledger.unsampled();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// Does nothing: the pipeline's shutdown empties the queue under its own deadline.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// A log record and the scope that it came from.
pub(crate) type LogItem = (SdkLogRecord, InstrumentationScope);

/// Puts log records into their queue.
#[derive(Debug)]
pub(crate) struct QueueLogs(pub(crate) Arc<Queue<LogItem>>);

impl LogProcessor for QueueLogs {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.push(|| (record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// Does nothing: the pipeline's shutdown empties the queue under its own deadline.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
