//! The verdict on one component: what its last probes mean.

use std::time::Duration;
use tokio::time::Instant;

/// How many failures in a row take a component down.
const DOWN_AFTER: u32 = 3;
/// How many successes in a row bring it up again.
const UP_AFTER: u32 = 2;
/// A verdict older than this says nothing any more.
const STALE: Duration = Duration::from_secs(15);

/// Where a component stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not probed yet.
    Starting,
    /// Up; its last probe passed.
    Up,
    /// Still up, but its last probe failed for this reason.
    Doubtful(String),
    /// Down for this reason.
    Down(String),
    /// Its last verdict is this old.
    Stale(Duration),
}

impl Standing {
    /// Whether the component counts as well.
    pub(super) fn is_well(&self) -> bool {
        matches!(self, Self::Up | Self::Doubtful(_))
    }
}

/// The last probes of a component.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    up: bool,
    /// When the last probe ended.
    at: Option<Instant>,
    failures: u32,
    successes: u32,
    cause: String,
}

impl Verdict {
    /// Takes in the result of a probe that ended at `now`.
    pub(super) fn take(&mut self, now: Instant, result: Result<(), String>) {
        let first = self.at.replace(now).is_none();
        match result {
            Ok(()) => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                // A service that starts well is ready at once.
                self.up |= first || self.successes >= UP_AFTER;
            }
            Err(cause) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                self.up &= self.failures < DOWN_AFTER;
                self.cause = cause;
            }
        }
    }

    /// How old the verdict is, if there is one.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.at.map(|at| now.saturating_duration_since(at))
    }

    /// Where the component stands at `now`.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.age(now) {
            None => Standing::Starting,
            Some(age) if age > STALE => Standing::Stale(age),
            Some(_) if !self.up => Standing::Down(self.cause.clone()),
            Some(_) if self.failures > 0 => Standing::Doubtful(self.cause.clone()),
            Some(_) => Standing::Up,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(results: &[bool]) -> (Verdict, Instant) {
        let now = Instant::now();
        let mut verdict = Verdict::default();
        for passed in results {
            verdict.take(now, if *passed { Ok(()) } else { Err("refused".into()) });
        }
        (verdict, now)
    }

    fn well(results: &[bool]) -> bool {
        let (verdict, now) = after(results);
        verdict.standing(now).is_well()
    }

    #[test]
    fn three_failures_take_down_and_two_successes_bring_up() {
        assert!(!well(&[]));
        assert!(well(&[true]));
        assert!(well(&[true, false, false]));
        assert!(!well(&[true, false, false, false]));
        assert!(!well(&[true, false, false, false, true]));
        assert!(!well(&[true, false, false, false, true, false, true]));
        assert!(well(&[true, false, false, false, true, true]));
        assert!(well(&[true, false, false, true, false, false]));
    }

    #[test]
    fn a_component_that_begins_badly_needs_two_successes() {
        assert!(!well(&[false]));
        assert!(!well(&[false, true]));
        assert!(well(&[false, true, true]));
    }

    #[test]
    fn the_standing_names_the_last_cause() {
        let (verdict, now) = after(&[true, false]);
        assert_eq!(verdict.standing(now), Standing::Doubtful("refused".into()));
        let (verdict, now) = after(&[false]);
        assert_eq!(verdict.standing(now), Standing::Down("refused".into()));
    }

    #[test]
    fn a_verdict_is_stale_after_fifteen_seconds() {
        let (verdict, now) = after(&[true]);
        assert_eq!(verdict.standing(now + STALE), Standing::Up);
        let later = now + STALE + Duration::from_millis(1);
        assert!(matches!(verdict.standing(later), Standing::Stale(_)));
    }
}
