use crate::declare::{ClosedLabel as _, Counter, FloatGauge, Gauge, Histogram};
use crate::labels::{Group, GroupState, Outcome, Partition, RebalanceReason, Topic};

/// The bound on consumer groups in any metric.
pub const GROUPS: usize = 10_000;
/// The bound on series of groups' partitions in any metric.
pub const GROUP_PARTITIONS: usize = 100_000;

crate::instruments! {
    /// Consumer groups that this agent coordinates.
    pub struct GroupMetrics("streamhouse.group") {
        /// Members of the group.
        members: Gauge<Group> = "{member}", series = GROUPS;
        /// 1 for the state that the group is in, else 0.
        state: Gauge<(Group, GroupState)> = "{status}", series = GROUPS * GroupState::ALL.len();
        /// Time since the group last committed an offset.
        commit_age: FloatGauge<Group> = "s", series = GROUPS;
        /// Offsets that the group has committed.
        commits: Counter<Group> = "{offset}", series = GROUPS;
        /// Rebalances completed, by what began them.
        rebalances: Counter<(Group, RebalanceReason)> = "{rebalance}", name = "streamhouse.consumer.rebalances", series = GROUPS * RebalanceReason::ALL.len();
        /// Time of a rebalance, from its beginning to the assignment.
        rebalance_duration: Histogram<RebalanceReason> = "s";
    }
}

crate::instruments! {
    /// How far the groups that this agent coordinates are behind. `<all>` stands for all partitions
    /// or topics where lag is kept in less detail.
    pub struct LagMetrics("streamhouse.consumer") {
        /// Records after the group's committed offset; lost ones do not count.
        lag: Gauge<(Group, Topic, Partition)> = "{record}", series = GROUP_PARTITIONS;
        /// Age of the first record that the group has not consumed; 0 when there is none.
        lag_time: FloatGauge<(Group, Topic, Partition)> = "s", series = GROUP_PARTITIONS;
        /// Share of the retention that the group has left before it loses records: 1 without
        /// retention or lag, 0 when records are being lost.
        retention_margin: FloatGauge<(Group, Topic, Partition)> = "1", series = GROUP_PARTITIONS;
        /// Records that were removed before the group had consumed them.
        records_lost: Counter<(Group, Topic)> = "{record}", series = GROUP_PARTITIONS;
        /// Groups with members that have partitions without a committed offset.
        uncommitted: Gauge<()> = "{group}", name = "streamhouse.consumer.groups_uncommitted";
        /// Time of one computation of all lags.
        lag_duration: Histogram<Outcome> = "s";
    }
}
