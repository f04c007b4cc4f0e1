//! What all families of one registry share: who reads them, what time it is, what went wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Which reader is at work: bit flags, so that a series can note who has seen its last value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A scrape of `/metrics`.
    Scrape = 1,
    /// The export over OTLP.
    Push = 2,
}

/// The exits, the clock and the tallies of one registry.
#[derive(Debug)]
pub(crate) struct Rules {
    exits: AtomicU8,
    started: Instant,
    skipped_nanos: AtomicU64,
    bound: AtomicU64,
    overflowed: AtomicU64,
    panics: AtomicU64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            exits: AtomicU8::new(Exit::Scrape as u8),
            started: Instant::now(),
            skipped_nanos: AtomicU64::new(0),
            bound: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }
}

impl Rules {
    pub(crate) fn add_exit(&self, exit: Exit) {
        self.exits.fetch_or(exit as u8, Ordering::Relaxed);
    }

    /// Whether `read_by` holds every exit there is.
    pub(crate) fn all_read(&self, read_by: u8) -> bool {
        let exits = self.exits.load(Ordering::Relaxed);
        read_by & exits == exits
    }

    /// The time since the registry was made, as far as its series are concerned.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed() + Duration::from_nanos(self.skipped_nanos.load(Ordering::Relaxed))
    }

    /// Lets `time` pass at once, for tests.
    pub(crate) fn skip(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.skipped_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn count_bound(&self) {
        self.bound.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn bound(&self) -> u64 {
        self.bound.load(Ordering::Relaxed)
    }

    pub(crate) fn count_overflow(&self) {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Runs somebody's callback; a panic in it is counted and goes no further.
    pub(crate) fn guarded(&self, callback: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(callback)).is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }
}
