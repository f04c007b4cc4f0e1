//! When the next attempt may be made: exponential with jitter, and never before the peer asked.
//!
//! The pause outlives a batch, so that a peer that asks for time has it, whatever waits.

use super::Failure;
use rand::RngExt;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(5);
/// The longest pause that a peer may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Failures in a row.
    failures: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub(super) fn failed(&mut self, asked: Option<Duration>) {
        let base = FIRST.saturating_mul(1 << self.failures.min(8)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let mut pause = base.mul_f64(rand::rng().random_range(0.5..1.5));
        if let Some(asked) = asked {
            pause += asked.min(LONGEST_ASKED);
        }
        self.not_before = Some(Instant::now() + pause);
    }

    /// Whether the next attempt begins before `deadline`.
    pub(super) fn fits(&self, deadline: Instant) -> bool {
        self.not_before.is_none_or(|at| at < deadline)
    }

    /// Waits until the next attempt may be made; not during the shutdown.
    /// # Errors
    /// `deadline` comes first.
    pub(super) async fn pause(
        &self,
        deadline: Instant,
        closing: &mut watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let Some(at) = self.not_before else { return Ok(()) };
        tokio::select! {
            () = tokio::time::sleep_until(at.min(deadline)) => {}
            _ = closing.wait_for(|closing| *closing) => return Ok(()),
        }
        if at < deadline { Ok(()) } else { Err(Failure::passing("the receiver asked to wait")) }
    }
}
