//! The gate, and one request's way through it.

use super::cap::Cap;
use super::ids::{self, Ratio};
use super::provider::SpanCells;
use super::scope::{RequestIds, Scope, scoped};
use super::{LINKS, forced, list, sampled_context};
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanContext, Status, TraceContextExt, TraceFlags, TraceState};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

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

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The part of requests that is traced when no sampled context asks for it: 0 to 1.
    pub ratio: f64,
    /// Whether a sampled context in a request makes the request sampled, within the cap.
    pub parent_based: bool,
    /// How many requests a second remote contexts may force to be traced.
    pub remote_per_second: u32,
    /// How many failed or slow requests a second are traced afterwards.
    pub late_per_second: u32,
    /// From which duration on a request is slow.
    pub slow: Duration,
}

impl Default for Sampling {
    /// Parent-based, otherwise every request; both caps 100 a second; slow from one second on.
    fn default() -> Self {
        Self {
            ratio: 1.0,
            parent_based: true,
            remote_per_second: 100,
            late_per_second: 100,
            slow: Duration::from_secs(1),
        }
    }
}

impl Sampling {
    /// Nothing is traced, not even what fails.
    pub fn off() -> Self {
        Self { ratio: 0.0, parent_based: false, late_per_second: 0, ..Self::default() }
    }
}

/// Decides which requests are traced. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Requests(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    sampling: Sampling,
    ratio: Ratio,
    remote: Cap,
    late: Cap,
    counted: Option<SpanCells>,
}

impl Gate {
    fn capped(&self) {
        if let Some(counted) = &self.counted {
            counted.capped.add(1);
        }
    }
}

impl Requests {
    pub(super) fn new(sampling: Sampling, counted: Option<SpanCells>) -> Self {
        let remote = Cap::new(sampling.remote_per_second);
        let late = Cap::new(sampling.late_per_second);
        let ratio = Ratio::new(sampling.ratio);
        Self(Arc::new(Gate { sampling, ratio, remote, late, counted }))
    }

    /// Gives every request ids and traces none: for tests and for telemetry that is off.
    pub fn untraced() -> Self {
        Self::new(Sampling::off(), None)
    }

    /// Whether reading the trace context of records is worth its cost.
    pub fn reads_headers(&self) -> bool {
        self.0.sampling.parent_based
    }

    /// Gives a request its ids and decides whether it is traced. The first sampled context of
    /// `remote` becomes the parent, the others become links. Contexts that are not sampled hide
    /// nothing: the ratio decides, as without them.
    pub fn begin(&self, arrival: Arrival, remote: &[SpanContext]) -> Request {
        let gate = &*self.0;
        let (trace, span) = ids::root();
        let origin = match remote {
            [] => None,
            _ => gate.origin(arrival, remote),
        };
        let parent = origin.as_ref().and_then(|origin| origin.parent.as_ref());
        let trace = parent.map_or(trace, SpanContext::trace_id);
        let sampled = parent.is_some() || gate.ratio.chooses(trace);
        let flags = TraceFlags::default().with_sampled(sampled);
        Request {
            gate: self.0.clone(),
            arrival,
            context: SpanContext::new(trace, span, flags, false, TraceState::NONE),
            origin,
            scope: Scope { request: Some(span), ..Scope::default() },
            span: OnceLock::new(),
            waited: Duration::ZERO,
        }
    }
}

/// What a request's remote contexts come to.
#[derive(Debug)]
struct Origin {
    /// The context that makes the request sampled.
    parent: Option<SpanContext>,
    links: Vec<SpanContext>,
}

impl Gate {
    /// The first sampled context as parent and the others as links. Beyond the cap the first is a
    /// link, so that a root of our own points to where the request came from.
    fn origin(&self, arrival: Arrival, remote: &[SpanContext]) -> Option<Box<Origin>> {
        if !self.sampling.parent_based {
            return None;
        }
        let mut sampled = remote.iter().filter(|one| one.is_sampled() && one.is_valid());
        let first = sampled.next()?.clone();
        Some(Box::new(if self.remote.admit(arrival.at) {
            Origin { parent: Some(first), links: sampled.take(LINKS).cloned().collect() }
        } else {
            self.capped();
            Origin { parent: None, links: vec![first] }
        }))
    }
}

/// One request's place in its trace. Dropped unfinished, its span ends without a status.
#[derive(Debug)]
pub struct Request {
    gate: Arc<Gate>,
    arrival: Arrival,
    context: SpanContext,
    origin: Option<Box<Origin>>,
    scope: Scope,
    span: OnceLock<Span>,
    waited: Duration,
}

impl Request {
    /// Adds what the protocol calls the request to its log lines.
    #[must_use]
    pub fn with_ids(mut self, ids: RequestIds) -> Self {
        self.scope.ids = Some(ids);
        self
    }

    /// The ids that the request's log lines carry, with the sampling decision.
    pub fn context(&self) -> &SpanContext {
        &self.context
    }

    /// Runs `work` inside the span that `span` makes, or, unsampled, with the ids alone.
    ///
    /// It may be called again for a later part of the request, which then runs in the same span.
    pub async fn run<T>(&self, span: impl FnOnce() -> Span, work: impl Future<Output = T>) -> T {
        if self.context.is_sampled() {
            let span = self.span.get_or_init(|| self.open(span));
            if !span.is_disabled() {
                return scoped(self.scope.clone(), work.instrument(span.clone())).await;
            }
        }
        scoped(self.scope.clone(), work.with_context(self.unsampled())).await
    }

    /// Says that the client asked for so much waiting, for instance for new records: it makes the
    /// request no slow one.
    pub fn waited(&mut self, wait: Duration) {
        self.waited += wait;
    }

    /// Ends the request. One that failed or was slow and not sampled is traced now, within the
    /// cap. The context of an exported span is returned, for the latency's exemplar.
    pub fn finish(mut self, failed: bool, span: impl FnOnce() -> Span) -> Option<SpanContext> {
        let elapsed = self.arrival.at.elapsed();
        let late = !self.context.is_sampled();
        if late && !self.traced_late(failed, elapsed) {
            if let Some(counted) = &self.gate.counted {
                counted.left_out();
            }
            return None;
        }
        let span = match self.span.take() {
            Some(span) => span,
            None => self.open(span),
        };
        let context = sampled_context(&span)?;
        if failed {
            span.set_status(Status::error(""));
        }
        // By the monotonic clock, and on the instant: the `tracing` layer would take the last exit.
        span.context().span().end_with_timestamp(self.arrival.wall + elapsed);
        if let (true, Some(counted)) = (late, &self.gate.counted) {
            counted.late.add(1);
        }
        Some(context)
    }

    fn traced_late(&self, failed: bool, elapsed: Duration) -> bool {
        let sampling = &self.gate.sampling;
        let slow = elapsed.saturating_sub(self.waited) >= sampling.slow;
        if sampling.late_per_second == 0 || !(failed || slow) {
            return false;
        }
        let admitted = self.gate.late.admit(self.arrival.at + elapsed);
        if !admitted {
            self.gate.capped();
        }
        admitted
    }

    fn open(&self, span: impl FnOnce() -> Span) -> Span {
        let span = list::in_request(span);
        let start = Some(self.arrival.wall);
        let (parent, links) = match &self.origin {
            Some(origin) => (origin.parent.as_ref(), origin.links.as_slice()),
            None => (None, &[][..]),
        };
        forced::start(&span, &self.context, start, parent, links.iter());
        span
    }

    /// The ids alone, for log lines and for the decision of spans that others make below.
    fn unsampled(&self) -> Context {
        Context::new().with_remote_span_context(SpanContext::new(
            self.context.trace_id(),
            self.context.span_id(),
            TraceFlags::default(),
            false,
            TraceState::NONE,
        ))
    }
}
