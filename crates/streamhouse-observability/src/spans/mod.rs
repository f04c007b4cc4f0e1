//! Spans: the closed list, and the gate that decides before anything is built.

mod request;

pub use request::{Arrival, Request, Requests};

use crate::labels::{MetadataOperation, Operation};
use opentelemetry::trace::SpanContext;
use tracing::Span;

/// A produce request, from arrival to answer.
pub fn produce_request(_partitions: i64, _bytes: i64) -> Span {
    todo!()
}

/// A fetch request, from arrival to answer.
pub fn consume_request(_partitions: i64) -> Span {
    todo!()
}

/// One partition's part of a produce request; a disabled span where nothing is sampled.
pub fn partition_write(_topic: &str, _partition: i32, _records: i64, _bytes: i64) -> Span {
    todo!()
}

/// A segment's way to durability: PUT and commit. A trace of its own, linked with the sampled
/// `requests` that it serves; a disabled span when there are none.
pub fn segment_flush(_object: &str, _bytes: i64, _requests: &[SpanContext]) -> Span {
    todo!()
}

/// One call to the object store; a disabled span where nothing is sampled.
pub fn object_store(_operation: Operation, _object: &str) -> Span {
    todo!()
}

/// One operation of the metadata store; a disabled span where nothing is sampled.
pub fn metadata(_operation: MetadataOperation) -> Span {
    todo!()
}

/// The OpenTelemetry context of `span`, if it is sampled.
pub fn sampled_context(_span: &Span) -> Option<SpanContext> {
    todo!()
}

/// Links `span` with `other`, unless either is not sampled.
pub fn link(_span: &Span, _other: &SpanContext) {
    todo!()
}
