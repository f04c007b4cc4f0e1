//! Heartbeats: loops that show that they still run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// The greatest age of a beat; beyond it only a restart helps.
const OLDEST: Duration = Duration::from_secs(30);

/// Shows that a loop still runs. Dropped, it is no longer watched.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    pulse: Arc<Pulse>,
}

#[derive(Debug)]
struct Pulse {
    name: &'static str,
    begun: Instant,
    /// Milliseconds from `begun` to the last beat.
    last: AtomicU64,
}

impl Heartbeat {
    /// Beats: one atomic store.
    pub fn beat(&self) {
        let since = u64::try_from(self.pulse.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.pulse.last.store(since, Ordering::Relaxed);
    }
}

/// All heartbeats that are watched.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    pulses: Mutex<Vec<Weak<Pulse>>>,
}

impl Heartbeats {
    /// A new one, whose first beat is now.
    pub(super) fn add(&self, name: &'static str) -> Heartbeat {
        let pulse = Arc::new(Pulse { name, begun: Instant::now(), last: AtomicU64::new(0) });
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(|one| one.strong_count() > 0);
        pulses.push(Arc::downgrade(&pulse));
        Heartbeat { pulse }
    }

    /// The names and ages of those whose last beat is too old.
    pub(super) fn stalled(&self) -> Vec<(&'static str, Duration)> {
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |pulse: Arc<Pulse>| {
            let last = Duration::from_millis(pulse.last.load(Ordering::Relaxed));
            (pulse.name, pulse.begun.elapsed().saturating_sub(last))
        };
        pulses.iter().filter_map(Weak::upgrade).map(age).filter(|(_, age)| *age > OLDEST).collect()
    }
}
