//! Spreads the work of a cycle over time.
//!
//! In one piece it would take a processor from the data path for tens of milliseconds: longer than
//! most requests last. So it is done in short pieces with rests between them.

use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

/// A cycle rests for at most so many times as long as it works.
const MOST_REST: f64 = 9.0;

/// Works and rests in turns.
#[derive(Debug)]
pub(super) struct Pace {
    rest: f64,
    /// When it should be done.
    until: Instant,
    since: Instant,
    worked: Duration,
}

impl Pace {
    /// Begins to work. Aims to be done `within` this time, if there is as much to do as the last
    /// time, when it took `before`.
    pub fn new(within: Duration, before: Duration) -> Self {
        let rest = within.as_secs_f64() / before.as_secs_f64().max(1e-6) - 1.0;
        let rest = rest.clamp(0.0, MOST_REST);
        let since = Instant::now();
        Self { rest, until: since + within, since, worked: Duration::ZERO }
    }

    /// Rests, in proportion to the work since the last time, until it should be done. Others get
    /// their turn on the thread even without a rest.
    pub async fn rest(&mut self) {
        let rest = self.work().mul_f64(self.rest);
        let rest = rest.min(self.until.saturating_duration_since(Instant::now()));
        if rest.is_zero() {
            yield_now().await;
        } else {
            sleep(rest).await;
        }
        self.since = Instant::now();
    }

    /// Ends the work; tells how long it took without the rests.
    pub fn end(mut self) -> Duration {
        self.work();
        self.worked
    }

    fn work(&mut self) -> Duration {
        let piece = self.since.elapsed();
        self.worked += piece;
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a cycle of ten pieces of 10 ms takes.
    async fn cycle(within: u64, before: u64) -> Duration {
        let begun = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(within), Duration::from_millis(before));
        for piece in 0..10 {
            if piece > 0 {
                pace.rest().await;
            }
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert_eq!(pace.end(), Duration::from_millis(100), "rests are no work");
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_cycle_is_spread_over_its_time_and_rests_no_more_than_it_must() {
        let ms = Duration::from_millis;
        assert_eq!(cycle(500, 100).await, ms(100 + 9 * 40));
        assert_eq!(cycle(5_000, 100).await, ms(100 + 9 * 90), "no slower than a tenth");
        assert_eq!(cycle(5_000, 0).await, ms(100 + 9 * 90), "the last had nothing to do");
        assert_eq!(cycle(0, 100).await, ms(100), "there is no time to rest");
        assert_eq!(cycle(50, 100).await, ms(100), "there is more to do than time");
        assert_eq!(cycle(500, 1).await, ms(500 + 50), "there is more to do than the last time");
    }
}
