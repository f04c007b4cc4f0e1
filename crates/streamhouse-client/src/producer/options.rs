//! How a producer sends.

use std::time::Duration;

/// When a record counts as delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// When it was sent: no answer is awaited, and a failure goes unnoticed.
    None,
    /// When the broker that took it has it.
    Leader,
    /// When it is as safe as the broker can make it.
    #[default]
    All,
}

impl Acks {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Leader => "1",
            Self::All => "all",
        }
    }
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Small, slow.
    Gzip,
    /// Fast.
    Snappy,
    /// Fast, a little smaller.
    Lz4,
    /// Small and fast.
    Zstd,
}

impl Compression {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// How a producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerOptions {
    /// When a record counts as delivered. Default: [`Acks::All`].
    pub acks: Acks,
    /// How batches are compressed. Default: not at all.
    pub compression: Compression,
    /// Whether retries can neither double nor reorder records; needs [`Acks::All`]. Default: true.
    pub idempotent: bool,
    /// How long a batch waits for more records. Default: 5 ms.
    pub linger: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            compression: Compression::None,
            idempotent: true,
            linger: Duration::from_millis(5),
        }
    }
}

impl ProducerOptions {
    /// Options for `acks`; idempotent where that is possible.
    pub fn with_acks(acks: Acks) -> Self {
        Self { acks, idempotent: acks == Acks::All, ..Self::default() }
    }
}
