//! Topics, partitions, offsets and producers: one trait, kept in SQLite.
//!
//! Start at [`MetadataStore`]. The commit of segments is the only order of the log.
//!
//! Invariant: the number of statements in a call does not grow with its input.
mod commit; // what a commit decides, apart from any database
mod error;
mod metered;
mod names; //  what topics may be called
mod sqlite;
mod store; //  the trait
mod types; // the decorator that measures any store

pub use error::MetadataError;
pub use metered::Metered;
pub use sqlite::{APPEND_LAG, SqliteOptions, SqliteStore};
pub use store::MetadataStore;
pub use types::{
    Agent, Batch, BatchOutcome, Block, CommittedOffset, IndexRow, Locate, Located, OffsetCommit,
    OffsetCommitOutcome, Position, ProducerBatch, ProducerIdentity, Rejection, Retention,
    RetentionChange, Segment, SegmentId, StoredGroup, Topic, TopicId, TopicPartition, Totals, Trim,
    TrimOutcome, Trimmed, UnusedSegment, Watermarks,
};
