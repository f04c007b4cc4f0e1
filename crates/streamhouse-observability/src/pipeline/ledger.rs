//! The ledger of one signal: where every item went.
//!
//! Invariant: `created = exported + rejected + failed + dropped + unsampled + pending`, whenever no
//! item is between two of its steps; `pending` is 0 after the shutdown.

use crate::declare::{CounterCell, GaugeCell, PerValue};
use crate::instruments::TelemetryMetrics;
use crate::labels::{DropReason, Signal};
use std::sync::atomic::{AtomicU64, Ordering};

/// Set once no item is admitted any more.
const CLOSED: u64 = 1 << 63;
/// Set once what was pending has been written off.
const FINISHED: u64 = 1 << 62;
const COUNT: u64 = FINISHED - 1;

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The peer took the batch, and refused this many of its items.
    Delivered {
        /// Items that the peer refused.
        rejected: u64,
    },
    /// The peer did not take the batch.
    Failed,
}

/// The ledger of one signal.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) signal: Signal,
    created: CounterCell,
    exported: CounterCell,
    rejected: CounterCell,
    failed: CounterCell,
    unsampled: CounterCell,
    dropped: PerValue<DropReason, CounterCell>,
    pending: GaugeCell,
    _capacity: Option<GaugeCell>,
    limit: u64,
    /// Items admitted and not settled, with the two flags.
    gate: AtomicU64,
}

impl Ledger {
    /// The ledger of `signal`, which admits `limit` items at a time; `None` for any number.
    pub(crate) fn new(cells: &TelemetryMetrics, signal: Signal, limit: Option<usize>) -> Self {
        let capacity = limit.map(|limit| {
            let cell = cells.capacity.bind(&signal);
            cell.set(i64::try_from(limit).unwrap_or(i64::MAX));
            cell
        });
        Self {
            signal,
            created: cells.created.bind(&signal),
            exported: cells.exported.bind(&signal),
            rejected: cells.rejected.bind(&signal),
            failed: cells.failed.bind(&signal),
            unsampled: cells.unsampled.bind(&signal),
            dropped: cells.dropped.bind_each(|reason| (signal, reason)),
            pending: cells.pending.bind(&signal),
            _capacity: capacity,
            limit: limit.map_or(COUNT, |limit| limit as u64),
            gate: AtomicU64::new(0),
        }
    }

    /// Counts a new item and says whether it may wait for its export. One that may not is counted
    /// as dropped, with the reason.
    pub(crate) fn admit(&self) -> bool {
        self.admit_all(1)
    }

    /// As [`admit`](Self::admit), for `n` items of one batch.
    pub(crate) fn admit_all(&self, n: u64) -> bool {
        self.created.add(n);
        let admitted = self.gate.fetch_update(Ordering::AcqRel, Ordering::Acquire, |gate| {
            (gate & CLOSED == 0 && gate + n <= self.limit).then_some(gate + n)
        });
        match admitted {
            Ok(_) => self.pending.add(n as i64),
            Err(gate) if gate & CLOSED == 0 => self.dropped.of(DropReason::QueueFull).add(n),
            Err(_) => self.dropped.of(DropReason::AfterShutdown).add(n),
        }
        admitted.is_ok()
    }

    /// Counts a span that was recorded although nobody samples it.
    pub(crate) fn unsampled(&self) {
        self.created.add(1);
        self.unsampled.add(1);
    }

    /// Closes the books on `n` admitted items, unless the shutdown has written them off.
    pub(crate) fn settle(&self, n: u64, how: Settled) {
        let settled = self.gate.fetch_update(Ordering::AcqRel, Ordering::Acquire, |gate| {
            (gate & FINISHED == 0).then(|| gate - n)
        });
        if settled.is_err() {
            return;
        }
        match how {
            Settled::Delivered { rejected } => {
                let rejected = rejected.min(n);
                self.rejected.add(rejected);
                self.exported.add(n - rejected);
            }
            Settled::Failed => self.failed.add(n),
        }
        self.pending.add(-(n as i64));
    }

    /// Admits nothing from now on.
    pub(crate) fn close(&self) {
        self.gate.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Writes off what is still pending, and returns how much that was.
    pub(crate) fn finish(&self) -> u64 {
        let before = self.gate.swap(CLOSED | FINISHED, Ordering::AcqRel);
        let lost = before & COUNT;
        self.dropped.of(DropReason::Shutdown).add(lost);
        self.pending.add(-(lost as i64));
        lost
    }

    /// Items turned away because too many waited.
    pub(crate) fn queue_full(&self) -> u64 {
        self.dropped.of(DropReason::QueueFull).get()
    }

    /// The totals so far.
    pub(crate) fn report(&self) -> SignalReport {
        let dropped = |reason| self.dropped.of(reason).get();
        SignalReport {
            created: self.created.get(),
            exported: self.exported.get(),
            rejected: self.rejected.get(),
            failed: self.failed.get(),
            dropped_queue_full: dropped(DropReason::QueueFull),
            dropped_shutdown: dropped(DropReason::Shutdown),
            dropped_after_shutdown: dropped(DropReason::AfterShutdown),
            unsampled: self.unsampled.get(),
            pending: self.pending.get(),
        }
    }
}

/// Where the items of one signal went: spans, log records or data points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalReport {
    /// Made by the process while export was on.
    pub created: u64,
    /// Accepted by the peer.
    pub exported: u64,
    /// Received and refused by the peer.
    pub rejected: u64,
    /// Lost because an export failed for good.
    pub failed: u64,
    /// Turned away because too many waited.
    pub dropped_queue_full: u64,
    /// Still waiting when the shutdown's deadline passed.
    pub dropped_shutdown: u64,
    /// Made after the shutdown.
    pub dropped_after_shutdown: u64,
    /// Left out by sampling.
    pub unsampled: u64,
    /// Waiting now; 0 after the shutdown.
    pub pending: i64,
}

impl SignalReport {
    /// Whether every item is accounted for.
    pub fn is_balanced(&self) -> bool {
        let settled = self.exported + self.rejected + self.failed + self.unsampled;
        let dropped = self.dropped_queue_full + self.dropped_shutdown + self.dropped_after_shutdown;
        i128::from(self.created) == i128::from(settled + dropped) + i128::from(self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use proptest::prelude::*;

    fn ledger(limit: Option<usize>) -> Ledger {
        let (_, seen) = testing::in_memory();
        Ledger::new(seen.metrics().telemetry(), Signal::Traces, limit)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit(u64),
        Unsampled,
        Settle(u64, Settled),
        Close,
        Finish,
    }

    fn step() -> impl Strategy<Value = Step> {
        let how = prop_oneof![
            (0..5_u64).prop_map(|rejected| Settled::Delivered { rejected }),
            Just(Settled::Failed),
        ];
        prop_oneof![
            8 => (1..5_u64).prop_map(Step::Admit),
            2 => Just(Step::Unsampled),
            6 => (1..5_u64, how).prop_map(|(n, how)| Step::Settle(n, how)),
            1 => Just(Step::Close),
            1 => Just(Step::Finish),
        ]
    }

    proptest! {
        #[test]
        fn the_books_balance_after_every_step(steps in prop::collection::vec(step(), 0..60)) {
            let ledger = ledger(Some(10));
            let (mut admitted, mut finished) = (0, false);
            for step in steps {
                match step {
                    Step::Admit(n) => if ledger.admit_all(n) { admitted += n },
                    Step::Unsampled => ledger.unsampled(),
                    Step::Settle(n, how) => {
                        let n = n.min(admitted);
                        ledger.settle(n, how);
                        admitted -= n;
                    }
                    Step::Close => ledger.close(),
                    Step::Finish => {
                        ledger.finish();
                        finished = true;
                    }
                }
                let report = ledger.report();
                prop_assert!(report.is_balanced(), "{report:?}");
                let pending = if finished { 0 } else { admitted as i64 };
                prop_assert_eq!(report.pending, pending);
                prop_assert!(report.pending <= 10);
            }
        }
    }

    #[test]
    fn what_is_settled_after_the_end_is_not_counted_twice() {
        let ledger = ledger(None);
        assert!(ledger.admit_all(5));
        assert_eq!(ledger.finish(), 5);
        ledger.settle(5, Settled::Delivered { rejected: 0 });
        let report = ledger.report();
        assert_eq!((report.exported, report.dropped_shutdown), (0, 5));
        assert!(report.is_balanced());
    }
}
