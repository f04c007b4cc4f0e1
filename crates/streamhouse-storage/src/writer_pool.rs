//! The writer pool: from batches to committed segments.

use crate::batch::RecordBatch;
use crate::error::AppendError;
use opentelemetry::trace::SpanContext;
use streamhouse_metadata::TopicPartition;

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
#[derive(Clone, Debug)]
pub struct WriterPool {}

impl WriterPool {
    /// Takes a batch in. The order of calls is the order of the log; the returned future only
    /// waits for the outcome.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the batch back.
    pub fn append(
        &self,
        _append: Append,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + 'static {
        async { todo!() }
    }
}
