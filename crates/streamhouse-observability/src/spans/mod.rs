//! Spans: the closed list, and the gate that decides before anything is built.
//!
//! [`Requests::begin`] gives every request its ids and decides; [`Request::run`] runs it with
//! them; [`Request::finish`] ends it, and traces it afterwards if it failed or was slow. The spans
//! of a request's parts are the functions of this module: outside a sampled request they are
//! disabled and cost a few nanoseconds.
//!
//! To add a span, add a constructor to `list.rs` and a row to [`SPANS`].
//!
//! Invariant: a span of StreamHouse is made here and nowhere else.

mod cap;
mod forced;
mod ids;
mod list;
pub mod propagation;
mod provider;
mod request;
mod scope;

pub use list::{
    SPANS, SpanRow, consume_request, group_request, http_request, metadata, object_store,
    partition_write, produce_request, segment_flush,
};
pub use provider::{SpanCells, Tracing, build};
pub use request::{Arrival, Request, Requests, Sampling};
pub use scope::{RequestIds, carry, carry_blocking, with_partition};
pub(crate) use scope::{ScopeValue, with_scope};

use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// How many links a span carries at most.
pub const LINKS: usize = 128;

/// The OpenTelemetry context of `span`, if it is sampled.
pub fn sampled_context(span: &Span) -> Option<SpanContext> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context().span().span_context().clone();
    (context.is_valid() && context.is_sampled()).then_some(context)
}

/// Links `span` with `other`, unless either is not sampled. A span keeps its first [`LINKS`].
pub fn link(span: &Span, other: &SpanContext) {
    if other.is_sampled() && sampled_context(span).is_some() {
        span.add_link(other.clone());
    }
}

/// Says that what `span` describes failed, with a class of error from a closed list.
pub fn failed(span: &Span, error: &'static str) {
    if !span.is_disabled() {
        span.set_attribute("error.type", error);
        span.set_status(Status::error(""));
    }
}
