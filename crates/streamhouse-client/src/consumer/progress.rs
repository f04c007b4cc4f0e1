//! Which received records are settled, so that a commit never covers one that is not.
//!
//! Records of a partition may be settled in any order; what may be committed ends before the first
//! one that is not settled. A commit takes what it settles out of here, as a [`Batch`]: offsets, and
//! where the traced records were created. What failed comes back.

use crate::telemetry::LINKS;
use opentelemetry::trace::SpanContext;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The records of one member of a group.
#[derive(Debug)]
pub(super) struct Progress {
    limit: usize,
    state: Mutex<State>,
    /// Some record waits no longer.
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    partitions: HashMap<(Arc<str>, i32), Partition>,
    /// How many records wait in all partitions.
    waiting: usize,
    /// How many links there are in all partitions.
    linked: usize,
    /// How many partitions there have been.
    seen: u64,
}

/// A partition, from the first record received of it until it goes to another member.
#[derive(Debug)]
struct Partition {
    /// Tells it from the same partition after it was away.
    stay: u64,
    records: VecDeque<Waiting>,
    /// The offset to be committed, if that has moved since the last commit.
    next: Option<i64>,
    /// Where the records before `next` were created, as far as they are traced.
    links: Vec<SpanContext>,
}

#[derive(Debug)]
struct Waiting {
    offset: i64,
    is_settled: bool,
    /// Boxed, because most records are not traced.
    created: Option<Box<SpanContext>>,
}

/// What one commit settles.
#[derive(Debug, Default)]
pub(super) struct Batch(Vec<Part>);

/// What a commit settles of one partition.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) next: i64,
    stay: u64,
    links: Vec<SpanContext>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Where its traced records were created, at most [`LINKS`] of them.
    pub(super) fn links(&self) -> Vec<SpanContext> {
        self.0.iter().flat_map(|part| &part.links).take(LINKS).cloned().collect()
    }
}

impl State {
    /// Keeps `links` of `partition`, as far as there is room.
    fn link(
        linked: &mut usize,
        partition: &mut Partition,
        links: impl IntoIterator<Item = SpanContext>,
    ) {
        let room = LINKS.saturating_sub(*linked);
        let before = partition.links.len();
        partition.links.extend(links.into_iter().take(room));
        *linked += partition.links.len() - before;
    }
}

impl Progress {
    /// At most `limit` records wait at once.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), left: Notify::new() }
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

    /// Waits until another record may be received, at most for `patience`; `Err` as of
    /// [`room`](Self::room).
    pub(super) async fn wait_for_room(&self, patience: Duration) -> Result<usize, usize> {
        let waits = async {
            loop {
                // Made before the look, so that nothing that leaves from here on is missed.
                let left = self.left.notified();
                match self.room() {
                    Err(_none) => left.await,
                    room => return room,
                }
            }
        };
        tokio::time::timeout(patience, waits).await.unwrap_or_else(|_| self.room())
    }

    /// A record was received.
    pub(super) fn received(&self, topic: &Arc<str>, partition: i32, offset: i64) {
        let mut state = self.lock();
        let State { partitions, waiting, seen, .. } = &mut *state;
        let partition = partitions.entry((topic.clone(), partition)).or_insert_with(|| {
            *seen += 1;
            Partition { stay: *seen, records: VecDeque::new(), next: None, links: Vec::new() }
        });
        let records = &mut partition.records;
        while records.back().is_some_and(|last| last.offset >= offset) {
            // Reading went back: what lies behind comes again, and what lies before is still open.
            records.pop_back();
            *waiting -= 1;
        }
        records.push_back(Waiting { offset, is_settled: false, created: None });
        *waiting += 1;
    }

    /// A record is settled, which was created in `created` if it is traced.
    pub(super) fn settled(
        &self,
        topic: &Arc<str>,
        partition: i32,
        offset: i64,
        created: Option<SpanContext>,
    ) {
        let mut state = self.lock();
        let State { partitions, waiting, linked, .. } = &mut *state;
        let Some(partition) = partitions.get_mut(&(topic.clone(), partition)) else { return };
        let records = &mut partition.records;
        let Ok(at) = records.binary_search_by_key(&offset, |record| record.offset) else { return };
        records[at].is_settled = true;
        records[at].created = created.map(Box::new);
        while let Some(record) = partition.records.pop_front_if(|record| record.is_settled) {
            *waiting -= 1;
            partition.next = Some(record.offset + 1);
            if let Some(created) = record.created {
                State::link(linked, partition, [*created]);
            }
        }
        drop(state);
        self.left.notify_waiters();
    }

    /// Whether there is nothing to commit.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().partitions.values().all(|partition| partition.next.is_none())
    }

    /// Takes what a commit can settle now. `store` sees it before any partition can go away.
    pub(super) fn take(&self, store: impl FnOnce(&Batch)) -> Batch {
        let mut state = self.lock();
        let State { partitions, linked, .. } = &mut *state;
        let parts = partitions.iter_mut().filter_map(|((topic, number), partition)| {
            let (topic, next) = (topic.clone(), partition.next.take()?);
            let links = std::mem::take(&mut partition.links);
            *linked -= links.len();
            Some(Part { topic, partition: *number, next, stay: partition.stay, links })
        });
        let batch = Batch(parts.collect());
        if !batch.is_empty() {
            store(&batch);
        }
        batch
    }

    /// `batch` was not committed: the next commit covers it, but for partitions that are gone.
    pub(super) fn put_back(&self, batch: Batch) {
        let mut state = self.lock();
        let State { partitions, linked, .. } = &mut *state;
        for part in batch.0 {
            let Some(partition) = partitions.get_mut(&(part.topic, part.partition)) else {
                continue;
            };
            if partition.stay == part.stay {
                partition.next = partition.next.max(Some(part.next));
                State::link(linked, partition, part.links);
            }
        }
    }

    /// `batch` is committed. `forget` sees what of it is still here.
    pub(super) fn committed(&self, mut batch: Batch, forget: impl FnOnce(&Batch)) {
        let state = self.lock();
        batch.0.retain(|part| {
            let partition = state.partitions.get(&(part.topic.clone(), part.partition));
            partition.is_some_and(|partition| partition.stay == part.stay)
        });
        if !batch.is_empty() {
            forget(&batch);
        }
    }

    /// These partitions go to other members; what may be committed of them before that, which
    /// `store` sees while they are still here.
    pub(super) fn revoked<'a>(
        &self,
        gone: impl Iterator<Item = (&'a str, i32)>,
        store: impl FnOnce(&Batch),
    ) -> Batch {
        let mut state = self.lock();
        let mut batch = Batch::default();
        for (topic, partition) in gone {
            let topic = Arc::<str>::from(topic);
            let Some(last) = state.partitions.remove(&(topic.clone(), partition)) else { continue };
            state.waiting -= last.records.len();
            state.linked -= last.links.len();
            let Partition { stay, next, links, .. } = last;
            batch.0.extend(next.map(|next| Part { topic, partition, next, stay, links }));
        }
        if !batch.is_empty() {
            store(&batch);
        }
        drop(state);
        self.left.notify_waiters();
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

    fn settle(progress: &Progress, topic: &Arc<str>, offset: i64) -> Option<i64> {
        progress.settled(topic, 0, offset, None);
        next(&progress.take(|_| {}))
    }

    fn next(batch: &Batch) -> Option<i64> {
        batch.parts().first().map(|part| part.next)
    }

    fn context(number: u64) -> SpanContext {
        let (trace, span) = (TraceId::from(7_u128), SpanId::from(number));
        SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE)
    }

    /// Settles a traced record whose span has the number of its offset.
    fn trace(progress: &Progress, topic: &Arc<str>, offset: i64) {
        progress.settled(topic, 0, offset, Some(context(offset as u64)));
    }

    fn linked(batch: &Batch) -> Vec<u64> {
        let number = |link: &SpanContext| u64::from_be_bytes(link.span_id().to_bytes());
        batch.links().iter().map(number).collect()
    }

    #[test]
    fn what_may_be_committed_ends_before_the_first_record_that_is_not_settled() {
        let (progress, topic) = (Progress::new(10), Arc::<str>::from("orders"));
        for offset in [3, 4, 7, 8] {
            progress.received(&topic, 0, offset);
        }
        assert_eq!(settle(&progress, &topic, 4), None);
        assert_eq!(settle(&progress, &topic, 8), None);
        assert!(progress.is_idle());
        assert_eq!(settle(&progress, &topic, 3), Some(5));
        assert_eq!(settle(&progress, &topic, 7), Some(9));
        assert_eq!(settle(&progress, &topic, 7), None, "settled twice");
        assert_eq!(progress.room(), Ok(10));
    }

    #[test]
    fn no_order_of_settling_commits_an_offset_beyond_an_open_record() {
        let orders: [[i64; 4]; 5] =
            [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [0, 2, 1, 3]];
        for order in orders {
            let (progress, topic) = (Progress::new(10), Arc::<str>::from("orders"));
            (0..4).for_each(|offset| progress.received(&topic, 0, offset));
            let (mut open, mut committed) = (vec![0, 1, 2, 3], 0);
            for offset in order {
                open.retain(|other| *other != offset);
                committed = settle(&progress, &topic, offset).unwrap_or(committed);
                assert_eq!(committed, open.first().copied().unwrap_or(4), "{order:?}");
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
        assert!(progress.revoked([("orders", 1)].into_iter(), |_| {}).is_empty());
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

    #[test]
    fn a_batch_is_linked_with_the_records_that_it_covers_and_no_others() {
        let (progress, topic) = (Progress::new(10), Arc::<str>::from("orders"));
        (0..4).for_each(|offset| progress.received(&topic, 0, offset));
        [3, 0, 1].iter().for_each(|offset| trace(&progress, &topic, *offset));
        let first = progress.take(|_| {});
        assert_eq!(
            (next(&first), linked(&first)),
            (Some(2), vec![0, 1]),
            "3 is behind an open one"
        );
        trace(&progress, &topic, 2);
        let second = progress.take(|_| {});
        assert_eq!((next(&second), linked(&second)), (Some(4), vec![2, 3]));
    }

    #[test]
    fn what_failed_comes_back_but_not_to_a_partition_that_was_away() {
        let (progress, topic) = (Progress::new(10), Arc::<str>::from("orders"));
        (0..2).for_each(|offset| progress.received(&topic, 0, offset));
        trace(&progress, &topic, 0);
        let failed = progress.take(|_| {});
        trace(&progress, &topic, 1);
        progress.put_back(failed);
        let both = progress.take(|_| {});
        assert_eq!(next(&both), Some(2));
        assert_eq!(both.links().len(), 2);

        drop(progress.revoked([("orders", 0)].into_iter(), |_| {}));
        progress.received(&topic, 0, 5);
        progress.put_back(both);
        assert!(progress.is_idle(), "another member may have come further by now");
    }

    #[test]
    fn partitions_that_go_give_what_may_be_committed_while_they_are_still_here() {
        let (progress, topic) = (Progress::new(10), Arc::<str>::from("orders"));
        for partition in 0..2 {
            progress.received(&topic, partition, 0);
            progress.settled(&topic, partition, 0, Some(context(partition as u64)));
        }
        let mut stored = None;
        let gone = progress.revoked([("orders", 1)].into_iter(), |batch| stored = next(batch));
        assert_eq!((stored, linked(&gone)), (Some(1), vec![1]));
        assert_eq!(linked(&progress.take(|_| {})), [0]);
    }

    #[test]
    fn links_are_bounded_and_make_room_when_they_are_taken() {
        let (progress, topic) = (Progress::new(1000), Arc::<str>::from("orders"));
        for offset in 0..300 {
            progress.received(&topic, 0, offset);
            trace(&progress, &topic, offset);
        }
        let all = progress.take(|_| {});
        assert_eq!((next(&all), all.links().len()), (Some(300), LINKS));
        progress.received(&topic, 0, 300);
        trace(&progress, &topic, 300);
        assert_eq!(linked(&progress.take(|_| {})), [300]);
    }
}
