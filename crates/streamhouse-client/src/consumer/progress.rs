//! Which received records are settled, so that a commit never covers one that is not.
//!
//! Records of a partition may be settled in any order; what may be committed ends before the first
//! one that is not settled.

use opentelemetry::trace::SpanContext;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many contexts of settled records a commit is linked with.
const LINKS: usize = 128;

/// The records of one member of a group.
#[derive(Debug)]
pub(super) struct Progress {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    partitions: HashMap<(Arc<str>, i32), VecDeque<Waiting>>,
    /// How many records wait in all partitions.
    waiting: usize,
    /// Where the records settled since the last commit were created, as far as they are traced.
    created: Vec<SpanContext>,
}

#[derive(Debug)]
struct Waiting {
    offset: i64,
    is_settled: bool,
}

impl Progress {
    /// At most `limit` records wait at once.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more records may be received; `Err` with how many wait if none.
    pub(super) fn room(&self) -> Result<usize, usize> {
        let waiting = self.lock().waiting;
        match self.limit.saturating_sub(waiting) {
            0 => Err(waiting),
            room => Ok(room),
        }
    }

    /// A record was received.
    pub(super) fn received(&self, topic: &Arc<str>, partition: i32, offset: i64) {
        let mut state = self.lock();
        let state = &mut *state;
        let records = state.partitions.entry((topic.clone(), partition)).or_default();
        while records.back().is_some_and(|last| last.offset >= offset) {
            // Reading went back: what lies behind comes again, and what lies before is still open.
            records.pop_back();
            state.waiting -= 1;
        }
        records.push_back(Waiting { offset, is_settled: false });
        state.waiting += 1;
    }

    /// A record is settled. `store` is called with the offset to be committed next, if that has
    /// moved, before any later call for this partition.
    pub(super) fn settled(
        &self,
        topic: &Arc<str>,
        partition: i32,
        offset: i64,
        created: Option<SpanContext>,
        store: impl FnOnce(i64),
    ) {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(records) = state.partitions.get_mut(&(topic.clone(), partition)) else { return };
        let Ok(at) = records.binary_search_by_key(&offset, |record| record.offset) else { return };
        records[at].is_settled = true;
        if state.created.len() < LINKS {
            state.created.extend(created);
        }
        let mut last = None;
        while records.front().is_some_and(|record| record.is_settled) {
            last = records.pop_front();
            state.waiting -= 1;
        }
        if let Some(last) = last {
            store(last.offset + 1);
        }
    }

    /// A partition went to another member.
    pub(super) fn revoked(&self, topic: &str, partition: i32) {
        let mut state = self.lock();
        if let Some(records) = state.partitions.remove(&(topic.into(), partition)) {
            state.waiting -= records.len();
        }
    }

    /// Where the records were created that a commit now settles.
    pub(super) fn take_created(&self) -> Vec<SpanContext> {
        std::mem::take(&mut self.lock().created)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(progress: &Progress, topic: &Arc<str>, offset: i64) -> Option<i64> {
        let mut stored = None;
        progress.settled(topic, 0, offset, None, |next| stored = Some(next));
        stored
    }

    #[test]
    fn what_may_be_committed_ends_before_the_first_record_that_is_not_settled() {
        let (progress, topic) = (Progress::new(10), Arc::<str>::from("orders"));
        for offset in [3, 4, 7, 8] {
            progress.received(&topic, 0, offset);
        }
        assert_eq!(settle(&progress, &topic, 4), None);
        assert_eq!(settle(&progress, &topic, 8), None);
        assert_eq!(settle(&progress, &topic, 3), Some(5));
        assert_eq!(settle(&progress, &topic, 7), Some(9));
        assert_eq!(settle(&progress, &topic, 7), None, "settled twice");
        assert_eq!(progress.room(), Ok(10));
    }

    #[test]
    fn no_order_of_settling_stores_an_offset_beyond_an_open_record() {
        let orders: [[i64; 4]; 5] =
            [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [0, 2, 1, 3]];
        for order in orders {
            let (progress, topic) = (Progress::new(10), Arc::<str>::from("orders"));
            (0..4).for_each(|offset| progress.received(&topic, 0, offset));
            let (mut open, mut stored) = (vec![0, 1, 2, 3], 0);
            for offset in order {
                open.retain(|other| *other != offset);
                stored = settle(&progress, &topic, offset).unwrap_or(stored);
                assert_eq!(stored, open.first().copied().unwrap_or(4), "{order:?}");
            }
        }
    }

    #[test]
    fn records_that_wait_are_bounded_and_a_lost_partition_frees_its_own() {
        let (progress, topic) = (Progress::new(3), Arc::<str>::from("orders"));
        progress.received(&topic, 0, 1);
        progress.received(&topic, 1, 1);
        assert_eq!(progress.room(), Ok(1));
        progress.received(&topic, 1, 2);
        assert_eq!(progress.room(), Err(3));
        progress.revoked("orders", 1);
        assert_eq!(progress.room(), Ok(2));
        assert_eq!(settle(&progress, &topic, 1), Some(2));
    }

    #[test]
    fn records_that_come_again_wait_again_and_those_before_them_still_do() {
        let (progress, topic) = (Progress::new(10), Arc::<str>::from("orders"));
        (0..3).for_each(|offset| progress.received(&topic, 0, offset));
        assert_eq!(settle(&progress, &topic, 2), None);
        progress.received(&topic, 0, 1);
        assert_eq!(progress.room(), Ok(8));
        assert_eq!(settle(&progress, &topic, 1), None, "record 0 is open");
        progress.received(&topic, 0, 2);
        assert_eq!(settle(&progress, &topic, 0), Some(2));
        assert_eq!(settle(&progress, &topic, 2), Some(3));
        assert_eq!(progress.room(), Ok(10));
    }
}
