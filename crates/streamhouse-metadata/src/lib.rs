//! Topics, partitions, offsets and producers: one trait, kept in SQLite.
//!
//! Start at [`MetadataStore`]. The commit of segments is the only order of the log.
//!
//! Invariant: the number of statements in a call does not grow with its input.
mod error;
mod store;
mod types;

pub use error::MetadataError;
pub use store::MetadataStore;
pub use types::{
    Agent, Batch, BatchOutcome, Block, IndexRow, Locate, Located, ProducerBatch, ProducerIdentity,
    Rejection, Segment, SegmentId, Topic, TopicId, TopicPartition, Totals, Watermarks,
};
