//! What consumer groups do, and what becomes of old records and old objects.

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

/// Why records were removed from a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetentionReason {
    /// They were older than `retention.ms`.
    Time,
    /// The log was larger than `retention.bytes`.
    Size,
    /// A client asked for it.
    Request,
}

impl ClosedLabel for RetentionReason {
    const KEY: &'static str = "reason";
    const ALL: &'static [Self] = &[Self::Time, Self::Size, Self::Request];

    fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Size => "size",
            Self::Request => "request",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// What the garbage collector deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Garbage {
    /// An object whose records have all been removed.
    Unreferenced,
    /// An object that was never committed.
    Orphan,
}

impl ClosedLabel for Garbage {
    const KEY: &'static str = "kind";
    const ALL: &'static [Self] = &[Self::Unreferenced, Self::Orphan];

    fn as_str(self) -> &'static str {
        match self {
            Self::Unreferenced => "unreferenced",
            Self::Orphan => "orphan",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Why metrics that a Kafka client pushed were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PushRefusal {
    /// Client telemetry is off, or no subscription matches the client.
    Disabled,
    /// The subscription has changed since the client asked.
    UnknownSubscription,
    /// Before the interval had passed.
    TooEarly,
    /// Larger than allowed, compressed or not.
    TooLarge,
    /// Compressed in a way that was not offered.
    UnsupportedCompression,
    /// Not metrics of the OpenTelemetry protocol.
    Invalid,
    /// Too many new client instances in the last hour.
    TooManyInstances,
    /// More series than one client may have.
    TooManySeries,
    /// The queue to the receiver was full.
    Full,
    /// After the last push of its client instance.
    Terminated,
}

impl ClosedLabel for PushRefusal {
    const KEY: &'static str = "reason";
    const ALL: &'static [Self] = &[
        Self::Disabled,
        Self::UnknownSubscription,
        Self::TooEarly,
        Self::TooLarge,
        Self::UnsupportedCompression,
        Self::Invalid,
        Self::TooManyInstances,
        Self::TooManySeries,
        Self::Full,
        Self::Terminated,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::UnknownSubscription => "unknown_subscription",
            Self::TooEarly => "too_early",
            Self::TooLarge => "too_large",
            Self::UnsupportedCompression => "unsupported_compression",
            Self::Invalid => "invalid",
            Self::TooManyInstances => "too_many_instances",
            Self::TooManySeries => "too_many_series",
            Self::Full => "full",
            Self::Terminated => "terminated",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}
