use opentelemetry::trace::SpanContext;
use std::time::{Instant, SystemTime};
use tracing::Span;

/// When a request arrived, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// For the span's start.
    pub wall: SystemTime,
    /// For durations.
    pub at: Instant,
}

impl Arrival {
    /// Now.
    pub fn now() -> Self {
        Self { wall: SystemTime::now(), at: Instant::now() }
    }
}

/// Decides which requests are traced. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Requests {}

impl Requests {
    /// Gives every request ids and traces none: for tests and for telemetry that is off.
    pub fn untraced() -> Self {
        Self {}
    }

    /// Whether reading the trace context of records is worth its cost.
    pub fn reads_headers(&self) -> bool {
        todo!()
    }

    /// Gives a request its ids and decides whether it is traced. The first sampled context of
    /// `remote` becomes the parent, the others become links.
    pub fn begin(&self, _arrival: Arrival, _remote: &[SpanContext]) -> Request {
        todo!()
    }
}

/// One request's place in its trace.
#[derive(Debug)]
pub struct Request {}

impl Request {
    /// The ids that the request's log lines carry, with the sampling decision.
    pub fn context(&self) -> &SpanContext {
        todo!()
    }

    /// Runs `work` inside the span that `span` makes, or, unsampled, with the ids alone.
    pub async fn run<T>(&self, _span: impl FnOnce() -> Span, work: impl Future<Output = T>) -> T {
        work.await
    }

    /// Ends the request. One that failed or was slow and not sampled is traced now, within the
    /// cap. The context of an exported span is returned, for the latency's exemplar.
    pub fn finish(self, _failed: bool, _span: impl FnOnce() -> Span) -> Option<SpanContext> {
        todo!()
    }
}
