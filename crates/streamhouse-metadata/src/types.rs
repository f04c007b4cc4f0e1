//! What the metadata store keeps, as plain values.

use std::fmt;
use std::sync::Arc;
use ulid::Ulid;
use uuid::Uuid;

/// Identifies a topic for ever: a topic created again under the same name has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub Uuid);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number, from 0.
    pub partition: i32,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: i32,
    /// When it was created, in milliseconds since the epoch.
    pub created_ms: i64,
    /// How long and how much of it is kept.
    pub retention: Retention,
}

/// How long and how much of a topic's partitions is kept. `None`: as the broker's default says;
/// −1: without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds since a record was appended (`retention.ms`).
    pub ms: Option<i64>,
    /// Bytes of one partition's record batches that are kept at least (`retention.bytes`).
    pub bytes: Option<i64>,
}

/// A change of a [`Retention`]: a field that is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionChange {
    /// What [`Retention::ms`] becomes.
    pub ms: Option<Option<i64>>,
    /// What [`Retention::bytes`] becomes.
    pub bytes: Option<Option<i64>>,
}

/// Identifies a segment; its stamp is the time of its making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub Ulid);

impl SegmentId {
    /// The stamp in milliseconds since the epoch.
    pub fn stamp_ms(self) -> u64 {
        self.0.timestamp_ms()
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stored segment object that waits for its commit.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its id, whose stamp is also in the object's name.
    pub id: SegmentId,
    /// The object's name in the object store.
    pub object: Arc<str>,
    /// The object's size in bytes.
    pub bytes: u64,
    /// Its blocks, in the object's order: each holds batches of one partition.
    pub blocks: Vec<Block>,
}

/// A run of bytes in a segment object that is read and checked as a whole.
#[derive(Clone, Debug)]
pub struct Block {
    /// The partition that all its batches belong to.
    pub partition: TopicPartition,
    /// Where the block begins in the object.
    pub position: u64,
    /// How long it is in bytes.
    pub length: u32,
    /// CRC-32C of its bytes.
    pub crc: u32,
    /// When its batches were appended, by the agent's clock, in milliseconds since the epoch. The
    /// store's clock bounds what is stored: see `SqliteOptions::append_lag`.
    pub append_time_ms: i64,
    /// The batches to commit, in order. Bytes between them belong to batches that must not be.
    pub batches: Vec<Batch>,
}

/// A record batch in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where it begins in its block.
    pub position: u32,
    /// How long it is in bytes.
    pub length: u32,
    /// How many offsets it takes: its last offset delta plus one.
    pub records: i32,
    /// Its greatest record timestamp, as the producer claims.
    pub max_timestamp_ms: i64,
    /// The idempotent producer's claim, if any.
    pub producer: Option<ProducerBatch>,
}

/// A batch's place in an idempotent producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// The producer's id.
    pub id: i64,
    /// The producer's epoch.
    pub epoch: i16,
    /// The sequence of the batch's first record.
    pub sequence: i32,
}

/// What the commit decided about one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It is part of the log from this offset on.
    Committed(i64),
    /// It was part of the log before, from this offset on.
    Duplicate(i64),
    /// It is not part of the log.
    Rejected(Rejection),
}

/// Why a batch is not part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The topic or partition does not exist (any more).
    UnknownPartition,
    /// The sequence is ahead of the expected one: its predecessor is not in the log.
    OutOfOrder {
        /// The sequence that would have been accepted.
        expected: i32,
    },
    /// A repetition of a batch that is too old to know its offset, or a batch of a segment whose
    /// answers are no longer kept.
    ForgottenDuplicate,
    /// There is no state for this producer and partition, and the sequence is not 0.
    UnknownProducer,
    /// The producer's epoch is below the stored one.
    Fenced,
    /// The segment's stamp lies below the garbage collector's floor, or it was declared dead.
    StaleSegment {
        /// The floor: only a segment stamped at or above it can be committed.
        floor_ms: i64,
    },
}

/// Where a run of consecutive batches of one partition lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRow {
    /// The offset of its first record.
    pub base_offset: i64,
    /// The offset after its last record.
    pub next_offset: i64,
    /// The object that holds it.
    pub object: Arc<str>,
    /// Where its block begins in the object.
    pub block_position: u64,
    /// How long its block is in bytes.
    pub block_length: u32,
    /// CRC-32C of its block.
    pub block_crc: u32,
    /// Where the run begins in its block.
    pub position: u32,
    /// How long the run is in bytes.
    pub length: u32,
    /// The greatest record timestamp in the run.
    pub max_timestamp_ms: i64,
    /// When the run was appended, by the agent's clock; not after its commit by the store's.
    pub append_time_ms: i64,
}

/// The ends of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that can be read.
    pub log_start: i64,
    /// The offset that the next record will get.
    pub high_watermark: i64,
}

/// A question for the rows from an offset on.
#[derive(Clone, Copy, Debug)]
pub struct Locate {
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset of interest.
    pub offset: i64,
    /// Stop after the row that reaches this many bytes; at least one row is returned if there is
    /// one. A store may stop earlier, to keep its answer small.
    pub max_bytes: u64,
}

/// Rows from an offset on, read in one transaction with the partition's ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The partition's ends.
    pub watermarks: Watermarks,
    /// Consecutive rows, the first holding the offset asked for or the log start if that is later;
    /// empty at the end of the log.
    pub rows: Vec<IndexRow>,
}

/// An idempotent producer's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// The producer's id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// An agent: a running process that serves clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its number, which clients know it by; given at registration.
    pub id: i32,
    /// Its name, fresh for every start of the process.
    pub incarnation: Uuid,
    /// The host that clients connect to.
    pub host: String,
    /// The port that clients connect to.
    pub port: u16,
}

/// What is stored, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Topics.
    pub topics: u64,
    /// Partitions of all topics.
    pub partitions: u64,
    /// Segment objects that the index refers to.
    pub objects: u64,
    /// Bytes of these objects.
    pub bytes: u64,
}

/// A consumer group as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGroup {
    /// Its name.
    pub name: Arc<str>,
    /// Raised whenever a coordinator takes the group: what an earlier owner writes is refused.
    pub epoch: i64,
    /// The last generation that was begun; never reused.
    pub generation: i32,
    /// What its members are, `consumer` for consumers; empty while there were none.
    pub protocol_type: String,
    /// When it last had members or committed an offset, by the store's clock.
    pub active_ms: i64,
    /// The topics that its members subscribe to, or did when it last had some; `None`: not known.
    pub subscribed: Option<Vec<Arc<str>>>,
    /// When its last generation began, by the store's clock; `None`: not known.
    pub generation_ms: Option<i64>,
    /// When it last committed an offset, by the store's clock, even one that is gone with its
    /// topic; `None`: never.
    pub committed_ms: Option<i64>,
}

/// Offsets of one group to commit, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The group.
    pub group: Arc<str>,
    /// The owner epoch under which the coordinator acts.
    pub epoch: i64,
    /// The generation of the committing member; `None` for a commit from outside the group, which
    /// is accepted while the group has no members.
    pub generation: Option<i32>,
    /// What to store.
    pub offsets: Vec<(TopicPartition, CommittedOffset)>,
}

/// A group's place in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to consume.
    pub offset: i64,
    /// The leader epoch that the consumer named, −1 if none.
    pub leader_epoch: i32,
    /// The consumer's own remark.
    pub metadata: Arc<str>,
    /// When it was committed, by the store's clock; ignored when committing.
    pub committed_ms: i64,
}

/// What became of an [`OffsetCommit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffsetCommitOutcome {
    /// Stored, at this time by the store's clock; partitions that do not exist are left out and
    /// named here.
    Committed {
        /// When, in milliseconds since the epoch.
        committed_ms: i64,
        /// Partitions that do not exist (any more).
        unknown: Vec<TopicPartition>,
    },
    /// The group is somebody else's by now, or deleted: drop the local state.
    NotOwner,
    /// The generation is not the stored one.
    StaleGeneration,
}

/// A place in a partition that something was asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// When the record at the offset was appended, in milliseconds since the epoch.
    pub append_time_ms: i64,
    /// Bytes of record batches that follow the run which holds it.
    pub bytes_after: i64,
}

/// How far the start of a log is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// To an offset within the log; beyond its end is refused.
    To(i64),
    /// To the end of the log, as it is in the trim's transaction.
    ToEnd,
    /// Past every run appended at or before this time, in milliseconds since the epoch.
    AppendedBefore(i64),
    /// Past whole runs, each as long as at least this many bytes of batches follow it; below 0 is
    /// refused.
    ToBytes(i64),
}

/// What became of the trim of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrimOutcome {
    /// The log starts where it was to, or nearer to it.
    Trimmed(Trimmed),
    /// The partition does not exist (any more).
    UnknownPartition,
    /// The offset lies beyond the end of the log, or offset or bytes are below 0; nothing moved.
    OutOfRange,
}

/// What a trim did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Where the log starts now.
    pub log_start: i64,
    /// How many records were removed.
    pub records: i64,
    /// What groups had not consumed of them, told exactly once: by the trim that removed them.
    pub lost: Vec<(Arc<str>, i64)>,
    /// Whether there is more to do: trims work in slices. Ask again.
    pub more: bool,
}

/// A stored object that no record refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedSegment {
    /// The segment.
    pub id: SegmentId,
    /// Its object's name.
    pub object: Arc<str>,
    /// The object's size in bytes.
    pub bytes: u64,
}
