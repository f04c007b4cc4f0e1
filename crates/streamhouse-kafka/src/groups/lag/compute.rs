//! Lag, age and margin, as plain functions.

use streamhouse_metadata::{Retention, Watermarks};
use tokio::time::Instant;

/// One instant by three clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// By the clock that nobody sets.
    pub at: Instant,
    /// By the clock that append times are read from, in milliseconds since the epoch.
    pub clock_ms: i64,
    /// By the machine's clock, which the metadata store goes by, in milliseconds since the epoch.
    pub machine_ms: i64,
}

/// How much of a topic is kept; `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Limits {
    pub ms: Option<i64>,
    pub bytes: Option<i64>,
}

impl Limits {
    /// What holds for a topic with this retention, where the broker's is `default`.
    pub fn of(topic: Retention, default: Retention) -> Self {
        let limit = |own: Option<i64>, default| own.or(default).filter(|limit| *limit >= 0);
        Self { ms: limit(topic.ms, default.ms), bytes: limit(topic.bytes, default.bytes) }
    }

    /// The share that is left when the first record to consume is `age` seconds old and `bytes`
    /// follow the run that it lies in: as many as the limit, and the run goes.
    pub fn margin(self, age: f64, bytes: i64) -> f64 {
        let share = |used: f64, limit: i64| if limit > 0 { used / limit as f64 } else { 1.0 };
        let of_time = self.ms.map_or(0.0, |limit| share(age * 1e3, limit));
        let of_size = self.bytes.map_or(0.0, |limit| share(bytes as f64, limit));
        (1.0 - of_time.max(of_size)).clamp(0.0, 1.0)
    }
}

/// The first record that a group has not consumed, if it has reached `committed`.
pub(super) fn first(ends: Watermarks, committed: i64) -> i64 {
    committed.max(ends.log_start)
}

/// How many records a group has not consumed that has reached `committed`.
pub(super) fn lag(ends: Watermarks, committed: i64) -> i64 {
    ends.high_watermark.saturating_sub(first(ends, committed)).max(0)
}

/// How old a record is, in seconds: by its append time, but no less than it has been waiting here
/// since `seen`, whatever an earlier clock said.
pub(super) fn age(now: Moment, appended_ms: Option<i64>, seen: Instant) -> f64 {
    let told = appended_ms.map_or(0.0, |ms| now.clock_ms.saturating_sub(ms) as f64 / 1e3);
    told.max(now.at.saturating_duration_since(seen).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ends(log_start: i64, high_watermark: i64) -> Watermarks {
        Watermarks { log_start, high_watermark }
    }

    #[test]
    fn lag_counts_what_can_still_be_read_and_is_never_negative() {
        for (start, end, committed, expected) in [
            (0, 100, 40, 60),
            (0, 100, 100, 0),
            (0, 100, 120, 0),
            (70, 100, 40, 30),
            (100, 100, 0, 0),
            (0, i64::MAX, -1, i64::MAX),
        ] {
            assert_eq!(lag(ends(start, end), committed), expected, "{start} {end} {committed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn age_is_at_least_the_time_that_was_waited_here_and_never_negative() {
        let seen = Instant::now();
        tokio::time::advance(Duration::from_secs(10)).await;
        let now = Moment { at: Instant::now(), clock_ms: 60_000, machine_ms: 0 };
        assert_eq!(age(now, Some(20_000), seen), 40.0);
        assert_eq!(age(now, Some(55_000), seen), 10.0);
        assert_eq!(age(now, Some(i64::MAX), seen), 10.0, "an earlier clock was ahead");
        assert_eq!(age(now, None, seen), 10.0);
        assert_eq!(age(now, Some(70_000), now.at), 0.0);
    }

    #[test]
    fn the_margin_is_that_of_the_nearer_limit() {
        let limits = |ms, bytes| Limits { ms, bytes };
        assert_eq!(limits(None, None).margin(1e9, i64::MAX), 1.0);
        assert_eq!(limits(Some(100_000), None).margin(25.0, 0), 0.75);
        assert_eq!(limits(Some(100_000), Some(1_000)).margin(25.0, 500), 0.5);
        assert_eq!(limits(Some(100_000), None).margin(500.0, 0), 0.0);
        assert_eq!(limits(None, Some(1_000)).margin(1e9, 999), 1.0 - 0.999);
        assert_eq!(limits(None, Some(1_000)).margin(1e9, 1_000), 0.0);
        assert_eq!(limits(Some(0), None).margin(0.0, 0), 0.0, "nothing is kept");
        assert_eq!(limits(None, Some(0)).margin(0.0, 0), 0.0);
    }

    #[test]
    fn a_topic_says_what_it_keeps_before_the_broker_does() {
        let said = |ms, bytes| Retention { ms, bytes };
        let default = said(Some(1_000), Some(-1));
        let limits = |own| Limits::of(own, default);
        assert_eq!(limits(said(None, None)), Limits { ms: Some(1_000), bytes: None });
        assert_eq!(limits(said(Some(-1), Some(5))), Limits { ms: None, bytes: Some(5) });
    }
}
