//! How far groups are behind.
//!
//! Lag is computed here, in the background, and not by consumers: the lag of a dead consumer is
//! the one that matters. A scrape reads cells that are prepared; [`Lags`] holds the same for pages
//! and the command line.
//!
//! The order of work makes lag true: the committed offsets of some groups are copied first and ends
//! are read right after that, so that no end is older than the offset it is compared with. Offsets
//! are kept by topic id: those of a deleted topic say nothing of one created under its name.
//!
//! Invariant: no lag is negative, and seconds are 0 exactly when records are. Invariant: no record
//! is told of a group that has committed nothing.

mod compute; // lag, age and margin, as plain functions
mod ends; //    the ends of the partitions that some groups have places in
mod group; //   one group: its places, what is behind each
mod pace; //    spreads the work over time
mod series; //  the cells, in the detail that is wanted
mod source; //  what is asked for
mod tracker; // the cycle
mod view; //    what others may see

#[cfg(test)]
mod tests;

pub use view::{GroupLag, LagView, Lags, PartitionLag};

use crate::broker::Broker;
use crate::groups::table::GroupTable;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_observability::instruments::LagMetrics;
use streamhouse_storage::Clock;
use tokio::time::MissedTickBehavior;
use tracker::Tracker;

/// The shortest time from one computation to the next.
const SHORTEST: Duration = Duration::from_millis(100);

/// Into how many series lag is split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LagDetail {
    /// One for each partition.
    #[default]
    Partition,
    /// One for each topic of a group.
    Topic,
    /// One for each group.
    Group,
}

/// Computes lag, once each time it is asked to.
#[derive(Debug)]
pub struct LagTracker(Tracker);

impl LagTracker {
    /// Knows nothing yet; sets the cells of `metrics` and replaces the view of `lags`. Append times
    /// are compared with `clock`.
    pub fn new(detail: LagDetail, clock: Clock, metrics: LagMetrics, lags: Lags) -> Self {
        Self(Tracker::new(detail, clock, metrics, lags))
    }

    /// Computes all lags of `groups`, in short pieces with rests between them, and aims to be done
    /// `within` some time. What the metadata store does not tell stays as it was.
    ///
    /// # Cancel safety
    /// After a dropped call nothing is known any more.
    pub async fn compute(&mut self, groups: &GroupTable, broker: &Broker, within: Duration) {
        self.0.cycle(groups, broker, within).await;
    }
}

/// Computes the lag of the groups that `broker` coordinates again and again, for ever, from when it
/// has taken them from the store.
///
/// # Cancel safety
/// Dropping the future ends the series.
pub async fn follow_lag(mut tracker: LagTracker, interval: Duration, broker: Arc<Broker>) {
    let groups = broker.groups();
    let interval = interval.max(SHORTEST);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Before all groups are taken from the store, what is here is not all.
    loop {
        ticks.tick().await;
        if broker.groups.is_loaded().await {
            break;
        }
    }
    loop {
        tracker.compute(&groups, &broker, interval / 2).await;
        ticks.tick().await;
    }
}
