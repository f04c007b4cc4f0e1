use crate::clock::Clock;
use std::time::Duration;

/// How batches become segments.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// The agent's number, which stands in the names of its objects.
    pub agent: i32,
    /// How long a segment stays open at least, unless it is full; longer while every slot is
    /// taken. Default: 0 on a local disk, 100 ms on S3.
    pub linger: Duration,
    /// How many segments are stored at a time. Default: 2 on a local disk, 8 on S3.
    pub put_slots: usize,
    /// A segment of this many bytes closes at once. Default: 8 MiB.
    pub segment_bytes: usize,
    /// How long the object store may take to answer for one segment before the segment fails: the
    /// last resort, above the store's own budget. Default: 6 s.
    pub put_budget: Duration,
    /// How long an unavailable metadata store is asked again before the segments fail.
    /// Default: 5 s.
    pub commit_budget: Duration,
    /// How long one call to the metadata store may take before its outcome counts as unknown.
    /// Default: 10 s.
    pub commit_timeout: Duration,
    /// How long the pool may make no progress while batches wait before it counts as stuck,
    /// and how long after the last of several failed commits it counts as unable to commit.
    /// Default: 30 s.
    pub stuck_after: Duration,
    /// What append times are read from. Default: one that begins at the machine's time.
    pub clock: Clock,
}

impl WriterConfig {
    /// The defaults for a local disk: a segment closes as soon as it can be stored.
    pub fn local(agent: i32) -> Self {
        Self {
            agent,
            linger: Duration::ZERO,
            put_slots: 2,
            segment_bytes: 8 << 20,
            put_budget: Duration::from_secs(6),
            commit_budget: Duration::from_secs(5),
            commit_timeout: Duration::from_secs(10),
            stuck_after: Duration::from_secs(30),
            clock: Clock::new(),
        }
    }

    /// The defaults for S3: requests cost money, and there is room for more of them at a time.
    pub fn s3(agent: i32) -> Self {
        Self { linger: Duration::from_millis(100), put_slots: 8, ..Self::local(agent) }
    }
}
