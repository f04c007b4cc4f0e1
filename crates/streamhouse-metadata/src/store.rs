//! The one trait behind which every metadata store stands.

use crate::error::MetadataError;
use crate::types::{
    Agent, BatchOutcome, IndexRow, Locate, Located, ProducerIdentity, Segment, Topic, TopicId,
    TopicPartition, Totals, Watermarks,
};
use async_trait::async_trait;
use std::fmt;
use uuid::Uuid;

/// The order of the log: topics, the index from offsets to objects, producers, agents.
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
    /// and for a partition that does not exist.
    async fn max_timestamp(&self, partition: TopicPartition) -> Result<Option<i64>, MetadataError>;

    /// The ends of partitions, `None` for one that does not exist.
    async fn watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Watermarks>>, MetadataError>;

    /// All topics, by name.
    async fn topics(&self) -> Result<Vec<Topic>, MetadataError>;

    /// Creates a topic.
    async fn create_topic(&self, name: &str, partitions: i32) -> Result<Topic, MetadataError>;

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
}
