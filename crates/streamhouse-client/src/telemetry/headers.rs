//! Trace context in records' headers: W3C `traceparent` and `tracestate`.

use crate::record::Header;
use crate::semconv::{TRACEPARENT, TRACESTATE};
use opentelemetry::trace::SpanContext;
use rdkafka::message::{Header as KafkaHeader, Headers, OwnedHeaders};
use streamhouse_observability::spans::propagation;

/// Headers that may carry a context.
pub(crate) trait Carried {
    /// The value of the first header `name`.
    fn first(&self, name: &str) -> Option<&[u8]>;
}

impl Carried for [Header] {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|header| header.key == name)?.value.as_deref()
    }
}

/// What `read` reads of a record's headers; `None` if it comes to a name that is not UTF-8, at which
/// rdkafka panics: a stranger's record must not end its reader.
pub(crate) fn readable<T>(read: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).ok()
}

/// Headers as librdkafka has them.
pub(crate) struct Kafka<'a, H>(pub(crate) &'a H);

impl<H: Headers> Carried for Kafka<'_, H> {
    fn first(&self, name: &str) -> Option<&[u8]> {
        (0..self.0.count()).filter_map(|at| self.0.try_get(at)).find(|one| one.key == name)?.value
    }
}

/// The context that `headers` carry, if it is well-formed.
pub(crate) fn carried(headers: &(impl Carried + ?Sized)) -> Option<SpanContext> {
    let traceparent = headers.first(TRACEPARENT)?;
    propagation::remote_context(traceparent, headers.first(TRACESTATE))
}

/// What to do about the context of a record that is sent.
pub(crate) enum Inject {
    /// The user has set one: it stays.
    Keep(Option<SpanContext>),
    /// There is none: that of the `send` span goes in.
    Set,
}

impl Inject {
    pub(crate) fn decide(headers: Option<&OwnedHeaders>) -> Self {
        let Some(headers) = headers else { return Self::Set };
        match Kafka(headers).first(TRACEPARENT) {
            Some(_) => Self::Keep(carried(&Kafka(headers))),
            None => Self::Set,
        }
    }
}

/// `headers` with `context` in them.
pub(crate) fn with_context(headers: Option<OwnedHeaders>, context: &SpanContext) -> OwnedHeaders {
    let traceparent = propagation::traceparent(context);
    let headers = headers.unwrap_or_else(|| OwnedHeaders::new_with_capacity(2));
    let headers = headers.insert(KafkaHeader { key: TRACEPARENT, value: Some(&traceparent) });
    match context.trace_state().header() {
        state if state.is_empty() => headers,
        state => headers.insert(KafkaHeader { key: TRACESTATE, value: Some(&state) }),
    }
}
