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
