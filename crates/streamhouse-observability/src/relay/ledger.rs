//! The ledger of pushes: where every one went.
//!
//! Invariant: `pushes = relayed + failed + refused + pending`, whenever no push is between two of
//! its steps; a push that is dropped has failed.

use crate::declare::{CounterCell, GaugeCell, PerValue};
use crate::instruments::ClientTelemetryMetrics;
use crate::labels::{LeftOut, PushRefusal};
use std::sync::Arc;

/// Where the pushes of clients went.
#[derive(Clone, Debug)]
pub struct PushLedger(Arc<Cells>);

#[derive(Debug)]
struct Cells {
    pushes: CounterCell,
    bytes: CounterCell,
    relayed: CounterCell,
    failed: CounterCell,
    refused: PerValue<PushRefusal, CounterCell>,
    left_out: PerValue<LeftOut, CounterCell>,
    pending: GaugeCell,
}

impl PushLedger {
    /// A ledger that counts in `metrics`.
    pub fn new(metrics: &ClientTelemetryMetrics) -> Self {
        Self(Arc::new(Cells {
            pushes: metrics.pushes.bind(&()),
            bytes: metrics.bytes.bind(&()),
            relayed: metrics.relayed.bind(&()),
            failed: metrics.failed.bind(&()),
            refused: metrics.refused.bind_each(|reason| reason),
            left_out: metrics.left_out.bind_each(|reason| reason),
            pending: metrics.pending.bind(&()),
        }))
    }

    /// Counts a push of `bytes` bytes, as they came.
    pub fn receive(&self, bytes: usize) -> Push {
        self.0.pushes.add(1);
        self.0.pending.add(1);
        self.0.bytes.add(bytes as u64);
        Push { cells: self.0.clone(), end: End::Failed }
    }

    /// Counts data points that were left out of a push. The push itself is accounted for as any.
    pub fn left_out(&self, reason: LeftOut, points: u64) {
        self.0.left_out.of(reason).add(points);
    }

    /// The totals so far.
    pub fn report(&self) -> PushReport {
        let cells = &self.0;
        let refused = |reason: &PushRefusal| cells.refused.of(*reason).get();
        PushReport {
            pushes: cells.pushes.get(),
            relayed: cells.relayed.get(),
            failed: cells.failed.get(),
            refused: <PushRefusal as crate::declare::ClosedLabel>::ALL.iter().map(refused).sum(),
            pending: cells.pending.get(),
        }
    }
}

/// How a push ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Relayed,
    Failed,
    Refused(PushRefusal),
}

/// One push on its way; dropped before it is settled, it has failed.
#[derive(Debug)]
#[must_use = "a push that is dropped has failed"]
pub struct Push {
    cells: Arc<Cells>,
    end: End,
}

impl Push {
    /// It is not passed on.
    pub fn refuse(mut self, reason: PushRefusal) {
        self.end = End::Refused(reason);
    }

    /// The receiver took it.
    pub(super) fn relayed(mut self) {
        self.end = End::Relayed;
    }

    /// The receiver did not take it.
    pub(super) fn failed(self) {}
}

impl Drop for Push {
    fn drop(&mut self) {
        match self.end {
            End::Relayed => self.cells.relayed.add(1),
            End::Failed => self.cells.failed.add(1),
            End::Refused(reason) => self.cells.refused.of(reason).add(1),
        }
        self.cells.pending.add(-1);
    }
}

/// Where pushes went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Received.
    pub pushes: u64,
    /// Accepted by the receiver.
    pub relayed: u64,
    /// Not accepted by the receiver, or overtaken by the end.
    pub failed: u64,
    /// Not passed on, for any reason.
    pub refused: u64,
    /// On their way now.
    pub pending: i64,
}

impl PushReport {
    /// Whether every push is accounted for.
    pub fn is_balanced(&self) -> bool {
        let settled = self.relayed + self.failed + self.refused;
        i128::from(self.pushes) == i128::from(settled) + i128::from(self.pending)
    }
}
