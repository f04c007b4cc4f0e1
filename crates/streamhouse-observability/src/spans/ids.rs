//! Ids of traces and spans.

use opentelemetry::trace::{SpanId, TraceId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cell::RefCell;

thread_local! {
    static RANDOM: RefCell<SmallRng> = RefCell::new(SmallRng::from_rng(&mut rand::rng()));
}

/// Random numbers, none of them 0, which would be an invalid id.
fn random<const N: usize>() -> [u64; N] {
    RANDOM.with_borrow_mut(|random| std::array::from_fn(|_| random.next_u64().max(1)))
}

/// The ids of a new trace and its first span.
pub(super) fn root() -> (TraceId, SpanId) {
    let [high, low, span] = random();
    (TraceId::from(u128::from(high) << 64 | u128::from(low)), SpanId::from(span))
}

/// A fresh trace id.
pub(super) fn trace_id() -> TraceId {
    root().0
}

/// A fresh span id.
pub(super) fn span_id() -> SpanId {
    let [span] = random();
    SpanId::from(span)
}

/// Which part of all traces is chosen, by their ids: the same rule as that of the SDK's own
/// sampler, so that services with equal ratios agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratio(u64);

impl Ratio {
    pub(super) fn new(ratio: f64) -> Self {
        if ratio >= 1.0 {
            return Self(u64::MAX);
        }
        Self((ratio.max(0.0) * (1_u64 << 63) as f64) as u64)
    }

    /// Whether the trace with this id is chosen.
    pub(super) fn chooses(self, trace: TraceId) -> bool {
        let low = u128::from_be_bytes(trace.to_bytes()) as u64;
        (low >> 1) < self.0
    }
}
