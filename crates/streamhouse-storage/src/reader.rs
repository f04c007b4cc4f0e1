//! The reader: from offsets to record batches.

use crate::batch::RecordBatch;
use crate::error::ReadError;
use bytes::Bytes;
use streamhouse_metadata::{TopicPartition, Watermarks};

/// Batches read from one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The partition's ends.
    pub watermarks: Watermarks,
    /// Whole batches with their offsets written in, the first holding the offset asked for.
    pub batches: Vec<Bytes>,
    /// How many records at or after the offset asked for they hold.
    pub records: u64,
}

/// Reads through cache and index.
#[derive(Clone, Debug)]
pub struct Reader {}

impl Reader {
    /// Reads batches from `offset` on: at least one if there is one, otherwise at most
    /// `max_bytes`. Empty at the end of the log.
    pub async fn fetch(
        &self,
        _partition: TopicPartition,
        _offset: i64,
        _max_bytes: usize,
    ) -> Result<Fetched, ReadError> {
        todo!()
    }

    /// Waits until records at or after `offset` are committed in any of `wanted`.
    ///
    /// # Cancel safety
    /// Dropping the future stops waiting; nothing is lost.
    pub async fn wait(&self, _wanted: &[(TopicPartition, i64)]) {
        todo!()
    }

    /// The partition's ends, read from the metadata store after this call began.
    pub async fn watermarks(&self, _partition: TopicPartition) -> Result<Watermarks, ReadError> {
        todo!()
    }

    /// The first batch that may hold a record of `timestamp_ms` or later, with its offset
    /// written in.
    pub async fn batch_at_time(
        &self,
        _partition: TopicPartition,
        _timestamp_ms: i64,
    ) -> Result<Option<RecordBatch>, ReadError> {
        todo!()
    }
}
