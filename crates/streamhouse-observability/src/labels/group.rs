//! What consumer groups do.

use crate::declare::ClosedLabel;

/// Where a consumer group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// No members; its offsets are kept.
    Empty,
    /// Waits for its members to join.
    PreparingRebalance,
    /// Waits for the leader to assign partitions.
    CompletingRebalance,
    /// Its members have their partitions.
    Stable,
}

impl ClosedLabel for GroupState {
    const KEY: &'static str = "state";
    const ALL: &'static [Self] =
        &[Self::Empty, Self::PreparingRebalance, Self::CompletingRebalance, Self::Stable];

    fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::PreparingRebalance => "preparing_rebalance",
            Self::CompletingRebalance => "completing_rebalance",
            Self::Stable => "stable",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// What made a group share out its partitions anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RebalanceReason {
    /// A member joined.
    Join,
    /// A member left.
    Leave,
    /// A member was silent for longer than its session.
    SessionTimeout,
    /// A member did not join again in time.
    RebalanceTimeout,
    /// A member joined again with another subscription, or the leader asked for it.
    MetadataChange,
}

impl ClosedLabel for RebalanceReason {
    const KEY: &'static str = "reason";
    const ALL: &'static [Self] = &[
        Self::Join,
        Self::Leave,
        Self::SessionTimeout,
        Self::RebalanceTimeout,
        Self::MetadataChange,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::SessionTimeout => "session_timeout",
            Self::RebalanceTimeout => "rebalance_timeout",
            Self::MetadataChange => "metadata_change",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}
