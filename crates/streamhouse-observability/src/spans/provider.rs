//! The tracer provider, the layer that feeds it, and the gate: built together, because they share
//! one decision.

use super::forced::{ForcingIds, ForcingSampler, ForcingTracer};
use super::ids::Ratio;
use super::request::{Requests, Sampling};
use crate::declare::CounterCell;
use crate::instruments::TelemetryMetrics;
use crate::labels::Signal;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, TracerProviderBuilder};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

/// Where tracing counts what it leaves out or adds.
#[derive(Clone, Debug)]
pub struct SpanCells {
    created: CounterCell,
    unsampled: CounterCell,
    pub(super) late: CounterCell,
    pub(super) capped: CounterCell,
}

impl SpanCells {
    /// Counts a span, or a request's, that sampling leaves out.
    pub(super) fn left_out(&self) {
        self.created.add(1);
        self.unsampled.add(1);
    }

    /// The cells of the table.
    pub fn new(metrics: &TelemetryMetrics) -> Self {
        Self {
            created: metrics.created.bind(&Signal::Traces),
            unsampled: metrics.unsampled.bind(&Signal::Traces),
            late: metrics.late_traces.bind(&()),
            capped: metrics.capped_traces.bind(&()),
        }
    }
}

/// What [`build`] builds.
#[derive(Clone, Debug)]
pub struct Tracing {
    /// To install as global provider, to flush and to shut down.
    pub provider: SdkTracerProvider,
    /// The gate of requests.
    pub requests: Requests,
}

/// Builds tracing. `processors` adds the span processors to the builder.
pub fn build(
    resource: Resource,
    sampling: Sampling,
    cells: SpanCells,
    processors: impl FnOnce(TracerProviderBuilder) -> TracerProviderBuilder,
) -> Tracing {
    let builder = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_id_generator(ForcingIds)
        .with_sampler(ForcingSampler {
            parent_based: sampling.parent_based,
            ratio: Ratio::new(sampling.ratio),
            cells: cells.clone(),
        });
    Tracing {
        provider: processors(builder).build(),
        requests: Requests::new(sampling, Some(cells)),
    }
}

impl Tracing {
    /// The layer that turns `tracing` spans into OpenTelemetry spans; with its own filter, so that
    /// no filter of logs can remove a span.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let tracer = ForcingTracer(self.provider.tracer("streamhouse"));
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_level(false)
            .with_filter(spans_only())
    }
}

/// Spans of INFO and above. Events are log records, not span events: a span event costs as much
/// as a log line even where nothing is sampled. The transports' own spans lie below INFO.
fn spans_only() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    let wanted: fn(&Metadata<'_>) -> bool =
        |metadata| metadata.is_span() && *metadata.level() <= Level::INFO;
    filter_fn(wanted).with_max_level_hint(LevelFilter::INFO)
}
