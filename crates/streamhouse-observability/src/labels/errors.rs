//! Error classes: one variant per reaction of an operator.

use crate::declare::ClosedLabel;

/// Why records were not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProduceError {
    /// The topic or partition does not exist.
    UnknownTopic,
    /// A batch or request exceeds the limit.
    TooLarge,
    /// A checksum does not match its bytes.
    Corrupt,
    /// Not a record batch of the supported format.
    Invalid,
    /// A producer's sequence has a gap.
    OutOfOrder,
    /// The producer's state is not known.
    UnknownProducer,
    /// The producer's epoch is superseded.
    Fenced,
    /// The object store asks for fewer requests.
    Throttling,
    /// The object store failed.
    Storage,
    /// The metadata store failed.
    Metadata,
    /// The deadline passed before the records were durable.
    Timeout,
    /// The agent is draining.
    ShuttingDown,
}

impl ClosedLabel for ProduceError {
    const KEY: &'static str = "error";
    const ALL: &'static [Self] = &[
        Self::UnknownTopic,
        Self::TooLarge,
        Self::Corrupt,
        Self::Invalid,
        Self::OutOfOrder,
        Self::UnknownProducer,
        Self::Fenced,
        Self::Throttling,
        Self::Storage,
        Self::Metadata,
        Self::Timeout,
        Self::ShuttingDown,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::UnknownTopic => "unknown_topic",
            Self::TooLarge => "too_large",
            Self::Corrupt => "corrupt",
            Self::Invalid => "invalid",
            Self::OutOfOrder => "out_of_order",
            Self::UnknownProducer => "unknown_producer",
            Self::Fenced => "fenced",
            Self::Throttling => "throttling",
            Self::Storage => "storage",
            Self::Metadata => "metadata",
            Self::Timeout => "timeout",
            Self::ShuttingDown => "shutting_down",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Why records were not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsumeError {
    /// The topic or partition does not exist.
    UnknownTopic,
    /// The offset lies outside the log.
    OffsetOutOfRange,
    /// Stored bytes do not match their checksum.
    Corrupt,
    /// The object store asks for fewer requests.
    Throttling,
    /// The object store failed.
    Storage,
    /// The metadata store failed.
    Metadata,
}

impl ClosedLabel for ConsumeError {
    const KEY: &'static str = "error";
    const ALL: &'static [Self] = &[
        Self::UnknownTopic,
        Self::OffsetOutOfRange,
        Self::Corrupt,
        Self::Throttling,
        Self::Storage,
        Self::Metadata,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::UnknownTopic => "unknown_topic",
            Self::OffsetOutOfRange => "offset_out_of_range",
            Self::Corrupt => "corrupt",
            Self::Throttling => "throttling",
            Self::Storage => "storage",
            Self::Metadata => "metadata",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Why a call to the object store failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreError {
    /// The store asks for fewer requests (429, 503 SlowDown).
    Throttling,
    /// No reply within the deadline.
    Timeout,
    /// Refused, reset or unreachable.
    Connection,
    /// Not authenticated or not allowed (401, 403).
    Denied,
    /// The object does not exist.
    NotFound,
    /// The store failed by itself (5xx).
    Server,
    /// No space left.
    Full,
    /// The request or the reply makes no sense.
    Invalid,
}

impl ClosedLabel for StoreError {
    const KEY: &'static str = "error";
    const ALL: &'static [Self] = &[
        Self::Throttling,
        Self::Timeout,
        Self::Connection,
        Self::Denied,
        Self::NotFound,
        Self::Server,
        Self::Full,
        Self::Invalid,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Throttling => "throttling",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Server => "server",
            Self::Full => "full",
            Self::Invalid => "invalid",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Why a metadata operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetadataError {
    /// Not reachable, locked or timed out; a retry can help.
    Unavailable,
    /// Somebody else was first.
    Conflict,
    /// The topic or partition does not exist.
    NotFound,
    /// The input is not acceptable.
    Refused,
    /// The stored state contradicts itself.
    Corrupt,
}

impl ClosedLabel for MetadataError {
    const KEY: &'static str = "error";
    const ALL: &'static [Self] =
        &[Self::Unavailable, Self::Conflict, Self::NotFound, Self::Refused, Self::Corrupt];

    fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Corrupt => "corrupt",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}
