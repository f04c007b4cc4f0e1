//! What the operator reads when export fails: at most one line every 30 seconds for each signal.

use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Warning {
    signal: &'static str,
    endpoint: String,
    last: Option<Instant>,
    /// Lost since the last line.
    failed: u64,
    rejected: u64,
    /// How many items had been turned away at the last line.
    queue_full: u64,
    silent: bool,
}

impl Warning {
    pub(crate) fn new(signal: &'static str, endpoint: String) -> Self {
        Self { signal, endpoint, last: None, failed: 0, rejected: 0, queue_full: 0, silent: true }
    }

    /// Notes lost items. `queue_full`: items turned away so far because too many waited.
    pub(crate) fn failed(&mut self, queue_full: u64, items: u64, reason: &str) {
        self.failed += items;
        self.say(queue_full, reason);
    }

    /// Notes a request that arrived, with the items of it that the peer refused.
    pub(crate) fn delivered(&mut self, queue_full: u64, rejected: u64) {
        self.rejected += rejected;
        if rejected > 0 {
            self.say(queue_full, "the receiver refused items");
        } else if queue_full > self.queue_full {
            self.say(queue_full, "the receiver is slower than the source");
        } else if !self.silent {
            self.silent = true;
            let signal = self.signal;
            tracing::info!(signal, endpoint = self.endpoint, "telemetry export works again");
        }
    }

    fn say(&mut self, queue_full: u64, reason: &str) {
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        tracing::warn!(
            signal = self.signal,
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
