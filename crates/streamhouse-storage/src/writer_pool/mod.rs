//! The writer pool: from batches to committed segments.
//!
//! The way of a batch: `queue` (the open segment) → `flush` (a slot is free: the segment closes
//! and is stored) → `commit` (all consecutive stored segments, one transaction) → `outcome`
//! (memory, cache and waiters learn of it). `producers` remembers which idempotent producers
//! must send a failed batch again before any later one is taken.
//!
//! Invariant: segments are committed in the order in which they were closed, and a batch is
//! answered only after its segment is stored and its commit is decided.

mod commit;
mod config;
mod flush;
mod health;
mod meters;
mod outcome;
mod producers;
mod queue;

pub use config::WriterConfig;

use crate::batch::RecordBatch;
use crate::cache::Cache;
use crate::error::AppendError;
use crate::object_store::ObjectStore;
use crate::partitions::Partitions;
use futures_util::future::join_all;
use opentelemetry::trace::SpanContext;
use queue::Shared;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use streamhouse_metadata::{MetadataStore, TopicPartition};
use streamhouse_observability::instruments::SegmentMetrics;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// A batch on its way into the log.
#[derive(Debug)]
pub struct Append {
    /// Where it goes.
    pub partition: TopicPartition,
    /// The batch.
    pub batch: RecordBatch,
    /// The sampled span that waits for it, if any.
    pub span: Option<SpanContext>,
}

/// A batch that is durable and committed.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The offset of its first record.
    pub base_offset: i64,
    /// Whether it had been part of the log before.
    pub duplicate: bool,
    /// When it was appended, by the agent's clock, in milliseconds since the epoch.
    pub append_time_ms: i64,
    /// The flush that made it durable, if that was traced.
    pub flush: Option<SpanContext>,
}

/// Groups batches of many partitions into segments, stores them, and commits them in order.
/// Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct WriterPool {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl WriterPool {
    /// Starts the pool's two tasks on the current runtime: one closes and stores segments, one
    /// commits them.
    pub fn start(
        config: WriterConfig,
        store: Arc<dyn ObjectStore>,
        metadata: Arc<dyn MetadataStore>,
        partitions: Partitions,
        cache: Cache,
        metrics: &SegmentMetrics,
    ) -> Self {
        let shared = Arc::new(Shared::new(config, metrics));
        let (closed, to_commit) = mpsc::unbounded_channel();
        let flusher = flush::Flusher::new(shared.clone(), store, cache, closed);
        let committer = commit::Committer::new(shared.clone(), metadata, partitions);
        let tasks = vec![tokio::spawn(flusher.run()), tokio::spawn(committer.run(to_commit))];
        Self { shared, tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// Takes a batch in. The order of calls is the order of the log; the returned future only
    /// waits for the outcome.
    ///
    /// # Errors
    /// [`AppendError::Rejected`]: the commit looked at the batch and refused it.
    /// [`AppendError::PredecessorFailed`]: retry, after the batch that failed before.
    /// [`AppendError::Store`], [`AppendError::Metadata`]: retry.
    /// [`AppendError::ShuttingDown`]: retry elsewhere; the batch may or may not be in the log.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the batch back.
    pub fn append(
        &self,
        append: Append,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + use<> {
        let answer = self.shared.append(append);
        async move { answer.await.unwrap_or(Err(AppendError::ShuttingDown)) }
    }

    /// Refuses further batches, then stores and commits what is there. Every batch is answered
    /// when this returns: with its outcome, or, after `within`, with
    /// [`AppendError::ShuttingDown`]. Tells whether all was done in time.
    pub async fn shutdown(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        self.shared.refuse();
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = timeout_at(deadline, join_all(&mut tasks)).await;
        if ended.is_err() {
            // The committer first: what it would make of PUTs that are given up is no outcome.
            for task in tasks.iter_mut().rev().filter(|task| !task.is_finished()) {
                task.abort();
                let _ = task.await; // it ends at its next await
            }
            self.shared.abandon();
        }
        ended.is_ok()
    }

    /// Stamps further segments at `floor_ms` or above, in milliseconds since the epoch: the garbage
    /// collector's floor, below which no segment can be committed.
    pub fn raise_floor(&self, floor_ms: u64) {
        self.shared.raise_floor(floor_ms);
    }

    /// How long the oldest batch that is not answered has been waiting; `None` when none waits.
    pub fn oldest_unacknowledged(&self) -> Option<Duration> {
        self.shared.oldest()
    }

    /// Sets the gauge `streamhouse_segment_unacknowledged_age_seconds`: to be called before
    /// metrics are collected.
    pub fn record_age(&self) {
        self.shared.meters.age(self.oldest_unacknowledged());
    }

    /// How long the pool has made no progress although batches wait; `None` when none waits.
    pub fn heartbeat(&self) -> Option<Duration> {
        self.shared.stalled()
    }
}
