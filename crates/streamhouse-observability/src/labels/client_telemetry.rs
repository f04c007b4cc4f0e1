//! What becomes of the metrics that Kafka clients push.

use crate::declare::ClosedLabel;

/// Why metrics that a Kafka client pushed were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PushRefusal {
    /// Client telemetry is off, or no subscription matches the client.
    Disabled,
    /// The subscription is not the client's, or has changed since it asked.
    UnknownSubscription,
    /// After the last push of its client instance.
    Terminated,
    /// Before the interval had passed.
    TooEarly,
    /// Too many client instances, at a time or new in the last hour.
    TooManyInstances,
    /// Compressed in a way that was not offered.
    UnsupportedCompression,
    /// Larger than allowed, compressed or not.
    TooLarge,
    /// Not metrics of the OpenTelemetry protocol, or of names and attributes that are too long.
    Invalid,
    /// A sum or a histogram that is not cumulative, although that was asked for.
    NotCumulative,
    /// None of its metrics were asked for.
    NotSubscribed,
    /// More series than one client may have: in a push, or all of its series new and no room left.
    TooManySeries,
    /// The queue to the receiver was full.
    Full,
}

impl ClosedLabel for PushRefusal {
    const KEY: &'static str = "reason";
    const ALL: &'static [Self] = &[
        Self::Disabled,
        Self::UnknownSubscription,
        Self::Terminated,
        Self::TooEarly,
        Self::TooManyInstances,
        Self::UnsupportedCompression,
        Self::TooLarge,
        Self::Invalid,
        Self::NotCumulative,
        Self::NotSubscribed,
        Self::TooManySeries,
        Self::Full,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::UnknownSubscription => "unknown_subscription",
            Self::Terminated => "terminated",
            Self::TooEarly => "too_early",
            Self::TooManyInstances => "too_many_instances",
            Self::UnsupportedCompression => "unsupported_compression",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::NotCumulative => "not_cumulative",
            Self::NotSubscribed => "not_subscribed",
            Self::TooManySeries => "too_many_series",
            Self::Full => "full",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Why data points of a push were left out, while the rest of it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeftOut {
    /// The metric was not asked for.
    NotSubscribed,
    /// The series is new, and its client instance has as many as it may have in its life, or all
    /// instances together have.
    TooManySeries,
}

impl ClosedLabel for LeftOut {
    const KEY: &'static str = "reason";
    const ALL: &'static [Self] = &[Self::NotSubscribed, Self::TooManySeries];

    fn as_str(self) -> &'static str {
        match self {
            Self::NotSubscribed => "not_subscribed",
            Self::TooManySeries => "too_many_series",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}
