use crate::declare::{ClosedLabel, Counter, CounterCell, Gauge, GaugeCell, Histogram, PerValue};
use crate::labels::{Group, GroupState, RebalanceReason};

/// The bound on consumer groups in any metric.
pub const GROUPS: usize = 10_000;

crate::instruments! {
    /// Consumer groups that this agent coordinates.
    pub struct GroupMetrics("streamhouse.group") {
        /// Members of the group.
        members: Gauge<Group> = "{member}", series = GROUPS;
        /// 1 for the state that the group is in, else 0.
        state: Gauge<(Group, GroupState)> = "{status}", series = GROUPS * <GroupState as ClosedLabel>::ALL.len();
        /// Offsets that the group has committed.
        commits: Counter<Group> = "{offset}", series = GROUPS;
        /// Rebalances completed, by what began them.
        rebalances: Counter<(Group, RebalanceReason)> = "{rebalance}", name = "streamhouse.consumer.rebalances", series = GROUPS * <RebalanceReason as ClosedLabel>::ALL.len();
        /// Time of a rebalance, from its beginning to the assignment.
        rebalance_duration: Histogram<RebalanceReason> = "s";
    }
}

/// A group's handles, bound when this agent takes the group.
#[derive(Debug)]
pub struct GroupCells {
    /// Members.
    pub members: GaugeCell,
    /// 1 for the state that it is in.
    pub state: PerValue<GroupState, GaugeCell>,
    /// Offsets committed.
    pub commits: CounterCell,
    /// Rebalances completed, by reason.
    pub rebalances: PerValue<RebalanceReason, CounterCell>,
}

impl GroupMetrics {
    /// Binds `group`'s series: they exist at 0 from now until the last handle is dropped.
    pub fn group(&self, group: &Group) -> GroupCells {
        GroupCells {
            members: self.members.bind(group),
            state: self.state.bind_each(|state| (group.clone(), state)),
            commits: self.commits.bind(group),
            rebalances: self.rebalances.bind_each(|reason| (group.clone(), reason)),
        }
    }
}
