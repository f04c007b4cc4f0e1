//! The metadata store in one SQLite file.
//!
//! One task owns the write connection and takes produce commits first; reads use a small pool;
//! another connection moves the write-ahead log into the database.
//!
//! Invariant: what a commit answered survives the loss of power (`synchronous=FULL`).
//! Invariant: no partition's rows are touched one statement at a time.

mod agents;
mod checkpoint;
mod commit;
mod failure;
mod garbage;
mod groups;
mod index;
mod lock;
mod offsets;
mod open;
mod producers;
mod recheck;
mod session;
mod sweep;
mod topics;
mod trim;
mod writer;

use self::failure::failed;
use self::session::Session;
use self::writer::{Lane, Writer};
use crate::error::MetadataError;
use crate::store::MetadataStore;
use crate::types::{
    Agent, BatchOutcome, CommittedOffset, IndexRow, Locate, Located, OffsetCommit,
    OffsetCommitOutcome, Position, ProducerIdentity, Retention, RetentionChange, Segment,
    SegmentId, StoredGroup, Topic, TopicId, TopicPartition, Totals, Trim, TrimOutcome,
    UnusedSegment, Watermarks,
};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::SqlitePool;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, Notify, oneshot, watch};
use uuid::Uuid;

pub use self::open::{APPEND_LAG, SqliteOptions};

/// The metadata store in one SQLite file. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    cluster_id: Uuid,
    /// How far behind the store's clock the time of an append may lie.
    append_lag_ms: i64,
    writer: Writer,
    readers: SqlitePool,
    statements: Arc<AtomicU64>,
    /// Wakes the sweeper when partitions or groups were deleted.
    doomed: Arc<Notify>,
    /// Set, or dropped with the store: the tasks end.
    stop: watch::Sender<bool>,
    /// Ends when the writer has closed its connection and given up the lock.
    ended: Mutex<oneshot::Receiver<()>>,
}

impl SqliteStore {
    /// Opens the store at `path`, creating or migrating it as needed.
    ///
    /// # Errors
    /// [`MetadataError::Refused`]: another process has it open, its directory is not writable,
    /// or a newer version wrote it. [`MetadataError::Corrupt`]: the file is damaged or not ours.
    pub async fn open(path: &Path, options: SqliteOptions) -> Result<Self, MetadataError> {
        open::open(path, options, None).await
    }

    /// Opens a fresh store that goes with its last clone: a private file in the system's
    /// temporary directory, whose writes are not synced.
    ///
    /// # Errors
    /// [`MetadataError::Refused`]: the temporary directory is not writable.
    pub async fn in_memory() -> Result<Self, MetadataError> {
        Self::in_memory_with(SqliteOptions::default()).await
    }

    /// As [`in_memory`](Self::in_memory), with `options`, but for `durable`.
    ///
    /// # Errors
    /// As [`in_memory`](Self::in_memory).
    pub async fn in_memory_with(options: SqliteOptions) -> Result<Self, MetadataError> {
        open::in_memory(options).await
    }

    /// Closes the store for all its clones: finishes what has been asked for, refuses what comes
    /// later, and returns when another process can open it.
    pub async fn close(&self) {
        self.inner.stop.send_replace(true);
        self.inner.readers.close().await;
        let mut ended = self.inner.ended.lock().await;
        if !ended.is_terminated() {
            // An error is the expected end: the writer drops its side.
            let _ = (&mut *ended).await;
        }
    }

    /// Where the store lies.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// How many statements this store has executed since it was opened.
    pub fn statements(&self) -> u64 {
        self.inner.statements.load(Ordering::Relaxed)
    }

    async fn write<T, W>(&self, lane: Lane, work: W) -> Result<T, MetadataError>
    where
        T: Send + 'static,
        W: for<'s> FnOnce(&'s mut Session<'_>) -> BoxFuture<'s, Result<T, MetadataError>>
            + Send
            + 'static,
    {
        self.inner.writer.transact(lane, work).await
    }

    async fn read<T, R>(&self, work: R) -> Result<T, MetadataError>
    where
        R: for<'s> FnOnce(&'s mut Session<'_>) -> BoxFuture<'s, Result<T, MetadataError>> + Send,
    {
        let mut connection = self.inner.readers.acquire().await.map_err(failed)?;
        work(&mut Session::new(&mut connection, &self.inner.statements)).await
    }
}

#[async_trait]
impl MetadataStore for SqliteStore {
    fn system(&self) -> &'static str {
        "sqlite"
    }

    async fn commit(&self, segments: &[Segment]) -> Result<Vec<Vec<BatchOutcome>>, MetadataError> {
        if segments.is_empty() {
            return Ok(Vec::new());
        }
        let (segments, lag_ms) = (segments.to_vec(), self.inner.append_lag_ms);
        self.write(Lane::Produce, move |session| {
            Box::pin(commit::commit(session, segments, lag_ms))
        })
        .await
    }

    async fn settle(
        &self,
        segments: &[Segment],
    ) -> Result<Vec<Option<Vec<BatchOutcome>>>, MetadataError> {
        if segments.is_empty() {
            return Ok(Vec::new());
        }
        let segments = segments.to_vec();
        self.write(Lane::Produce, move |session| Box::pin(commit::settle(session, segments))).await
    }

    async fn locate(&self, wanted: &[Locate]) -> Result<Vec<Option<Located>>, MetadataError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = wanted.to_vec();
        self.read(move |session| Box::pin(index::locate(session, wanted))).await
    }

    async fn locate_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<IndexRow>, MetadataError> {
        self.read(move |session| Box::pin(index::locate_time(session, partition, timestamp_ms)))
            .await
    }

    async fn max_timestamp(&self, partition: TopicPartition) -> Result<Option<i64>, MetadataError> {
        self.read(move |session| Box::pin(index::max_timestamp(session, partition))).await
    }

    async fn watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Watermarks>>, MetadataError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let partitions = partitions.to_vec();
        self.read(move |session| Box::pin(index::watermarks(session, partitions))).await
    }

    async fn topics(&self) -> Result<Vec<Topic>, MetadataError> {
        self.read(|session| Box::pin(topics::all(session))).await
    }

    async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        retention: Retention,
    ) -> Result<Topic, MetadataError> {
        crate::names::check_topic(name)?;
        crate::names::check_partitions(partitions)?;
        crate::names::check_retention(retention)?;
        let name: Arc<str> = name.into();
        self.write(Lane::Other, move |session| {
            Box::pin(topics::create(session, name, partitions, retention))
        })
        .await
    }

    async fn create_partitions(&self, topic: TopicId, total: i32) -> Result<Topic, MetadataError> {
        crate::names::check_partitions(total)?;
        self.write(Lane::Other, move |session| Box::pin(topics::grow(session, topic, total))).await
    }

    async fn delete_topic(&self, topic: TopicId) -> Result<(), MetadataError> {
        self.write(Lane::Other, move |session| Box::pin(topics::delete(session, topic))).await?;
        self.inner.doomed.notify_one();
        Ok(())
    }

    async fn init_producer(
        &self,
        known: Option<ProducerIdentity>,
    ) -> Result<ProducerIdentity, MetadataError> {
        self.write(Lane::Other, move |session| Box::pin(producers::init(session, known))).await
    }

    async fn register_agent(
        &self,
        incarnation: Uuid,
        host: &str,
        port: u16,
        lease_ms: i64,
    ) -> Result<Agent, MetadataError> {
        if lease_ms < 0 {
            return Err(MetadataError::Refused(format!(
                "a lease of {lease_ms} ms is not possible: it must be at least 0"
            )));
        }
        let host = host.to_owned();
        self.write(Lane::Other, move |session| {
            Box::pin(agents::register(session, incarnation, host, port, lease_ms))
        })
        .await
    }

    async fn remove_agent(&self, incarnation: Uuid) -> Result<(), MetadataError> {
        self.write(Lane::Other, move |session| Box::pin(agents::remove(session, incarnation))).await
    }

    async fn agents(&self) -> Result<Vec<Agent>, MetadataError> {
        self.read(|session| Box::pin(agents::alive(session))).await
    }

    async fn cluster_id(&self) -> Result<Uuid, MetadataError> {
        Ok(self.inner.cluster_id)
    }

    async fn totals(&self) -> Result<Totals, MetadataError> {
        self.read(|session| Box::pin(topics::totals(session))).await
    }

    async fn ping(&self) -> Result<(), MetadataError> {
        self.write(Lane::Other, |session| Box::pin(topics::ping(session))).await
    }

    async fn set_retention(
        &self,
        topic: TopicId,
        change: RetentionChange,
    ) -> Result<Topic, MetadataError> {
        crate::names::check_change(change)?;
        self.write(Lane::Other, move |session| {
            Box::pin(topics::set_retention(session, topic, change))
        })
        .await
    }

    async fn trim(
        &self,
        wanted: &[(TopicPartition, Trim)],
    ) -> Result<Vec<TrimOutcome>, MetadataError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = wanted.to_vec();
        self.write(Lane::Other, move |session| Box::pin(trim::trim(session, wanted))).await
    }

    async fn positions(
        &self,
        wanted: &[(TopicPartition, i64)],
    ) -> Result<Vec<Option<Position>>, MetadataError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = wanted.to_vec();
        self.read(move |session| Box::pin(index::positions(session, wanted))).await
    }

    async fn groups(&self) -> Result<Vec<StoredGroup>, MetadataError> {
        self.read(|session| Box::pin(groups::all(session))).await
    }

    async fn take_groups(
        &self,
        names: &[Arc<str>],
        create: bool,
    ) -> Result<Vec<Option<StoredGroup>>, MetadataError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names = names.to_vec();
        self.write(Lane::Other, move |session| Box::pin(groups::take(session, names, create))).await
    }

    async fn begin_generation(
        &self,
        group: &str,
        epoch: i64,
        generation: i32,
        protocol_type: &str,
        members: usize,
        subscribed: Option<&[Arc<str>]>,
    ) -> Result<bool, MetadataError> {
        let (group, protocol_type) = (group.to_owned(), protocol_type.to_owned());
        let members = i64::try_from(members).unwrap_or(i64::MAX);
        let subscribed = subscribed
            .map(|names| commit::json(&names.iter().map(|name| &**name).collect::<Vec<&str>>()));
        let subscribed = subscribed.transpose()?;
        let begin = groups::Begin { group, epoch, generation, protocol_type, members, subscribed };
        self.write(Lane::Other, move |session| Box::pin(groups::begin(session, begin))).await
    }

    async fn commit_offsets(
        &self,
        commits: &[OffsetCommit],
    ) -> Result<Vec<OffsetCommitOutcome>, MetadataError> {
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        let commits = commits.to_vec();
        self.write(Lane::Other, move |session| Box::pin(offsets::commit(session, commits))).await
    }

    async fn offsets(
        &self,
        names: &[Arc<str>],
    ) -> Result<Vec<Vec<(TopicPartition, CommittedOffset)>>, MetadataError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names = names.to_vec();
        self.read(move |session| Box::pin(offsets::read(session, names))).await
    }

    async fn delete_group(&self, group: &str, epoch: i64) -> Result<bool, MetadataError> {
        let group = group.to_owned();
        let delete =
            self.write(Lane::Other, move |session| Box::pin(groups::delete(session, group, epoch)));
        let deleted = delete.await?;
        self.inner.doomed.notify_one();
        Ok(deleted)
    }

    async fn expire_groups(&self, idle_ms: i64) -> Result<Vec<Arc<str>>, MetadataError> {
        if idle_ms < 0 {
            return Err(MetadataError::Refused(format!(
                "groups cannot expire after {idle_ms} ms: it must be at least 0"
            )));
        }
        let expire =
            self.write(Lane::Other, move |session| Box::pin(groups::expire(session, idle_ms)));
        let expired = expire.await?;
        self.inner.doomed.notify_one();
        Ok(expired)
    }

    async fn raise_floor(&self, grace_ms: i64) -> Result<i64, MetadataError> {
        if grace_ms < 0 {
            return Err(MetadataError::Refused(format!(
                "a grace of {grace_ms} ms is not possible: it must be at least 0"
            )));
        }
        self.write(Lane::Other, move |session| Box::pin(garbage::raise_floor(session, grace_ms)))
            .await
    }

    async fn unused_segments(&self) -> Result<(Vec<UnusedSegment>, u64), MetadataError> {
        self.read(|session| Box::pin(garbage::unused(session))).await
    }

    async fn forget_segments(&self, ids: &[SegmentId]) -> Result<(), MetadataError> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids = ids.to_vec();
        self.write(Lane::Other, move |session| Box::pin(garbage::forget(session, ids))).await
    }

    async fn is_known(&self, ids: &[SegmentId]) -> Result<Vec<bool>, MetadataError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids = ids.to_vec();
        self.read(move |session| Box::pin(garbage::is_known(session, ids))).await
    }
}
