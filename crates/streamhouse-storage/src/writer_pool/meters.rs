//! What the pool measures. Guards record on drop, so that nothing is forgotten.

use opentelemetry::trace::SpanContext;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_observability::declare::{
    CounterCell, FloatGaugeCell, GaugeCell, HistogramCell, PerValue,
};
use streamhouse_observability::instruments::SegmentMetrics;
use streamhouse_observability::labels::Outcome;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Meters {
    writes: CounterCell,
    flushes: PerValue<Outcome, CounterCell>,
    duration: PerValue<Outcome, HistogramCell>,
    size: PerValue<Outcome, HistogramCell>,
    unflushed: Arc<GaugeCell>,
    age: FloatGaugeCell,
}

impl Meters {
    pub fn bind(metrics: &SegmentMetrics) -> Self {
        Self {
            writes: metrics.writes.bind(&()),
            flushes: metrics.flushes.bind_each(|outcome| outcome),
            duration: metrics.flush_duration.bind_each(|outcome| outcome),
            size: metrics.size.bind_each(|outcome| outcome),
            unflushed: Arc::new(metrics.unflushed.bind(&())),
            age: metrics.unacknowledged_age.bind(&()),
        }
    }

    /// Counts bytes as not acknowledged until the guard is dropped.
    pub fn hold(&self, bytes: usize) -> Held {
        let bytes = bytes as i64;
        self.unflushed.add(bytes);
        Held { unflushed: self.unflushed.clone(), bytes }
    }

    pub fn written(&self) {
        self.writes.add(1);
    }

    pub fn age(&self, oldest: Option<Duration>) {
        self.age.set(oldest.unwrap_or_default().as_secs_f64());
    }
}

/// Bytes that are not acknowledged.
#[derive(Debug)]
pub(super) struct Held {
    unflushed: Arc<GaugeCell>,
    bytes: i64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.unflushed.add(-self.bytes);
    }
}

/// One attempt to make a segment durable. Dropped unsettled, it counts as cancelled.
#[derive(Debug)]
pub(super) struct Attempt {
    meters: Arc<Meters>,
    closed: Instant,
    bytes: usize,
    outcome: Outcome,
    flush: Option<SpanContext>,
}

impl Attempt {
    /// Begins when the segment closes; `flush` is its span, if that is sampled.
    pub fn begin(meters: Arc<Meters>, bytes: usize, flush: Option<SpanContext>) -> Self {
        Self { meters, closed: Instant::now(), bytes, outcome: Outcome::Cancelled, flush }
    }

    pub fn settle(mut self, committed: bool) {
        self.outcome = if committed { Outcome::Ok } else { Outcome::Error };
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Self { meters, closed, bytes, outcome, flush } = self;
        meters.flushes.of(*outcome).add(1);
        let seconds = closed.elapsed().as_secs_f64();
        meters.duration.of(*outcome).record_traced(seconds, flush.as_ref());
        meters.size.of(*outcome).record_traced(*bytes as f64, flush.as_ref());
    }
}
