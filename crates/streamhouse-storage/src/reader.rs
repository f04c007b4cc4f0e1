//! The reader: from offsets to record batches.
//!
//! Where batches lie is known from memory for the tail of the log, and from the index otherwise.
//! Their bytes come through the cache, in whole blocks whose checksum is right.
//!
//! Invariant: "out of range" is said only after a look into the metadata store that began after
//! the request: a lagging memory must never reset a consumer.

use crate::batch::RecordBatch;
use crate::cache::Cache;
use crate::error::{ReadError, StoreError};
use crate::object_store::ObjectStore;
use crate::partitions::Partitions;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use std::sync::Arc;
use streamhouse_metadata::{
    IndexRow, Locate, Located, MetadataStore, Position, TopicId, TopicPartition, Watermarks,
};
use streamhouse_observability::labels;
use tokio::time::Instant;

/// How many blocks one fetch reads at a time.
const READ_AHEAD: usize = 4;
/// The leader epoch that every batch is served with: there are no leaders.
const LEADER_EPOCH: i32 = 0;
/// How many bytes of rows a search by time looks through at a time.
const SEARCH_BYTES: u64 = 1 << 20;

/// Batches read from one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The partition's ends.
    pub watermarks: Watermarks,
    /// Whole batches with their offsets written in, the first holding the offset asked for. A
    /// piece may hold several batches; together they are the answer.
    pub batches: Vec<Bytes>,
    /// How many records at or after the offset asked for they hold.
    pub records: u64,
}

/// Reads through cache and index. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    partitions: Partitions,
    cache: Cache,
    store: Arc<dyn ObjectStore>,
    metadata: Arc<dyn MetadataStore>,
}

/// Why a row could not be read: an object that is not there may have been replaced.
enum Failure {
    Missing(Arc<str>, StoreError),
    Other(ReadError),
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Other(error)
    }
}

impl Reader {
    /// Reads what `partitions` and `metadata` know of from `store`, through `cache`.
    pub fn new(
        partitions: Partitions,
        cache: Cache,
        store: Arc<dyn ObjectStore>,
        metadata: Arc<dyn MetadataStore>,
    ) -> Self {
        Self { partitions, cache, store, metadata }
    }

    /// Reads batches from `offset` on: at least one if there is one, otherwise at most
    /// `max_bytes`. Empty at the end of the log.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] and [`ReadError::UnknownPartition`]: by the metadata store, asked
    /// after this call began. [`ReadError::Corrupt`]: a person must look. Others: retry.
    pub async fn fetch(
        &self,
        partition: TopicPartition,
        offset: i64,
        max_bytes: usize,
    ) -> Result<Fetched, ReadError> {
        let plan = match self.partitions.recent(partition, offset, max_bytes as u64) {
            Some(plan) => plan,
            None => match self.plan(partition, offset, max_bytes).await {
                Ok(plan) => plan,
                // The tail of the log can be read while the metadata store cannot.
                Err(ReadError::Metadata(error)) => self
                    .partitions
                    .remembered(partition, offset, max_bytes as u64)
                    .ok_or(ReadError::Metadata(error))?,
                Err(error) => return Err(error),
            },
        };
        match self.read(&plan, offset, max_bytes).await {
            Ok(fetched) => Ok(fetched),
            Err(Failure::Other(error)) => Err(error),
            Err(Failure::Missing(object, _)) => {
                let fresh = self.plan(partition, offset, max_bytes).await?;
                still_named(&fresh.rows, &object)?;
                self.read(&fresh, offset, max_bytes).await.map_err(Failure::last)
            }
        }
    }

    /// Waits until records at or after `offset` are committed in any of `wanted`. Only commits
    /// and deletions that this agent knows of end the wait: look again after a while.
    ///
    /// # Cancel safety
    /// Dropping the future stops waiting; nothing is lost.
    pub async fn wait(&self, wanted: &[(TopicPartition, i64)]) {
        self.partitions.wait(wanted).await;
    }

    /// The partition's ends as last learned; they can be behind the truth. `None`: not learned.
    pub fn last_known(&self, partition: TopicPartition) -> Option<Watermarks> {
        self.partitions.last_known(partition)
    }

    /// When the record at `offset` was appended and how much follows it, if that is known without
    /// asking.
    pub fn position(&self, partition: TopicPartition, offset: i64) -> Option<Position> {
        self.partitions.position(partition, offset)
    }

    /// Forgets a topic that was deleted, and ends the waits for its partitions.
    pub fn forget(&self, topic: TopicId) {
        self.partitions.forget(topic);
    }

    /// Takes note that the metadata store removed a partition's records before `log_start`: from now
    /// on they are not read any more.
    pub fn trimmed(&self, partition: TopicPartition, log_start: i64) {
        self.partitions.trimmed(partition, log_start, Instant::now());
    }

    /// The partition's ends, read from the metadata store after this call began.
    ///
    /// # Errors
    /// [`ReadError::UnknownPartition`]: by the metadata store. [`ReadError::Metadata`]: retry.
    pub async fn watermarks(&self, partition: TopicPartition) -> Result<Watermarks, ReadError> {
        let asked = Instant::now();
        let ends = self.metadata.watermarks(&[partition]).await?.into_iter().next().flatten();
        self.partitions.learned(partition, ends, asked);
        ends.ok_or(ReadError::UnknownPartition)
    }

    /// The first batch that may hold a record of `timestamp_ms` or later, with its offset
    /// written in.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub async fn batch_at_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<RecordBatch>, ReadError> {
        match self.search(partition, timestamp_ms).await {
            Ok(found) => Ok(found),
            Err(Failure::Other(error)) => Err(error),
            Err(Failure::Missing(object, _)) => {
                let first = self.metadata.locate_time(partition, timestamp_ms).await?;
                still_named(first.as_slice(), &object)?;
                self.search(partition, timestamp_ms).await.map_err(Failure::last)
            }
        }
    }

    /// A batch with a record of the greatest timestamp in the log, with its offset written in;
    /// `None` when no record has one.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub async fn latest_batch(
        &self,
        partition: TopicPartition,
    ) -> Result<Option<RecordBatch>, ReadError> {
        let Some(greatest) = self.metadata.max_timestamp(partition).await? else { return Ok(None) };
        let mut found = self.batch_at_time(partition, greatest).await?;
        if found.is_some() {
            return Ok(found);
        }
        // Only a part of the first row that was removed is so late: the index keeps no time for
        // what is left of a row. What is left has its latest record between these two.
        let (mut low, mut high) = (0, greatest);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.batch_at_time(partition, middle).await? {
                Some(batch) => {
                    low = batch.max_timestamp_ms().max(middle) + 1;
                    found = Some(batch);
                }
                None => high = middle,
            }
        }
        Ok(found)
    }

    /// Asks the index for rows from `offset` on.
    async fn plan(
        &self,
        partition: TopicPartition,
        offset: i64,
        max_bytes: usize,
    ) -> Result<Located, ReadError> {
        let asked = Instant::now();
        let wanted = Locate { partition, offset, max_bytes: max_bytes as u64 };
        let located = self.metadata.locate(&[wanted]).await?.into_iter().next().flatten();
        self.partitions.learned(partition, located.as_ref().map(|found| found.watermarks), asked);
        let located = located.ok_or(ReadError::UnknownPartition)?;
        let Watermarks { log_start, high_watermark } = located.watermarks;
        if !(log_start..=high_watermark).contains(&offset) {
            return Err(ReadError::OutOfRange { offset, log_start, high_watermark });
        }
        Ok(located)
    }

    /// Reads the rows of `plan` into one piece. What was read before a failure is served; the
    /// next fetch begins at the failure and reports it.
    async fn read(
        &self,
        plan: &Located,
        offset: i64,
        max_bytes: usize,
    ) -> Result<Fetched, Failure> {
        let mut taken = Taken::new(offset, max_bytes);
        let mut runs =
            stream::iter(plan.rows.clone()).map(|row| self.clone().run(row)).buffered(READ_AHEAD);
        while let Some(run) = runs.next().await {
            let run = match run {
                Err(_) if !taken.is_empty() => break,
                other => other?,
            };
            if !run.iter().all(|(base, batch)| taken.take(*base, batch)) {
                break;
            }
        }
        drop(runs);
        Ok(taken.into_fetched(plan.watermarks))
    }

    async fn search(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<RecordBatch>, Failure> {
        let first = self.metadata.locate_time(partition, timestamp_ms).await;
        let Some(first) = first.map_err(ReadError::from)? else { return Ok(None) };
        let log_start = self.watermarks(partition).await?.log_start;
        let mut rows = vec![first];
        while let Some(next_offset) = rows.last().map(|row| row.next_offset) {
            for row in rows.drain(..).filter(|row| row.max_timestamp_ms >= timestamp_ms) {
                let run = self.clone().run(row).await?;
                let found = run.into_iter().find(|(base, batch)| {
                    batch.max_timestamp_ms() >= timestamp_ms
                        && base + i64::from(batch.records()) > log_start
                });
                if let Some((base, batch)) = found {
                    let bytes = batch.with_base_offset(base, LEADER_EPOCH);
                    return Ok(RecordBatch::from_stored(bytes).ok().and_then(|mut one| one.pop()));
                }
            }
            // Only the part of the row before the log start was late enough: look on.
            let wanted = Locate { partition, offset: next_offset, max_bytes: SEARCH_BYTES };
            let located = self.metadata.locate(&[wanted]).await.map_err(ReadError::from)?;
            rows = located.into_iter().flatten().next().map(|found| found.rows).unwrap_or_default();
        }
        Ok(None)
    }

    /// The batches of a row, each with the offset of its first record.
    async fn run(self, row: IndexRow) -> Result<Vec<(i64, RecordBatch)>, Failure> {
        let block = self.block(&row).await?;
        let corrupt = |message: String| {
            Failure::Other(ReadError::Corrupt { object: row.object.to_string(), message })
        };
        let (from, to) = (row.position as usize, row.position as usize + row.length as usize);
        if to > block.len() {
            return Err(corrupt(format!(
                "bytes {from}..{to} lie outside a block of {}",
                block.len()
            )));
        }
        let batches = RecordBatch::from_stored(block.slice(from..to))
            .map_err(|error| corrupt(error.to_string()))?;
        let mut next = row.base_offset;
        let mut run = Vec::with_capacity(batches.len());
        for batch in batches {
            let base = next;
            next += i64::from(batch.records());
            run.push((base, batch));
        }
        if next != row.next_offset {
            let (base, end) = (row.base_offset, row.next_offset);
            return Err(corrupt(format!("offsets {base}..{end} are held by batches up to {next}")));
        }
        Ok(run)
    }

    async fn block(&self, row: &IndexRow) -> Result<Bytes, Failure> {
        let range = row.block_position..row.block_position + u64::from(row.block_length);
        let read = async { self.store.get(&row.object, range).await.map_err(ReadError::from) };
        let block =
            self.cache.get_or_read(&row.object, row.block_position, row.block_crc, read).await;
        block.map_err(|error| match error {
            ReadError::Store(error) if error.class == labels::StoreError::NotFound => {
                Failure::Missing(row.object.clone(), error)
            }
            other => Failure::Other(other),
        })
    }
}

impl Failure {
    /// The error when there is no further attempt.
    fn last(self) -> ReadError {
        match self {
            Self::Missing(_, error) => ReadError::Store(error),
            Self::Other(error) => error,
        }
    }
}

/// Complains about an index that names an object which the store does not have.
fn still_named(rows: &[IndexRow], missing: &Arc<str>) -> Result<(), ReadError> {
    if rows.iter().any(|row| row.object == *missing) {
        let message = "the index names it, and the store does not have it".into();
        return Err(ReadError::Corrupt { object: missing.to_string(), message });
    }
    Ok(())
}

/// Batches copied together.
struct Taken {
    offset: i64,
    max_bytes: usize,
    bytes: BytesMut,
    records: u64,
}

impl Taken {
    fn new(offset: i64, max_bytes: usize) -> Self {
        Self { offset, max_bytes, bytes: BytesMut::new(), records: 0 }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes a batch; `false` when it does not fit any more.
    fn take(&mut self, base: i64, batch: &RecordBatch) -> bool {
        let end = base + i64::from(batch.records());
        if end <= self.offset {
            return true;
        }
        let source = batch.bytes();
        if !self.is_empty() && self.bytes.len() + source.len() > self.max_bytes {
            return false;
        }
        let at = self.bytes.len();
        self.bytes.extend_from_slice(source);
        if let Some(header) = self.bytes.get_mut(at..at + 16) {
            header[..8].copy_from_slice(&base.to_be_bytes());
            header[12..].copy_from_slice(&LEADER_EPOCH.to_be_bytes());
        }
        self.records += (end - base.max(self.offset)).unsigned_abs();
        true
    }

    fn into_fetched(self, watermarks: Watermarks) -> Fetched {
        let batches = if self.bytes.is_empty() { Vec::new() } else { vec![self.bytes.freeze()] };
        Fetched { watermarks, batches, records: self.records }
    }
}
