//! Memory for answers that carry no records and may be large all the same: what is told of groups.
//!
//! A few bytes of a request can ask for megabytes, and answers wait for their place on the
//! connection. So a large one is made only when there is memory for it. It is not waited for: who
//! does not read their answers would make everybody wait.

use crate::config::BrokerConfig;
use kafka_protocol::error::ResponseError as Code;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers up to this size are as good as free.
const SMALL: usize = 64 << 10;
/// How many answers of the largest size there may be.
const LARGEST: usize = 4;

/// The memory for large answers.
#[derive(Debug)]
pub(crate) struct Bulk {
    memory: Arc<Semaphore>,
    /// Bytes of the largest answer.
    pub limit: usize,
}

impl Bulk {
    pub fn new(config: &BrokerConfig) -> Self {
        let most = Semaphore::MAX_PERMITS / LARGEST;
        let limit = config.groups.max_group_bytes.max(config.max_fetch_bytes).clamp(SMALL, most);
        Self { memory: Arc::new(Semaphore::new(limit * LARGEST)), limit }
    }

    /// Takes memory for an answer of `bytes`.
    ///
    /// # Errors
    /// What to answer instead: that it is too large, or to come again.
    pub fn take(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Code> {
        match u32::try_from(bytes) {
            _ if bytes <= SMALL => Ok(None),
            Ok(permits) if bytes <= self.limit => {
                match self.memory.clone().try_acquire_many_owned(permits) {
                    Ok(permit) => Ok(Some(permit)),
                    Err(_) => Err(Code::CoordinatorNotAvailable),
                }
            }
            _ => Err(Code::MessageTooLarge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_answers_share_their_memory_and_small_ones_are_always_made() {
        let bulk = Bulk::new(&BrokerConfig::default());
        let held: Vec<_> = (0..LARGEST).map(|_| bulk.take(bulk.limit).unwrap()).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(matches!(bulk.take(SMALL), Ok(None)));
        assert!(matches!(bulk.take(SMALL + 1), Err(Code::CoordinatorNotAvailable)));
        assert!(matches!(bulk.take(bulk.limit + 1), Err(Code::MessageTooLarge)));
        drop(held);
        assert!(matches!(bulk.take(SMALL + 1), Ok(Some(_))));
    }
}
