//! Segments, the writer pool, the object store, the cache and the reader.
//!
//! Start at [`WriterPool`] for the way in and [`Reader`] for the way out.
//!
//! Invariant: a batch is acknowledged only after its segment is stored and its offset committed.
pub mod batch;
mod cache;
mod clock;
mod error;
mod gc;
pub mod object_store;
mod ownership;
mod partitions;
mod reader;
pub mod segment;
#[cfg(feature = "testing")]
pub mod testing;
mod writer_pool;

pub use batch::RecordBatch;
pub use cache::Cache;
pub use clock::{Clock, machine_ms};
pub use error::{AppendError, CorruptSegment, ReadError, StoreError};
pub use gc::{Collector, GarbageConfig};
pub use ownership::{Ownership, Unowned};
pub use partitions::Partitions;
pub use reader::{Fetched, Reader};
pub use writer_pool::{Append, Appended, WriterConfig, WriterPool};
