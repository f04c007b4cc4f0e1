//! One clock for all groups: when each of them wants to be woken.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A deadline for each group that has one.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: Mutex<BTreeSet<(Instant, Arc<str>)>>,
    earlier: Notify,
}

impl Deadlines {
    /// Moves a group's deadline.
    pub fn set(&self, group: &Arc<str>, before: Option<Instant>, at: Option<Instant>) {
        let mut queue = self.lock();
        if let Some(before) = before {
            queue.remove(&(before, group.clone()));
        }
        let Some(at) = at else { return };
        let is_first = queue.first().is_none_or(|(first, _)| at < *first);
        queue.insert((at, group.clone()));
        drop(queue);
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Waits for deadlines that have passed and takes them.
    pub async fn due(&self) -> Vec<Arc<str>> {
        loop {
            let now = Instant::now();
            let mut due = Vec::new();
            let next = {
                let mut queue = self.lock();
                while let Some((at, _)) = queue.first()
                    && *at <= now
                    && let Some((_, group)) = queue.pop_first()
                {
                    due.push(group);
                }
                queue.first().map(|(at, _)| *at)
            };
            if !due.is_empty() {
                return due;
            }
            tokio::select! {
                () = self.earlier.notified() => {}
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(Instant, Arc<str>)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
