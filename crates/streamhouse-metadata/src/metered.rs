//! A decorator that measures any metadata store.
//!
//! Position: outermost, so that waiting for the store's own queues is part of the time.

use crate::error::MetadataError;
use crate::store::MetadataStore;
use crate::types::{
    Agent, BatchOutcome, CommittedOffset, IndexRow, Locate, Located, OffsetCommit,
    OffsetCommitOutcome, Position, ProducerIdentity, Retention, RetentionChange, Segment,
    SegmentId, StoredGroup, Topic, TopicId, TopicPartition, Totals, Trim, TrimOutcome,
    UnusedSegment, Watermarks,
};
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use streamhouse_observability::declare::{ClosedLabel, CounterCell, HistogramCell, PerValue};
use streamhouse_observability::instruments::MetadataMetrics;
use streamhouse_observability::labels::{MetadataError as Class, MetadataOperation, Outcome};
use streamhouse_observability::spans;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

/// Counts, times and traces every call to `S`.
///
/// Recorded as `streamhouse_metadata_duration_seconds` (s; `operation`, `outcome`), once per call,
/// and `streamhouse_metadata_errors_total` (`operation`, `error`). A dropped call counts as
/// `outcome="cancelled"`.
pub struct Metered<S> {
    store: S,
    handles: PerValue<MetadataOperation, Handles>,
}

impl<S: fmt::Debug> fmt::Debug for Metered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("store", &self.store).finish_non_exhaustive()
    }
}

struct Handles {
    duration: PerValue<Outcome, HistogramCell>,
    errors: PerValue<Class, CounterCell>,
}

impl<S: MetadataStore> Metered<S> {
    /// Measures `store` with `metrics`.
    pub fn new(metrics: &MetadataMetrics, store: S) -> Self {
        let handles = PerValue::bind(|operation| Handles {
            duration: metrics.duration.bind_each(|outcome| (operation, outcome)),
            errors: metrics.errors.bind_each(|class| (operation, class)),
        });
        Self { store, handles }
    }

    async fn measure<T>(
        &self,
        operation: MetadataOperation,
        call: impl Future<Output = Result<T, MetadataError>> + Send,
    ) -> Result<T, MetadataError> {
        let span = spans::metadata(self.store.system(), operation);
        let attempt = Attempt::begin(self.handles.of(operation), span.clone());
        attempt.settle(call.instrument(span).await)
    }
}

/// One call. Dropped unsettled, it counts as cancelled.
struct Attempt<'h> {
    handles: &'h Handles,
    span: Span,
    begun: Instant,
    outcome: Outcome,
}

impl<'h> Attempt<'h> {
    fn begin(handles: &'h Handles, span: Span) -> Self {
        Self { handles, span, begun: Instant::now(), outcome: Outcome::Cancelled }
    }

    fn settle<T>(mut self, result: Result<T, MetadataError>) -> Result<T, MetadataError> {
        self.outcome = match &result {
            Ok(_) => Outcome::Ok,
            Err(error) => {
                self.handles.errors.of(error.class()).add(1);
                spans::failed(&self.span, error.class().as_str());
                Outcome::Error
            }
        };
        result
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.handles.duration.of(self.outcome).record(self.begun.elapsed().as_secs_f64());
    }
}

#[async_trait]
impl<S: MetadataStore> MetadataStore for Metered<S> {
    fn system(&self) -> &'static str {
        self.store.system()
    }

    async fn commit(&self, segments: &[Segment]) -> Result<Vec<Vec<BatchOutcome>>, MetadataError> {
        self.measure(MetadataOperation::Commit, self.store.commit(segments)).await
    }

    async fn settle(
        &self,
        segments: &[Segment],
    ) -> Result<Vec<Option<Vec<BatchOutcome>>>, MetadataError> {
        self.measure(MetadataOperation::Fate, self.store.settle(segments)).await
    }

    async fn locate(&self, wanted: &[Locate]) -> Result<Vec<Option<Located>>, MetadataError> {
        self.measure(MetadataOperation::Locate, self.store.locate(wanted)).await
    }

    async fn locate_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<IndexRow>, MetadataError> {
        let call = self.store.locate_time(partition, timestamp_ms);
        self.measure(MetadataOperation::Locate, call).await
    }

    async fn max_timestamp(&self, partition: TopicPartition) -> Result<Option<i64>, MetadataError> {
        self.measure(MetadataOperation::Locate, self.store.max_timestamp(partition)).await
    }

    async fn watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Watermarks>>, MetadataError> {
        self.measure(MetadataOperation::Watermarks, self.store.watermarks(partitions)).await
    }

    async fn topics(&self) -> Result<Vec<Topic>, MetadataError> {
        self.measure(MetadataOperation::Topics, self.store.topics()).await
    }

    async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        retention: Retention,
    ) -> Result<Topic, MetadataError> {
        let call = self.store.create_topic(name, partitions, retention);
        self.measure(MetadataOperation::Alter, call).await
    }

    async fn create_partitions(&self, topic: TopicId, total: i32) -> Result<Topic, MetadataError> {
        self.measure(MetadataOperation::Alter, self.store.create_partitions(topic, total)).await
    }

    async fn delete_topic(&self, topic: TopicId) -> Result<(), MetadataError> {
        self.measure(MetadataOperation::Alter, self.store.delete_topic(topic)).await
    }

    async fn init_producer(
        &self,
        known: Option<ProducerIdentity>,
    ) -> Result<ProducerIdentity, MetadataError> {
        self.measure(MetadataOperation::Producer, self.store.init_producer(known)).await
    }

    async fn register_agent(
        &self,
        incarnation: Uuid,
        host: &str,
        port: u16,
        lease_ms: i64,
    ) -> Result<Agent, MetadataError> {
        let call = self.store.register_agent(incarnation, host, port, lease_ms);
        self.measure(MetadataOperation::Agents, call).await
    }

    async fn remove_agent(&self, incarnation: Uuid) -> Result<(), MetadataError> {
        self.measure(MetadataOperation::Agents, self.store.remove_agent(incarnation)).await
    }

    async fn agents(&self) -> Result<Vec<Agent>, MetadataError> {
        self.measure(MetadataOperation::Agents, self.store.agents()).await
    }

    async fn cluster_id(&self) -> Result<Uuid, MetadataError> {
        self.measure(MetadataOperation::Stats, self.store.cluster_id()).await
    }

    async fn totals(&self) -> Result<Totals, MetadataError> {
        self.measure(MetadataOperation::Stats, self.store.totals()).await
    }

    async fn ping(&self) -> Result<(), MetadataError> {
        self.measure(MetadataOperation::Ping, self.store.ping()).await
    }

    async fn set_retention(
        &self,
        topic: TopicId,
        change: RetentionChange,
    ) -> Result<Topic, MetadataError> {
        self.measure(MetadataOperation::Alter, self.store.set_retention(topic, change)).await
    }

    async fn groups(&self) -> Result<Vec<StoredGroup>, MetadataError> {
        self.measure(MetadataOperation::Groups, self.store.groups()).await
    }

    async fn take_groups(
        &self,
        names: &[Arc<str>],
        create: bool,
    ) -> Result<Vec<Option<StoredGroup>>, MetadataError> {
        self.measure(MetadataOperation::Groups, self.store.take_groups(names, create)).await
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
        let (store, kind) = (&self.store, protocol_type);
        let call = store.begin_generation(group, epoch, generation, kind, members, subscribed);
        self.measure(MetadataOperation::Groups, call).await
    }

    async fn commit_offsets(
        &self,
        commits: &[OffsetCommit],
    ) -> Result<Vec<OffsetCommitOutcome>, MetadataError> {
        self.measure(MetadataOperation::Offsets, self.store.commit_offsets(commits)).await
    }

    async fn offsets(
        &self,
        names: &[Arc<str>],
    ) -> Result<Vec<Vec<(TopicPartition, CommittedOffset)>>, MetadataError> {
        self.measure(MetadataOperation::Offsets, self.store.offsets(names)).await
    }

    async fn delete_group(&self, group: &str, epoch: i64) -> Result<bool, MetadataError> {
        self.measure(MetadataOperation::Groups, self.store.delete_group(group, epoch)).await
    }

    async fn expire_groups(&self, idle_ms: i64) -> Result<Vec<Arc<str>>, MetadataError> {
        self.measure(MetadataOperation::Groups, self.store.expire_groups(idle_ms)).await
    }

    async fn trim(
        &self,
        wanted: &[(TopicPartition, Trim)],
    ) -> Result<Vec<TrimOutcome>, MetadataError> {
        self.measure(MetadataOperation::Trim, self.store.trim(wanted)).await
    }

    async fn positions(
        &self,
        wanted: &[(TopicPartition, i64)],
    ) -> Result<Vec<Option<Position>>, MetadataError> {
        self.measure(MetadataOperation::Locate, self.store.positions(wanted)).await
    }

    async fn raise_floor(&self, grace_ms: i64) -> Result<i64, MetadataError> {
        self.measure(MetadataOperation::Garbage, self.store.raise_floor(grace_ms)).await
    }

    async fn unused_segments(&self) -> Result<(Vec<UnusedSegment>, u64), MetadataError> {
        self.measure(MetadataOperation::Garbage, self.store.unused_segments()).await
    }

    async fn forget_segments(&self, ids: &[SegmentId]) -> Result<(), MetadataError> {
        self.measure(MetadataOperation::Garbage, self.store.forget_segments(ids)).await
    }

    async fn is_known(&self, ids: &[SegmentId]) -> Result<Vec<bool>, MetadataError> {
        self.measure(MetadataOperation::Garbage, self.store.is_known(ids)).await
    }
}
