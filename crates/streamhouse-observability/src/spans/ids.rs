//! Ids of traces and spans.

use opentelemetry::trace::{SpanId, TraceId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cell::RefCell;

thread_local! {
    static RANDOM: RefCell<SmallRng> = RefCell::new(SmallRng::from_rng(&mut rand::rng()));
}

/// Never 0, which would be an invalid id.
fn random() -> u64 {
    RANDOM.with_borrow_mut(|random| random.next_u64()).max(1)
}

/// A fresh trace id.
pub(super) fn trace_id() -> TraceId {
    TraceId::from((u128::from(random()) << 64) | u128::from(random()))
}

/// A fresh span id.
pub(super) fn span_id() -> SpanId {
    SpanId::from(random())
}

/// Whether a trace with this id is among the `ratio` of all. The same rule as the SDK's own
/// sampler by trace id, so that services with equal ratios agree.
pub(super) fn chosen(trace: TraceId, ratio: f64) -> bool {
    if ratio >= 1.0 {
        return true;
    }
    let bytes = trace.to_bytes();
    let (_, low) = bytes.split_at(8);
    let low = low.iter().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    (low >> 1) < (ratio.max(0.0) * (1_u64 << 63) as f64) as u64
}
