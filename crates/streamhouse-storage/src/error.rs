//! Errors by the reaction of the caller.

use std::ops::Range;
use streamhouse_metadata::{MetadataError, Rejection};
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::labels;

/// A failed call to the object store.
#[derive(Clone, Debug, thiserror::Error)]
#[error("object store {operation} of {object:?} failed ({}): {message}", .class.as_str())]
pub struct StoreError {
    /// What was tried.
    pub operation: &'static str,
    /// On which object.
    pub object: String,
    /// The class on the error counter.
    pub class: labels::StoreError,
    /// What the store said, without secrets.
    pub message: String,
}

impl StoreError {
    /// A failure of `operation` on `object`.
    pub fn new(
        operation: labels::Operation,
        object: impl Into<String>,
        class: labels::StoreError,
        message: impl Into<String>,
    ) -> Self {
        let (object, message) = (object.into(), message.into());
        Self { operation: operation.as_str(), object, class, message }
    }

    /// A read beyond an object's end: the index and the object contradict each other.
    pub(crate) fn out_of_range(object: &str, range: &Range<u64>, size: u64) -> Self {
        let message = format!("bytes {range:?} do not lie within its {size} bytes");
        Self::new(labels::Operation::Get, object, labels::StoreError::Invalid, message)
    }

    /// Whether the same call can succeed later.
    pub fn is_retryable(&self) -> bool {
        use labels::StoreError::{Connection, Server, Throttling, Timeout};
        matches!(self.class, Throttling | Timeout | Connection | Server)
    }
}

/// Stored bytes are not what was written. They must not be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the segment is corrupt: {0}")]
pub struct CorruptSegment(pub(crate) String);

/// Why a batch is not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The commit refused the batch.
    #[error("the commit refused the batch: {0:?}")]
    Rejected(Rejection),
    /// An earlier batch of the same producer and partition failed; it must come back first.
    #[error("an earlier batch of this producer failed")]
    PredecessorFailed,
    /// The object store failed; retry.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metadata store failed; retry.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The writer is draining; retry elsewhere.
    #[error("the writer is shutting down")]
    ShuttingDown,
}

/// Why records cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The topic or partition does not exist.
    #[error("the partition does not exist")]
    UnknownPartition,
    /// The offset lies outside the log, by a reading of the metadata begun after the request.
    #[error("offset {offset} lies outside {log_start}..={high_watermark}")]
    OutOfRange {
        /// The offset asked for.
        offset: i64,
        /// The first offset.
        log_start: i64,
        /// The offset after the last.
        high_watermark: i64,
    },
    /// Stored bytes do not match their checksum, or an indexed object is gone.
    #[error("object {object:?} is corrupt: {message}")]
    Corrupt {
        /// The object.
        object: String,
        /// What does not match.
        message: String,
    },
    /// The object store failed; retry.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metadata store failed; retry.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}
