//! Errors by the reaction of the caller, and what the protocol calls them.

use crate::shape::ShapeError;
use kafka_protocol::error::ResponseError as Code;
use std::time::Duration;
use streamhouse_metadata::{MetadataError, Rejection};
use streamhouse_observability::labels;
use streamhouse_storage::batch::BatchError;
use streamhouse_storage::{AppendError, ReadError, StoreError};

/// Why a connection, or the whole listener, ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The client took longer than it may.
    #[error("the client did not {0} within {1:?}")]
    TooSlow(&'static str, Duration),
    /// A frame that is larger than the limit, or whose length makes no sense.
    #[error("a frame of {size} bytes is outside 8..={limit}; raise the frame limit if it is real")]
    FrameSize {
        /// The length that the client claims.
        size: i32,
        /// The limit.
        limit: usize,
    },
    /// A frame that is not the request that its header says.
    #[error("not a valid request: {0}")]
    Malformed(String),
    /// An API or version that is not offered.
    #[error("API {key} version {version} is not offered")]
    Unsupported {
        /// The API's key.
        key: i16,
        /// The version.
        version: i16,
    },
    /// An answer cannot be encoded: a defect of this program.
    #[error("the answer to {api} version {version} cannot be encoded: {message}")]
    Encode {
        /// The API.
        api: &'static str,
        /// The version.
        version: i16,
        /// What the encoder says.
        message: String,
    },
    /// The agent cannot register.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl From<ShapeError> for KafkaError {
    fn from(error: ShapeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// The class and the code of bytes that are not an acceptable record batch.
pub(crate) fn of_batch(error: &BatchError) -> (labels::ProduceError, Code) {
    use labels::ProduceError as Class;
    match error {
        BatchError::Magic(_) => (Class::Invalid, Code::UnsupportedForMessageFormat),
        BatchError::Crc => (Class::Corrupt, Code::CorruptMessage),
        BatchError::TooLarge { .. } => (Class::TooLarge, Code::MessageTooLarge),
        _ => (Class::Invalid, Code::InvalidRecord),
    }
}

/// The class and the code of a batch that is not acknowledged.
///
/// Trouble of the stores is 56, which every client retries with the same sequence; never 89, which
/// makes librdkafka fail the messages.
pub(crate) fn of_append(error: &AppendError) -> (labels::ProduceError, Code) {
    use labels::ProduceError as Class;
    match error {
        AppendError::Rejected(rejection) => match rejection {
            Rejection::UnknownPartition => (Class::UnknownTopic, Code::UnknownTopicOrPartition),
            Rejection::OutOfOrder { .. } => (Class::OutOfOrder, Code::OutOfOrderSequenceNumber),
            Rejection::ForgottenDuplicate => (Class::OutOfOrder, Code::DuplicateSequenceNumber),
            Rejection::UnknownProducer => (Class::UnknownProducer, Code::UnknownProducerId),
            Rejection::Fenced => (Class::Fenced, Code::InvalidProducerEpoch),
            Rejection::StaleSegment { .. } => (Class::Metadata, Code::KafkaStorageError),
        },
        AppendError::Store(error) => (of_store(error), Code::KafkaStorageError),
        AppendError::Metadata(_) => (Class::Metadata, Code::KafkaStorageError),
        AppendError::ShuttingDown => (Class::ShuttingDown, Code::NotEnoughReplicas),
        _ => (Class::Storage, Code::KafkaStorageError),
    }
}

fn of_store(error: &StoreError) -> labels::ProduceError {
    match error.class {
        labels::StoreError::Throttling => labels::ProduceError::Throttling,
        _ => labels::ProduceError::Storage,
    }
}

/// The class and the code of records that cannot be read.
pub(crate) fn of_read(error: &ReadError) -> (labels::ConsumeError, Code) {
    use labels::ConsumeError as Class;
    match error {
        ReadError::UnknownPartition => (Class::UnknownTopic, Code::UnknownTopicOrPartition),
        ReadError::OutOfRange { .. } => (Class::OffsetOutOfRange, Code::OffsetOutOfRange),
        ReadError::Corrupt { .. } => (Class::Corrupt, Code::CorruptMessage),
        ReadError::Store(StoreError { class: labels::StoreError::Throttling, .. }) => {
            (Class::Throttling, Code::KafkaStorageError)
        }
        ReadError::Metadata(_) => (Class::Metadata, Code::KafkaStorageError),
        _ => (Class::Storage, Code::KafkaStorageError),
    }
}

/// The code of a failed change of topics or producers.
pub(crate) fn of_metadata(error: &MetadataError) -> Code {
    match error {
        MetadataError::AlreadyExists(_) => Code::TopicAlreadyExists,
        MetadataError::NotFound(_) => Code::UnknownTopicOrPartition,
        MetadataError::Refused(_) => Code::InvalidRequest,
        MetadataError::Fenced { .. } => Code::InvalidProducerEpoch,
        MetadataError::Corrupt(_) => Code::UnknownServerError,
        _ => Code::RequestTimedOut,
    }
}
