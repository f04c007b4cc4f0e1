use super::WriterPool;
use async_trait::async_trait;
use streamhouse_observability::health::Check;
use streamhouse_observability::labels::Component;

/// Healthy when nothing waits, or when a segment was settled not long ago, whatever came of it:
/// a store that fails has a check of its own.
#[async_trait]
impl Check for WriterPool {
    fn component(&self) -> Component {
        Component::WriterPool
    }

    fn required(&self) -> bool {
        true
    }

    async fn probe(&self) -> Result<(), String> {
        match self.heartbeat().filter(|stalled| *stalled >= self.shared.config.stuck_after) {
            Some(stalled) => Err(format!("no segment was settled for {} s", stalled.as_secs())),
            None => Ok(()),
        }
    }
}
