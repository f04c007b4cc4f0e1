//! Errors by the reaction of the caller.

use streamhouse_observability::labels;

/// Why an operation of the metadata store failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Nothing was changed; the same call may succeed later.
    #[error("metadata store is unavailable: {0}")]
    Unavailable(String),
    /// The commit failed or its answer was lost. For segments, ask
    /// [`settle`](crate::MetadataStore::settle) what happened; for anything else, read it.
    #[error("metadata commit is in doubt: {0}")]
    InDoubt(String),
    /// A topic of this name exists.
    #[error("topic {0:?} already exists")]
    AlreadyExists(String),
    /// The topic, partition or producer does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The input can never be accepted.
    #[error("{0}")]
    Refused(String),
    /// The producer's epoch is superseded.
    #[error("producer epoch {epoch} of producer {id} is superseded")]
    Fenced {
        /// The producer's id.
        id: i64,
        /// The epoch that was refused.
        epoch: i16,
    },
    /// The stored state contradicts itself: a person must look.
    #[error("metadata store is corrupt: {0}")]
    Corrupt(String),
}

impl MetadataError {
    /// The class on the error counter.
    pub fn class(&self) -> labels::MetadataError {
        match self {
            Self::Unavailable(_) | Self::InDoubt(_) => labels::MetadataError::Unavailable,
            Self::AlreadyExists(_) | Self::Fenced { .. } => labels::MetadataError::Conflict,
            Self::NotFound(_) => labels::MetadataError::NotFound,
            Self::Refused(_) => labels::MetadataError::Refused,
            Self::Corrupt(_) => labels::MetadataError::Corrupt,
        }
    }
}
