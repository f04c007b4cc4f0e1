//! A cap on a rate, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Admits at most `per_second` events a second, with bursts of a tenth of that.
///
/// It keeps the instant at which the next event is due; each admitted event moves it on by one
/// interval, and it may run ahead of the clock by the burst.
#[derive(Debug)]
pub(crate) struct Cap {
    start: Instant,
    interval_ns: u64,
    burst_ns: u64,
    due_ns: AtomicU64,
}

impl Cap {
    /// `per_second` of 0 admits nothing.
    pub(crate) fn new(per_second: u32) -> Self {
        let interval_ns = match per_second {
            0 => 0,
            n => (1_000_000_000 / u64::from(n)).max(1),
        };
        let burst = u64::from(per_second / 10).max(1);
        let burst_ns = interval_ns * (burst - 1);
        Self { start: Instant::now(), interval_ns, burst_ns, due_ns: AtomicU64::new(0) }
    }

    /// Whether an event at `now` is within the cap; if so it is counted.
    pub(crate) fn admit(&self, now: Instant) -> bool {
        if self.interval_ns == 0 {
            return false;
        }
        let now = now.saturating_duration_since(self.start).as_nanos() as u64;
        self.due_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
                (due <= now + self.burst_ns).then(|| due.max(now) + self.interval_ns)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_cap_admits_its_rate_and_a_tenth_more_at_once() {
        let cap = Cap::new(100);
        let start = cap.start;
        let admitted =
            (0..100_000).filter(|n| cap.admit(start + Duration::from_micros(n * 10))).count();
        assert_eq!(admitted, 110 - 1, "one second at 100,000 a second");
        assert!(!Cap::new(0).admit(Instant::now()));
    }

    #[test]
    fn a_quiet_hour_saves_no_more_than_the_burst() {
        let cap = Cap::new(50);
        let later = cap.start + Duration::from_secs(3600);
        assert_eq!((0..1000).filter(|_| cap.admit(later)).count(), 5);
    }
}
