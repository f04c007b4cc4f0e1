//! Kafka's record batch, format 2: validated once, then opaque bytes.

use bytes::Bytes;
use streamhouse_metadata::ProducerBatch;

/// Why bytes are not an acceptable record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Magic 0 or 1: the client's format is too old.
    #[error("record format {0} is not supported; format 2 is")]
    Magic(i8),
    /// The checksum does not match.
    #[error("the checksum does not match the bytes")]
    Crc,
    /// Lengths, counts or attributes contradict each other.
    #[error("not a valid record batch: {0}")]
    Invalid(&'static str),
    /// The batch is larger than the limit.
    #[error("a record batch of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

/// A record batch whose magic, size, count and checksum are right. A slice of the frame that it
/// came in: its bytes are not copied.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    bytes: Bytes,
}

impl RecordBatch {
    /// Splits the records of a produce request's partition into validated batches.
    pub fn split(_records: Bytes, _max_bytes: usize) -> Result<Vec<Self>, BatchError> {
        todo!()
    }

    /// The bytes as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many offsets it takes.
    pub fn records(&self) -> i32 {
        todo!()
    }

    /// Its base offset as stored in the bytes.
    pub fn base_offset(&self) -> i64 {
        todo!()
    }

    /// The timestamp that record timestamps are relative to.
    pub fn base_timestamp_ms(&self) -> i64 {
        todo!()
    }

    /// Its greatest record timestamp.
    pub fn max_timestamp_ms(&self) -> i64 {
        todo!()
    }

    /// The idempotent producer's claim, if any.
    pub fn producer(&self) -> Option<ProducerBatch> {
        todo!()
    }

    /// The compression codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec(&self) -> u8 {
        todo!()
    }

    /// The records after the header, compressed as one block unless the codec is 0.
    pub fn records_bytes(&self) -> Bytes {
        todo!()
    }
}
