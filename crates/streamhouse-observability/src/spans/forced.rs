//! How a span gets an id, a start and a decision that were fixed before it was built.
//!
//! The SDK's builder takes no ids, and the `tracing` layer starts spans at the moment they are
//! made. So a thread-local, set here alone, is read by our tracer, id generator and sampler while
//! exactly one span starts.

use super::ids::{self, Ratio};
use super::provider::SpanCells;
use opentelemetry::trace::{
    Link, SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator, SamplingDecision, SamplingResult, SdkTracer, ShouldSample, Span as SdkSpan,
};
use std::cell::Cell;
use std::time::SystemTime;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// What is fixed beforehand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forced {
    trace: TraceId,
    span: SpanId,
    start: Option<SystemTime>,
}

thread_local! {
    /// For the next span that this thread starts.
    static NEXT: Cell<Option<Forced>> = const { Cell::new(None) };
    /// For the span that this thread is starting.
    static STARTING: Cell<Option<Forced>> = const { Cell::new(None) };
}

/// Clears its thread-local, also when what it guards panics.
struct Clear(&'static std::thread::LocalKey<Cell<Option<Forced>>>);

impl Drop for Clear {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// Starts `span`, which was made a moment ago and never entered, as sampled with the ids of
/// `context`, at `start`, below `parent`, and linked with `links`.
pub(super) fn start<'a>(
    span: &Span,
    context: &SpanContext,
    start: Option<SystemTime>,
    parent: Option<&SpanContext>,
    links: impl Iterator<Item = &'a SpanContext>,
) {
    if span.is_disabled() {
        return;
    }
    if let Some(parent) = parent {
        // It fails only on a span that has started or without the layer; then there is no parent.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent.clone()));
    }
    for link in links {
        span.add_link(link.clone());
    }
    let _clear = Clear(&NEXT);
    NEXT.set(Some(Forced { trace: context.trace_id(), span: context.span_id(), start }));
    let _ = span.context();
}

/// The SDK's tracer, with the start of a forced span.
#[derive(Clone, Debug)]
pub struct ForcingTracer(pub(super) SdkTracer);

impl Tracer for ForcingTracer {
    type Span = SdkSpan;

    fn build_with_context(&self, mut builder: SpanBuilder, parent: &Context) -> SdkSpan {
        let Some(forced) = NEXT.take() else {
            return self.0.build_with_context(builder, parent);
        };
        builder.start_time = forced.start.or(builder.start_time);
        let _clear = Clear(&STARTING);
        STARTING.set(Some(forced));
        self.0.build_with_context(builder, parent)
    }
}

/// Random ids, or the forced ones.
#[derive(Debug)]
pub(super) struct ForcingIds;

impl IdGenerator for ForcingIds {
    fn new_trace_id(&self) -> TraceId {
        STARTING.get().map_or_else(ids::trace_id, |forced| forced.trace)
    }

    fn new_span_id(&self) -> SpanId {
        STARTING.get().map_or_else(ids::span_id, |forced| forced.span)
    }
}

/// Samples what is forced, then what the parent or the ratio says; counts what it leaves out.
#[derive(Clone, Debug)]
pub(super) struct ForcingSampler {
    pub(super) parent_based: bool,
    pub(super) ratio: Ratio,
    pub(super) cells: SpanCells,
}

impl ShouldSample for ForcingSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _name: &str,
        _kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let parent = parent.filter(|parent| parent.has_active_span()).map(|parent| parent.span());
        let parent = parent.as_ref().map(|span| span.span_context()).filter(|at| at.is_valid());
        let sampled = STARTING.get().is_some()
            || match parent {
                // Below one of our own requests its decision holds, whatever the sampler.
                Some(parent) if self.parent_based || !parent.is_remote() => parent.is_sampled(),
                _ => self.ratio.chooses(trace),
            };
        if !sampled {
            self.cells.left_out();
        }
        SamplingResult {
            decision: match sampled {
                true => SamplingDecision::RecordAndSample,
                false => SamplingDecision::Drop,
            },
            attributes: Vec::new(),
            trace_state: parent.map_or(TraceState::NONE, |parent| parent.trace_state().clone()),
        }
    }
}
