//! What becomes of old records and old objects.

use crate::declare::ClosedLabel;

/// Why records were removed from a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetentionReason {
    /// They were older than `retention.ms`.
    Time,
    /// At least `retention.bytes` of the log followed them.
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
