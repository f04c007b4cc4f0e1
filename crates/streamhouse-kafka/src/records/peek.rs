//! The rate at which batches are searched for trace context.

use super::trace_headers;
use opentelemetry::trace::SpanContext;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use streamhouse_observability::declare::{CounterCell, PerValue};
use streamhouse_observability::instruments::KafkaMetrics;
use streamhouse_observability::labels::TraceSearch;
use streamhouse_observability::spans::Requests;
use streamhouse_observability::spans::propagation::remote_context;
use streamhouse_storage::RecordBatch;

/// Batches searched in a second, at most.
const PER_SECOND: u32 = 2_000;

/// Searches batches for trace context, within a rate.
#[derive(Debug)]
pub(crate) struct Peek {
    searches: PerValue<TraceSearch, CounterCell>,
    started: Instant,
    /// The second since the start in the upper half, the searches in it in the lower.
    used: AtomicU64,
}

impl Peek {
    pub fn new(metrics: &KafkaMetrics) -> Self {
        Self {
            searches: metrics.trace_searches.bind_each(|result| result),
            started: Instant::now(),
            used: AtomicU64::new(0),
        }
    }

    /// The trace contexts in the first records of `batches`; none while tracing is off.
    pub fn contexts<'a>(
        &self,
        requests: &Requests,
        batches: impl Iterator<Item = &'a RecordBatch>,
    ) -> Vec<SpanContext> {
        let mut contexts = Vec::new();
        if !requests.reads_headers() {
            return contexts;
        }
        for batch in batches {
            if !self.admit() {
                self.searches.of(TraceSearch::Capped).add(1);
                continue;
            }
            let before = contexts.len();
            contexts.extend(trace_headers(batch).iter().filter_map(|headers| {
                let state = (!headers.tracestate.is_empty()).then_some(&headers.tracestate[..]);
                remote_context(&headers.traceparent, state)
            }));
            let found = contexts.len() > before;
            let result = if found { TraceSearch::Found } else { TraceSearch::Absent };
            self.searches.of(result).add(1);
        }
        contexts.dedup();
        contexts
    }

    fn admit(&self) -> bool {
        let second = self.started.elapsed().as_secs() << 32;
        let admit = |used: u64| {
            let used = if used >> 32 == second >> 32 { used } else { second };
            ((used as u32) < PER_SECOND).then_some(used + 1)
        };
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).is_ok()
    }
}
