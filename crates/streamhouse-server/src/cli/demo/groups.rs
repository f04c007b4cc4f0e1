//! The demo's consumer groups: a fast one that rebalances now and then, and a slow one that falls
//! behind and catches up.

use super::workload::{TICK, Tally, count};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use streamhouse_client::{ClientError, Connection, GroupConsumer, GroupOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The group that keeps up.
pub(super) const FAST: &str = "demo-fast";
/// The group that falls behind and catches up.
pub(super) const SLOW: &str = "demo-slow";

const FAST_TOPICS: &[&str] = &["orders", "payments", "audit"];
const SLOW_TOPICS: &[&str] = &["clicks"];
/// Members of the fast group that stay; one more comes and goes.
const STAYING: usize = 2;
/// Members of the slow group. What they read per tick is meant for this many.
const SLOW_MEMBERS: usize = 2;

/// Records per tick of a member that does not hold itself back.
const FULL: usize = 1_000;
/// Records per tick of a slow member while its group falls behind: together a sixth of what comes.
const CRAWL: usize = 5;
/// Records per tick of a slow member while its group catches up: together more than thrice as much
/// as comes.
const HURRY: usize = 100;

/// Who joins which group, and where what it does is counted.
#[derive(Clone)]
struct Membership {
    connection: Connection,
    group: &'static str,
    topics: &'static [&'static str],
    read: fn(&Tally) -> &AtomicU64,
    tally: Arc<Tally>,
}

/// Starts the members of both groups; each leaves its group when `stop` is cancelled. In each
/// `cycle` the slow group falls behind and catches up, and the fast group loses a member and gets
/// it back.
pub(super) fn start(
    tasks: &mut JoinSet<()>,
    connection: &Connection,
    cycle: Duration,
    tally: &Arc<Tally>,
    stop: &CancellationToken,
) {
    // What waits in a member's memory is what it lags, so little may wait there. A member looks
    // often whether its group rebalances, so that the others need not wait for it.
    let connection = connection
        .clone()
        .with("queued.min.messages", "100")
        .with("fetch.queue.backoff.ms", "50")
        .with("fetch.message.max.bytes", "65536")
        .with("heartbeat.interval.ms", "500");
    let member = |group, number: usize, topics, read| {
        let connection = connection.clone().named(format!("{group}-{number}"));
        Membership { connection, group, topics, read, tally: tally.clone() }
    };
    for number in 0..STAYING {
        let member = member(FAST, number, FAST_TOPICS, |tally| &tally.consumed);
        let stop = stop.clone();
        tasks.spawn(async move { member.belong(stop.cancelled(), || FULL).await });
    }
    let restless = member(FAST, STAYING, FAST_TOPICS, |tally| &tally.consumed);
    let stopped = stop.clone();
    tasks.spawn(async move { restless.come_and_go(cycle, &stopped).await });
    let begun = Instant::now();
    for number in 0..SLOW_MEMBERS {
        let member = member(SLOW, number, SLOW_TOPICS, |tally| &tally.consumed_slowly);
        let stop = stop.clone();
        let pace = move || if falls_behind(begun.elapsed(), cycle) { CRAWL } else { HURRY };
        tasks.spawn(async move { member.belong(stop.cancelled(), pace).await });
    }
}

/// Whether the slow group holds itself back this long after its beginning: for the first seven
/// twelfths of each cycle.
fn falls_behind(elapsed: Duration, cycle: Duration) -> bool {
    let cycle = cycle.as_millis().max(1);
    elapsed.as_millis() % cycle * 12 < cycle * 7
}

impl Membership {
    /// Belongs to the group for half of each cycle, and lets the others do the work for a quarter.
    async fn come_and_go(&self, cycle: Duration, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let until = stop.run_until_cancelled(tokio::time::sleep(cycle / 2));
            self.belong(async { _ = until.await }, || FULL).await;
            stop.run_until_cancelled(tokio::time::sleep(cycle / 4)).await;
        }
    }

    /// Reads as a member of the group until `end`, then commits and leaves.
    async fn belong(&self, end: impl Future<Output = ()>, pace: impl Fn() -> usize) {
        let options =
            GroupOptions { commit_every: Some(Duration::from_secs(1)), ..GroupOptions::default() };
        let subscribed =
            GroupConsumer::subscribe(&self.connection, self.group, self.topics, options);
        let Ok(member) = subscribed else {
            count(&self.tally.failed);
            // Without this, one that comes and goes would try without a break.
            return end.await;
        };
        tokio::select! {
            () = self.work(&member, pace) => {}
            () = end => {}
        }
        if member.close().await.is_err() {
            count(&self.tally.failed);
        }
    }

    /// Processes records, at most `pace()` of them per tick, for ever.
    async fn work(&self, member: &GroupConsumer, pace: impl Fn() -> usize) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.process(member, pace()).await.is_err() {
                count(&self.tally.failed);
            }
        }
    }

    /// Processes at most `most` records, until none comes for a tick.
    async fn process(&self, member: &GroupConsumer, most: usize) -> Result<(), ClientError> {
        let mut left = most;
        while left > 0 {
            let records = member.poll(left, TICK).await?;
            if records.is_empty() {
                break;
            }
            for record in &records {
                let Ok(()) = member.process(record, async { Ok::<_, Infallible>(()) }).await;
                count((self.read)(&self.tally));
            }
            left -= records.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cycle_begins_with_falling_behind_and_ends_with_catching_up() {
        let cycle = Duration::from_secs(60);
        for (second, behind) in [(0, true), (34, true), (35, false), (59, false), (60, true)] {
            assert_eq!(falls_behind(Duration::from_secs(second), cycle), behind, "{second}");
        }
        assert!(falls_behind(Duration::from_secs(1), Duration::from_nanos(1)), "no division by 0");
    }
}
