//! The agent's clock.
//!
//! Append times and the ages that are computed from them must not jump when somebody sets the
//! machine's clock: an age of an hour would raise an alarm that nobody can explain.

use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The time since the epoch: the machine's clock as it was when this one was made, moved on by a
/// clock that nobody can set. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began_ms: i64,
    began: Instant,
}

impl Clock {
    /// A clock that begins at the machine's time.
    pub fn new() -> Self {
        Self::at(machine_ms())
    }

    /// A clock that begins at `ms` milliseconds since the epoch.
    pub fn at(ms: i64) -> Self {
        Self { began_ms: ms, began: Instant::now() }
    }

    /// Milliseconds since the epoch; they never go back.
    pub fn now_ms(&self) -> i64 {
        let since = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.began_ms.saturating_add(since)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// The machine's clock in milliseconds since the epoch, wherever it was set to.
pub fn machine_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_moves_on_from_where_it_began_whatever_the_machine_says() {
        let (clock, far) = (Clock::at(5_000), Clock::at(i64::MAX));
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!(clock.now_ms(), 6_500);
        assert_eq!(far.now_ms(), i64::MAX);
    }
}
