//! The one trait behind which every metadata store stands.

use crate::error::MetadataError;
use crate::types::{
    Agent, BatchOutcome, CommittedOffset, IndexRow, Locate, Located, OffsetCommit,
    OffsetCommitOutcome, Position, ProducerIdentity, Retention, RetentionChange, Segment,
    SegmentId, StoredGroup, Topic, TopicId, TopicPartition, Totals, Trim, TrimOutcome,
    UnusedSegment, Watermarks,
};
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// The order of the log: topics, the index from offsets to objects, producers, groups, agents.
///
/// Every call is one transaction and a number of statements that does not grow with its input.
/// Calls are cancel safe: a dropped call either happens as a whole or not at all.
#[async_trait]
pub trait MetadataStore: fmt::Debug + Send + Sync + 'static {
    /// The database behind it, by its name in the semantic conventions (`db.system.name`).
    fn system(&self) -> &'static str {
        "other_sql"
    }

    /// Commits all `segments` in one transaction, in order, and tells for each what became of its
    /// batches, in the order of its blocks. No outcome stops the others.
    ///
    /// # Errors
    /// [`MetadataError::InDoubt`]: call [`settle`](Self::settle) with the same segments before
    /// any later commit. Any other error: nothing was committed.
    async fn commit(&self, segments: &[Segment]) -> Result<Vec<Vec<BatchOutcome>>, MetadataError>;

    /// Decides the fate of segments whose commit is in doubt: the outcomes of a segment that was
    /// committed, `None` for one that was not and now never will be.
    async fn settle(
        &self,
        segments: &[Segment],
    ) -> Result<Vec<Option<Vec<BatchOutcome>>>, MetadataError>;

    /// Finds index rows from offsets on, `None` for a partition that does not exist.
    async fn locate(&self, wanted: &[Locate]) -> Result<Vec<Option<Located>>, MetadataError>;

    /// The first row at or after the log start that may hold a record of this time or later.
    async fn locate_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<IndexRow>, MetadataError>;

    /// The greatest timestamp of a partition's records, in milliseconds; `None` when none has one,
    /// and for a partition that does not exist. Right for whole runs: see [`trim`](Self::trim).
    async fn max_timestamp(&self, partition: TopicPartition) -> Result<Option<i64>, MetadataError>;

    /// The ends of partitions, `None` for one that does not exist.
    async fn watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Watermarks>>, MetadataError>;

    /// All topics, by name.
    async fn topics(&self) -> Result<Vec<Topic>, MetadataError>;

    /// Creates a topic.
    async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        retention: Retention,
    ) -> Result<Topic, MetadataError>;

    /// Raises a topic's number of partitions to `total`.
    async fn create_partitions(&self, topic: TopicId, total: i32) -> Result<Topic, MetadataError>;

    /// Deletes a topic with its index. Its objects become garbage where nobody else uses them.
    async fn delete_topic(&self, topic: TopicId) -> Result<(), MetadataError>;

    /// Gives a fresh producer id, or raises the epoch of a known one.
    async fn init_producer(
        &self,
        known: Option<ProducerIdentity>,
    ) -> Result<ProducerIdentity, MetadataError>;

    /// Registers an agent, or renews its registration for `lease_ms`.
    async fn register_agent(
        &self,
        incarnation: Uuid,
        host: &str,
        port: u16,
        lease_ms: i64,
    ) -> Result<Agent, MetadataError>;

    /// Ends an agent's registration.
    async fn remove_agent(&self, incarnation: Uuid) -> Result<(), MetadataError>;

    /// The agents whose registration has not run out, by id.
    async fn agents(&self) -> Result<Vec<Agent>, MetadataError>;

    /// The cluster's id, made when the store was.
    async fn cluster_id(&self) -> Result<Uuid, MetadataError>;

    /// What is stored, all together.
    async fn totals(&self) -> Result<Totals, MetadataError>;

    /// Succeeds when the store can write.
    async fn ping(&self) -> Result<(), MetadataError>;

    /// Changes how long and how much of a topic is kept, field by field.
    async fn set_retention(
        &self,
        topic: TopicId,
        change: RetentionChange,
    ) -> Result<Topic, MetadataError>;

    /// Moves the starts of logs; in the order of `wanted`, one does not stop the others.
    ///
    /// [`Trim::To`] and [`Trim::ToEnd`] move at once, the others past whole runs and in slices;
    /// what the index keeps of removed records goes in slices too. A slice is a constant number of
    /// rows, shared by the partitions of the call: call again with those that tell `more`, until
    /// none does. The store finishes by itself, later, what is left of moves that were made.
    ///
    /// While a log begins within a run, [`max_timestamp`](Self::max_timestamp) and
    /// [`locate_time`](Self::locate_time) still know the removed records of this run.
    async fn trim(
        &self,
        wanted: &[(TopicPartition, Trim)],
    ) -> Result<Vec<TrimOutcome>, MetadataError>;

    /// Where records lie, in the order of the question; `None` at the end of the log or for a
    /// partition that does not exist. An offset before the log start stands for the log start.
    async fn positions(
        &self,
        wanted: &[(TopicPartition, i64)],
    ) -> Result<Vec<Option<Position>>, MetadataError>;

    /// All groups, by name.
    async fn groups(&self) -> Result<Vec<StoredGroup>, MetadataError>;

    /// Takes groups: gives them an owner epoch that was never given before, so that whatever an
    /// earlier owner still writes is refused, and stores that they have no members. `None` for one
    /// that does not exist; with `create` there is none such.
    ///
    /// Create for a client that joins or commits: this also makes the group active now. Without
    /// `create` only a group that had members does, or restarts would put off every expiry.
    async fn take_groups(
        &self,
        names: &[Arc<str>],
        create: bool,
    ) -> Result<Vec<Option<StoredGroup>>, MetadataError>;

    /// Stores that a generation begins (0 members: that the group is empty), for its owner only;
    /// false when the group is somebody else's by now or deleted, or the stored generation is
    /// above. The same generation may be stored again.
    ///
    /// `subscribed` are the topics that the members subscribe to, if that is known. What the last
    /// members subscribed to is kept when there are none any more.
    ///
    /// A group that is created begins above the generations of all that were deleted: a member of
    /// a former group of its name never finds its own generation again.
    async fn begin_generation(
        &self,
        group: &str,
        epoch: i64,
        generation: i32,
        protocol_type: &str,
        members: usize,
        subscribed: Option<&[Arc<str>]>,
    ) -> Result<bool, MetadataError>;

    /// Commits offsets of any groups in one transaction, in order; tells for each what became of
    /// it. Of two offsets for one partition the later one is kept.
    async fn commit_offsets(
        &self,
        commits: &[OffsetCommit],
    ) -> Result<Vec<OffsetCommitOutcome>, MetadataError>;

    /// The offsets of groups, in the order of `names`, each by partition; none for a group that
    /// does not exist. Those of deleted topics are gone with the topic.
    async fn offsets(
        &self,
        names: &[Arc<str>],
    ) -> Result<Vec<Vec<(TopicPartition, CommittedOffset)>>, MetadataError>;

    /// Deletes a group with its offsets, for its owner only; false when it is somebody else's.
    async fn delete_group(&self, group: &str, epoch: i64) -> Result<bool, MetadataError>;

    /// Deletes groups without members that were inactive for longer than `idle_ms`, a slice;
    /// returns their names: call again until there are none.
    async fn expire_groups(&self, idle_ms: i64) -> Result<Vec<Arc<str>>, MetadataError>;

    /// Raises the floor below which no segment can be committed any more to `grace_ms` before
    /// now, by the store's clock; it never falls. Returns the floor.
    async fn raise_floor(&self, grace_ms: i64) -> Result<i64, MetadataError>;

    /// Some segments stamped below the floor that no record refers to, and how many no record
    /// refers to in all, whatever their stamp; without those whose objects are deleted.
    async fn unused_segments(&self) -> Result<(Vec<UnusedSegment>, u64), MetadataError>;

    /// Forgets the objects of segments, which are deleted, and the segments themselves as soon as
    /// the answers of their commits need not be repeated any more. One that was not told as unused
    /// stays.
    async fn forget_segments(&self, ids: &[SegmentId]) -> Result<(), MetadataError>;

    /// Tells which of `ids` have a row, live or dead, in their order: the objects of the others,
    /// stamped below the floor, are orphans.
    async fn is_known(&self, ids: &[SegmentId]) -> Result<Vec<bool>, MetadataError>;
}
