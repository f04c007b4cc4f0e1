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
        if at < deadline { Ok(()) } else { Err(Failure::passing("a pause after earlier failures")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (watch::Sender<bool>, watch::Receiver<bool>) {
        watch::channel(false)
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_differ() {
        let (_sender, mut closing) = open();
        let mut pauses = Vec::new();
        let mut backoff = Backoff::default();
        for _ in 0..50 {
            backoff.failed(None);
            let before = Instant::now();
            backoff.pause(before + Duration::from_secs(60), &mut closing).await.unwrap();
            pauses.push(before.elapsed().as_secs_f64());
        }
        assert!(pauses[0] < 0.76, "{pauses:?}");
        let late = &pauses[10..];
        assert!(late.iter().all(|pause| (2.49..=7.51).contains(pause)), "{late:?}");
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        let variance = late.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / late.len() as f64;
        assert!(variance.sqrt() / mean > 0.1, "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_receiver_has_the_time_that_it_asked_for() {
        let (_sender, mut closing) = open();
        let mut backoff = Backoff::default();
        backoff.failed(Some(Duration::from_secs(20)));
        let before = Instant::now();
        let soon = before + Duration::from_secs(10);
        assert!(!backoff.fits(soon));
        backoff.pause(soon, &mut closing).await.unwrap_err();
        assert_eq!(before.elapsed().as_secs(), 10);
        backoff.pause(before + Duration::from_secs(60), &mut closing).await.unwrap();
        assert!(before.elapsed() >= Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn the_shutdown_waits_for_no_pause() {
        let (sender, mut closing) = open();
        let mut backoff = Backoff::default();
        backoff.failed(Some(Duration::from_secs(20)));
        sender.send_replace(true);
        let before = Instant::now();
        backoff.pause(before + Duration::from_secs(60), &mut closing).await.unwrap();
        assert!(before.elapsed().is_zero());
    }
}
