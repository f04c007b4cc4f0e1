use crate::declare::{BYTES, Counter, FloatGauge, Gauge, Histogram};
use crate::labels::{Operation, Outcome, StoreError};

crate::instruments! {
    /// The way of records into segments.
    pub struct SegmentMetrics("streamhouse.segment") {
        /// Segment objects stored.
        writes: Counter<()> = "{segment}";
        /// Attempts to make a segment durable (PUT plus commit), by outcome.
        flushes: Counter<Outcome> = "{flush}";
        /// Time from closing a segment to its commit.
        flush_duration: Histogram<Outcome> = "s";
        /// Bytes of a segment object.
        size: Histogram<Outcome> = "By", bounds = BYTES;
        /// Bytes accepted from producers and not yet acknowledged.
        unflushed: Gauge<()> = "By";
        /// Age of the oldest byte that is not yet acknowledged; 0 when there is none.
        unacknowledged_age: FloatGauge<()> = "s";
    }
}

crate::instruments! {
    /// Calls to the object store, whatever store it is.
    pub struct ObjectStoreMetrics("streamhouse.s3") {
        /// Calls that left the process, each retry one.
        requests: Counter<Operation> = "{request}";
        /// Calls that failed, by class.
        errors: Counter<(Operation, StoreError)> = "{error}";
        /// Calls that repeat or hedge an earlier one.
        retries: Counter<Operation> = "{retry}";
        /// Time of one call.
        duration: Histogram<(Operation, Outcome)> = "s";
        /// Bytes of object bodies sent and received.
        bytes: Counter<Operation> = "By";
    }
}

crate::instruments! {
    /// The cache of segment blocks.
    pub struct CacheMetrics("streamhouse.cache") {
        /// Blocks found in the cache.
        hits: Counter<()> = "{hit}";
        /// Blocks read from the object store.
        misses: Counter<()> = "{miss}";
        /// Blocks removed to make room.
        evictions: Counter<()> = "{eviction}";
        /// Bytes held.
        size: Gauge<()> = "By";
    }
}

crate::instruments! {
    /// What is stored.
    pub struct StorageMetrics("streamhouse.storage") {
        /// Bytes of segment objects that the index refers to.
        size: Gauge<()> = "By";
        /// Segment objects that the index refers to.
        objects: Gauge<()> = "{object}";
    }
}
