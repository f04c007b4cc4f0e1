//! What the operator reads when export fails: at most one line every 30 seconds for each signal.

use super::super::ledger::Ledger;
use crate::declare::ClosedLabel;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Warning {
    endpoint: String,
    last: Option<Instant>,
    /// Lost since the last line.
    failed: u64,
    rejected: u64,
    /// What the ledger's count of items turned away was at the last line.
    queue_full: u64,
    silent: bool,
}

impl Warning {
    pub(super) fn new(endpoint: String) -> Self {
        Self { endpoint, last: None, failed: 0, rejected: 0, queue_full: 0, silent: true }
    }

    pub(super) fn failed(&mut self, ledger: &Ledger, items: u64, reason: &str) {
        self.failed += items;
        self.say(ledger, reason);
    }

    pub(super) fn delivered(&mut self, ledger: &Ledger, rejected: u64) {
        self.rejected += rejected;
        if rejected > 0 {
            self.say(ledger, "the receiver refused items");
        } else if ledger.queue_full() > self.queue_full {
            self.say(ledger, "the receiver is slower than the source");
        } else if !self.silent {
            self.silent = true;
            let signal = ledger.signal.as_str();
            tracing::info!(signal, endpoint = self.endpoint, "telemetry export works again");
        }
    }

    fn say(&mut self, ledger: &Ledger, reason: &str) {
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        let queue_full = ledger.queue_full();
        tracing::warn!(
            signal = ledger.signal.as_str(),
            endpoint = self.endpoint,
            reason,
            failed = self.failed,
            rejected = self.rejected,
            queue_full = queue_full - self.queue_full,
            "telemetry was not delivered"
        );
        self.last = Some(Instant::now());
        (self.failed, self.rejected, self.queue_full) = (0, 0, queue_full);
        self.silent = false;
    }
}
