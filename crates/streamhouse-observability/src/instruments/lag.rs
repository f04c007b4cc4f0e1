use super::{GROUP_PARTITIONS, GROUPS};
use crate::declare::{
    Counter, CounterCell, FloatGauge, FloatGaugeCell, Gauge, GaugeCell, Histogram,
};
use crate::labels::{Group, Outcome, Partition, Topic};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

crate::instruments! {
    /// How far the groups that this agent coordinates are behind. `<all>` stands for all partitions
    /// or topics where lag is kept in less detail: the sum of lags, the greatest age, the least
    /// margin.
    pub struct LagMetrics("streamhouse.consumer") {
        /// Records after the group's committed offset; lost ones do not count.
        lag: Gauge<(Group, Topic, Partition)> = "{record}", series = GROUP_PARTITIONS;
        /// Time since the first record that the group has not consumed was appended; 0 when there
        /// is none.
        lag_time: FloatGauge<(Group, Topic, Partition)> = "s", series = GROUP_PARTITIONS;
        /// Share of the topic's retention that is left before records are removed that the group
        /// has not consumed; 1 without retention or lag.
        retention_margin: FloatGauge<(Group, Topic, Partition)> = "1", series = GROUP_PARTITIONS;
        /// Records that were removed before the group had consumed them. A series ends an hour
        /// after the last loss, when the group or topic is gone.
        records_lost: Counter<(Group, Topic)> = "{record}", series = GROUP_PARTITIONS;
        /// Groups that have partitions without a committed offset in topics that their members
        /// subscribe to, or did when there last were some.
        groups_uncommitted: Gauge<()> = "{group}";
        /// Time of one computation of all lags, with the rests between its pieces.
        lag_duration: Histogram<Outcome> = "s";
        /// Time since all lags were last computed whole.
        lag_age: FloatGauge<()> = "s";
        /// Time since the group last committed an offset.
        commit_age: FloatGauge<Group> = "s", name = "streamhouse.group.commit_age", series = GROUPS;
    }
}

/// The handles of one place in the log that a group has reached.
#[derive(Debug)]
pub struct LagCells {
    /// Records to consume.
    pub lag: GaugeCell,
    /// The age of the first of them, in seconds.
    pub time: FloatGaugeCell,
    /// The share of the retention that is left.
    pub margin: FloatGaugeCell,
}

impl LagMetrics {
    /// Binds the series of a group's partition: they exist until the handles are dropped.
    pub fn cells(&self, group: &Group, topic: &Topic, partition: &Partition) -> LagCells {
        let labels = (group.clone(), topic.clone(), partition.clone());
        LagCells {
            lag: self.lag.bind(&labels),
            time: self.lag_time.bind(&labels),
            margin: self.retention_margin.bind(&labels),
        }
    }

    /// Counts what trims take from groups.
    pub fn lost(&self) -> Lost {
        Lost { records: self.records_lost.clone(), kept: Arc::default() }
    }
}

/// How long a series of losses is shown after the last one, when nobody else owns it.
const SHOWN: Duration = Duration::from_secs(3_600);
/// How many such series are kept at most.
const KEPT: usize = 10_000;

/// Counts the records that were removed before groups had consumed them. Cheap to clone; clones
/// share.
#[derive(Clone, Debug)]
pub struct Lost {
    records: Counter<(Group, Topic)>,
    kept: Arc<Mutex<Kept>>,
}

/// Series by group and topic, each with the time of its last loss.
type Kept = HashMap<(Group, Topic), (CounterCell, Instant)>;

impl Lost {
    /// Counts what a trim of `topic` took: groups, and how many records of each.
    ///
    /// Recorded as `streamhouse_consumer_records_lost_total` (`group`, `topic`). The group may be
    /// coordinated by another agent; then its series is shown for an hour after the last loss.
    pub fn record(&self, topic: &Arc<str>, lost: &[(Arc<str>, i64)]) {
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (_, at)| now.saturating_duration_since(*at) < SHOWN);
        for (group, records) in lost {
            let Some(records) = u64::try_from(*records).ok().filter(|records| *records > 0) else {
                continue;
            };
            let labels = (Group(group.clone()), Topic(topic.clone()));
            let cell = match kept.get(&labels) {
                Some((cell, _)) => cell.clone(),
                None => self.records.bind(&labels),
            };
            cell.add(records);
            if kept.len() < KEPT || kept.contains_key(&labels) {
                kept.insert(labels, (cell, now));
            }
        }
    }
}
