//! Spans in memory, through a subscriber that is in force on this thread only.

use crate::instruments::TelemetryMetrics;
use crate::spans::{self, Requests, Sampling, SpanCells};
use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

/// Tracing that ends in memory. It is in force on the thread that made it until it is dropped:
/// use it with a current-thread runtime.
#[derive(Debug)]
pub struct Traces {
    tracing: spans::Tracing,
    metrics: TelemetryMetrics,
    ended: Ended,
    _guard: DefaultGuard,
}

/// Traces `ratio` of the requests, and those whose remote context is sampled.
pub fn traces(ratio: f64) -> Traces {
    traces_with(Sampling { ratio, ..Sampling::default() })
}

/// Traces as `sampling` says.
pub fn traces_with(sampling: Sampling) -> Traces {
    let metrics = TelemetryMetrics::declare(&super::in_memory().0);
    let ended = Ended::default();
    let processor = ended.clone();
    let cells = SpanCells::new(&metrics);
    let resource = Resource::builder_empty().build();
    let tracing =
        spans::build(resource, sampling, cells, |builder| builder.with_span_processor(processor));
    let subscriber = Registry::default().with(tracing.layer());
    let guard = tracing::subscriber::set_default(subscriber);
    Traces { tracing, metrics, ended, _guard: guard }
}

impl Traces {
    /// The gate.
    pub fn requests(&self) -> Requests {
        self.tracing.requests.clone()
    }

    /// The table that sampling counts in.
    pub fn metrics(&self) -> &TelemetryMetrics {
        &self.metrics
    }

    /// The spans that have ended so far, in the order of their ends.
    pub fn spans(&self) -> Vec<SpanData> {
        self.ended.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ended spans with this name.
    pub fn named(&self, name: &str) -> Vec<SpanData> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }
}

#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Ended {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
