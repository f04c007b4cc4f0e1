use super::WriterPool;
use async_trait::async_trait;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use streamhouse_metadata::MetadataError;
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::health::Check;
use streamhouse_observability::labels::{self, Component};
use tokio::time::Instant;

/// So many commits in a row fail before the pool counts as unable to commit.
const FAILED: u32 = 3;

/// What has become of the latest commits.
#[derive(Debug, Default)]
pub(super) struct Commits(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    /// How many have failed since the last that succeeded.
    failed: u32,
    last: Option<(Instant, labels::MetadataError)>,
}

impl Commits {
    /// A commit has ended, with `error` if it failed. What the store refuses, it has read.
    pub fn ended(&self, error: Option<&MetadataError>) {
        let class = error.map(MetadataError::class).filter(|class| {
            matches!(class, labels::MetadataError::Unavailable | labels::MetadataError::Corrupt)
        });
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.failed = if class.is_some() { latest.failed.saturating_add(1) } else { 0 };
        latest.last = class.map(|class| (Instant::now(), class));
    }

    /// How many have failed in a row, and why, if they are enough and the last was within `recent`.
    fn failing(&self, recent: Duration) -> Option<(u32, labels::MetadataError)> {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, class) = latest.last?;
        (latest.failed >= FAILED && at.elapsed() < recent).then_some((latest.failed, class))
    }
}

/// Healthy when nothing waits, or when a segment was settled not long ago: an object store that
/// fails has a check of its own. Unhealthy also while commits fail: the metadata store's check
/// cannot see that what they need of it is damaged. A while after the last failure the pool is
/// healthy again, for without records there are no commits that could show that they succeed.
#[async_trait]
impl Check for WriterPool {
    fn component(&self) -> Component {
        Component::WriterPool
    }

    fn required(&self) -> bool {
        true
    }

    async fn probe(&self) -> Result<(), String> {
        let limit = self.shared.config.stuck_after;
        if let Some(stalled) = self.heartbeat().filter(|stalled| *stalled >= limit) {
            return Err(format!("no segment was settled for {} s", stalled.as_secs()));
        }
        match self.shared.commits.failing(limit) {
            Some((failed, class)) => {
                Err(format!("the last {failed} commits failed: {}", class.as_str()))
            }
            None => Ok(()),
        }
    }
}
