//! What is known of partitions without asking: their ends, their newest index rows, who waits.
//!
//! This is a cache of the metadata store, fed by the agent's own commits and by what readers
//! learn. It answers the tail of the log; whatever it does not know is asked for.
//!
//! Invariant: the rows kept of a partition follow each other without a gap.

use futures_util::future::select_all;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use streamhouse_metadata::{IndexRow, Located, Position, TopicId, TopicPartition, Watermarks};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many of a partition's newest rows are kept.
const ROWS: usize = 64;
/// How long "there is nothing more" is believed before the metadata store is asked again: another
/// agent may have appended.
const END_IS_FRESH: Duration = Duration::from_millis(100);
/// How long the start of a log is believed before the metadata store is asked again: another agent
/// may have removed records.
const START_IS_FRESH: Duration = Duration::from_secs(3);
/// How many deleted topics are remembered, so that what is told of them late is not kept.
const FORGOTTEN: usize = 1_024;

/// The partitions that this agent has written or read. Cheap to clone; clones share.
#[derive(Clone, Debug, Default)]
pub struct Partitions {
    slots: Arc<RwLock<Slots>>,
}

#[derive(Debug, Default)]
struct Slots {
    of: HashMap<TopicPartition, Arc<Slot>>,
    /// The topics forgotten last, and when.
    forgotten: VecDeque<(TopicId, Instant)>,
}

#[derive(Debug, Default)]
struct Slot {
    known: Mutex<Known>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    log_start: Option<i64>,
    high_watermark: Option<i64>,
    learned: Option<Instant>,
    /// When the log start was told last.
    started: Option<Instant>,
    rows: VecDeque<IndexRow>,
    forgotten: bool,
}

impl Partitions {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets a topic that was deleted, and wakes who waits for its partitions.
    pub fn forget(&self, topic: TopicId) {
        let mut gone = Vec::new();
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.forgotten.len() == FORGOTTEN {
            slots.forgotten.pop_front();
        }
        slots.forgotten.push_back((topic, Instant::now()));
        slots.of.retain(|partition, slot| {
            let stays = partition.topic != topic;
            if !stays {
                gone.push(slot.clone());
            }
            stays
        });
        drop(slots);
        for slot in gone {
            slot.forget();
        }
    }

    /// The last known ends; they can be behind the truth.
    pub fn last_known(&self, partition: TopicPartition) -> Option<Watermarks> {
        let slot = self.slot(partition)?;
        let known = slot.lock();
        Some(Watermarks { log_start: known.log_start?, high_watermark: known.high_watermark? })
    }

    /// Takes note of `rows` that were just committed, and wakes who waits for them.
    pub(crate) fn committed(&self, partition: TopicPartition, rows: Vec<IndexRow>) {
        let Some(high_watermark) = rows.last().map(|row| row.next_offset) else { return };
        let Some(slot) = self.slot_or_new(partition, None) else { return };
        let mut known = slot.lock();
        for row in rows {
            known.push(row);
        }
        known.high_watermark = known.high_watermark.max(Some(high_watermark));
        known.learned = Some(Instant::now());
        drop(known);
        slot.changed.notify_waiters();
    }

    /// Takes note of ends that the metadata store told after `asked`; `None`: it does not know
    /// the partition.
    pub(crate) fn learned(
        &self,
        partition: TopicPartition,
        ends: Option<Watermarks>,
        asked: Instant,
    ) {
        let Some(ends) = ends else {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            let gone = slots.of.remove(&partition);
            drop(slots);
            if let Some(slot) = gone {
                slot.forget();
            }
            return;
        };
        let Some(slot) = self.slot_or_new(partition, Some(asked)) else { return };
        let mut known = slot.lock();
        let grew = known.high_watermark < Some(ends.high_watermark);
        known.begin(ends.log_start, asked);
        known.high_watermark = known.high_watermark.max(Some(ends.high_watermark));
        known.learned = known.learned.max(Some(asked));
        drop(known);
        if grew {
            slot.changed.notify_waiters();
        }
    }

    /// Takes note that records before `log_start` were removed after `asked`.
    pub(crate) fn trimmed(&self, partition: TopicPartition, log_start: i64, asked: Instant) {
        let Some(slot) = self.slot(partition) else { return };
        let mut known = slot.lock();
        known.begin(log_start, asked);
        known.high_watermark = known.high_watermark.max(Some(log_start));
    }

    /// The rows from `offset` on, if they are all known: to `max_bytes`, or to the end of the log.
    /// `None` also when the start of the log was not told for a while.
    pub(crate) fn recent(
        &self,
        partition: TopicPartition,
        offset: i64,
        max_bytes: u64,
    ) -> Option<Located> {
        let slot = self.slot(partition)?;
        let known = slot.lock();
        known.started.filter(|at| at.elapsed() < START_IS_FRESH)?;
        let watermarks = known.holding(offset)?;
        if offset == watermarks.high_watermark {
            let fresh = known.learned.is_some_and(|at| at.elapsed() < END_IS_FRESH);
            return fresh.then(|| Located { watermarks, rows: Vec::new() });
        }
        known.rows(offset, max_bytes, watermarks)
    }

    /// As [`recent`](Self::recent), when the metadata store cannot be asked: however old it is. It
    /// knows nothing of the end of the log.
    pub(crate) fn remembered(
        &self,
        partition: TopicPartition,
        offset: i64,
        max_bytes: u64,
    ) -> Option<Located> {
        let slot = self.slot(partition)?;
        let known = slot.lock();
        let watermarks = known.holding(offset)?;
        known.rows(offset, max_bytes, watermarks)
    }

    /// When the record at `offset` was appended and how much follows it, if the rows from there to
    /// the last known end are all known. Nothing is copied.
    pub fn position(&self, partition: TopicPartition, offset: i64) -> Option<Position> {
        let slot = self.slot(partition)?;
        let known = slot.lock();
        let first = known.rows.partition_point(|row| row.next_offset <= offset);
        let row = known.rows.get(first).filter(|row| row.base_offset <= offset)?;
        let is_whole = known.rows.back().map(|row| row.next_offset) == known.high_watermark;
        is_whole.then(|| Position {
            append_time_ms: row.append_time_ms,
            bytes_after: known.rows.range(first + 1..).map(|row| i64::from(row.length)).sum(),
        })
    }

    /// Waits until one of `wanted` is known to reach beyond its offset, or is not known any more.
    pub(crate) async fn wait(&self, wanted: &[(TopicPartition, i64)]) {
        loop {
            let mut waiting = Vec::with_capacity(wanted.len());
            for (partition, offset) in wanted {
                let Some(slot) = self.slot(*partition) else { return };
                // Made before the look: it notices every change from here on, so that none falls
                // between the two.
                let changed = Box::pin(slot.changed.clone().notified_owned());
                let known = slot.lock();
                if known.forgotten || known.high_watermark > Some(*offset) {
                    return;
                }
                drop(known);
                waiting.push(changed);
            }
            if waiting.is_empty() {
                return std::future::pending().await;
            }
            select_all(waiting).await;
        }
    }

    fn slot(&self, partition: TopicPartition) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).of.get(&partition).cloned()
    }

    /// `None` for a topic that was forgotten, unless the metadata store told of it when it was
    /// `asked` after that: then it was forgotten in error.
    fn slot_or_new(&self, partition: TopicPartition, asked: Option<Instant>) -> Option<Arc<Slot>> {
        if let Some(slot) = self.slot(partition) {
            return Some(slot);
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.forgotten.retain(|(topic, at)| *topic != partition.topic || asked <= Some(*at));
        let gone = slots.forgotten.iter().any(|(topic, _)| *topic == partition.topic);
        (!gone).then(|| slots.of.entry(partition).or_default().clone())
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        self.lock().forgotten = true;
        self.changed.notify_waiters();
    }
}

impl Known {
    /// Takes note of the log start that was told after `asked`.
    fn begin(&mut self, log_start: i64, asked: Instant) {
        self.log_start = self.log_start.max(Some(log_start));
        self.started = self.started.max(Some(asked));
        while self.rows.front().is_some_and(|row| Some(row.next_offset) <= self.log_start) {
            self.rows.pop_front();
        }
    }

    /// The ends, if the log has begun at `offset` or before.
    fn holding(&self, offset: i64) -> Option<Watermarks> {
        let (log_start, high_watermark) = (self.log_start?, self.high_watermark?);
        (offset >= log_start).then_some(Watermarks { log_start, high_watermark })
    }

    /// The rows from `offset` on; `None` when the first is not among those kept.
    fn rows(&self, offset: i64, max_bytes: u64, watermarks: Watermarks) -> Option<Located> {
        let first = self.rows.partition_point(|row| row.next_offset <= offset);
        if self.rows.get(first).is_none_or(|row| row.base_offset > offset) {
            return None;
        }
        let mut rows = Vec::new();
        let mut bytes = 0;
        for row in self.rows.range(first..) {
            if bytes >= max_bytes && !rows.is_empty() {
                break;
            }
            bytes += u64::from(row.length);
            rows.push(row.clone());
        }
        Some(Located { watermarks, rows })
    }

    fn push(&mut self, row: IndexRow) {
        if self.rows.back().is_some_and(|last| last.next_offset != row.base_offset) {
            self.rows.clear(); // another agent wrote in between
        }
        if self.rows.len() == ROWS {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use streamhouse_metadata::TopicPartition;
    use tokio::time::{advance, timeout};
    use uuid::Uuid;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition { topic: TopicId(Uuid::from_u128(7)), partition: number }
    }

    fn row(base_offset: i64, next_offset: i64) -> IndexRow {
        IndexRow {
            base_offset,
            next_offset,
            object: "o".into(),
            block_position: 0,
            block_length: 100,
            block_crc: 0,
            position: 0,
            length: 100,
            max_timestamp_ms: 0,
            append_time_ms: 0,
        }
    }

    fn ends(log_start: i64, high_watermark: i64) -> Option<Watermarks> {
        Some(Watermarks { log_start, high_watermark })
    }

    #[tokio::test(start_paused = true)]
    async fn the_tail_is_answered_from_memory_and_the_rest_is_not() {
        let partitions = Partitions::new();
        partitions.committed(partition(0), vec![row(10, 20), row(20, 30)]);
        assert!(partitions.recent(partition(0), 10, 1).is_none(), "the log start is not known");

        partitions.learned(partition(0), ends(0, 30), Instant::now());
        let one = partitions.recent(partition(0), 15, 1).unwrap();
        assert_eq!(one.rows, [row(10, 20)]);
        assert_eq!(partitions.recent(partition(0), 15, 1000).unwrap().rows.len(), 2);
        assert_eq!(partitions.recent(partition(0), 20, 1000).unwrap().rows, [row(20, 30)]);
        for outside in [-1, 9, 31] {
            assert!(partitions.recent(partition(0), outside, 1).is_none(), "{outside}");
        }
    }

    #[tokio::test]
    async fn a_position_is_told_when_all_that_follows_it_is_known() {
        let partitions = Partitions::new();
        assert_eq!(partitions.position(partition(0), 0), None);
        let timed = |base, next, append_time_ms| IndexRow { append_time_ms, ..row(base, next) };
        partitions.committed(partition(0), vec![timed(10, 20, 7), timed(20, 30, 8)]);
        let at = |append_time_ms, bytes_after| Some(Position { append_time_ms, bytes_after });
        assert_eq!(partitions.position(partition(0), 10), at(7, 100), "no log start is needed");
        assert_eq!(partitions.position(partition(0), 19), at(7, 100));
        assert_eq!(partitions.position(partition(0), 20), at(8, 0));
        assert_eq!(partitions.position(partition(0), 9), None, "it is older than the rows");
        assert_eq!(partitions.position(partition(0), 30), None, "nothing is there yet");

        partitions.learned(partition(0), ends(0, 40), Instant::now());
        assert_eq!(partitions.position(partition(0), 20), None, "another agent wrote after it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_log_is_believed_for_a_moment_only() {
        let partitions = Partitions::new();
        partitions.learned(partition(0), ends(0, 30), Instant::now());
        assert_eq!(partitions.recent(partition(0), 30, 1).unwrap().rows, []);
        advance(END_IS_FRESH).await;
        assert!(partitions.recent(partition(0), 30, 1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_start_of_the_log_is_believed_for_a_while_and_rows_before_it_are_dropped() {
        let partitions = Partitions::new();
        partitions.learned(partition(0), ends(0, 0), Instant::now());
        partitions.committed(partition(0), vec![row(0, 10), row(10, 20)]);
        partitions.trimmed(partition(0), 15, Instant::now());
        assert!(partitions.recent(partition(0), 14, 1).is_none());
        assert!(partitions.remembered(partition(0), 14, 1).is_none());
        let told = partitions.recent(partition(0), 15, 1).unwrap();
        assert_eq!((told.rows, told.watermarks), (vec![row(10, 20)], ends(15, 20).unwrap()));
        partitions.trimmed(partition(0), 5, Instant::now());
        assert_eq!(partitions.last_known(partition(0)), ends(15, 20), "a start never moves back");

        advance(START_IS_FRESH).await;
        assert!(partitions.recent(partition(0), 15, 1).is_none(), "it may have moved elsewhere");
        assert!(partitions.remembered(partition(0), 15, 1).is_some());
        partitions.trimmed(partition(0), 20, Instant::now());
        assert!(partitions.slot(partition(0)).unwrap().lock().rows.is_empty());
        partitions.committed(partition(0), vec![row(20, 30)]);
        assert_eq!(partitions.recent(partition(0), 20, 1).unwrap().rows, [row(20, 30)]);
    }

    #[tokio::test]
    async fn rows_after_a_gap_replace_those_before_it() {
        let partitions = Partitions::new();
        partitions.learned(partition(0), ends(0, 0), Instant::now());
        partitions.committed(partition(0), vec![row(0, 10)]);
        partitions.committed(partition(0), vec![row(15, 20)]);
        assert!(partitions.recent(partition(0), 0, 1).is_none());
        assert!(partitions.recent(partition(0), 12, 1).is_none());
        assert!(partitions.recent(partition(0), 15, 1).is_some());
    }

    #[tokio::test]
    async fn memory_holds_a_bounded_number_of_rows_of_a_partition() {
        let partitions = Partitions::new();
        for offset in 0..ROWS as i64 + 5 {
            partitions.committed(partition(0), vec![row(offset, offset + 1)]);
        }
        assert_eq!(partitions.slot(partition(0)).unwrap().lock().rows.len(), ROWS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_to_any_wanted_partition_ends_the_wait() {
        let partitions = Partitions::new();
        for number in 0..3 {
            partitions.learned(partition(number), ends(0, 10), Instant::now());
        }
        let wanted = [(partition(0), 10), (partition(1), 10), (partition(2), 10)];
        let mut wait = pin!(partitions.wait(&wanted));
        assert!(timeout(Duration::from_secs(60), &mut wait).await.is_err());
        partitions.committed(partition(1), vec![row(10, 11)]);
        timeout(Duration::from_secs(1), wait).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn records_that_are_there_already_end_the_wait_at_once() {
        let partitions = Partitions::new();
        partitions.learned(partition(0), ends(0, 10), Instant::now());
        timeout(Duration::from_secs(1), partitions.wait(&[(partition(0), 9)])).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn forgetting_a_topic_ends_the_wait_for_its_partitions() {
        let partitions = Partitions::new();
        partitions.learned(partition(0), ends(0, 10), Instant::now());
        let wanted = [(partition(0), 10)];
        let mut wait = pin!(partitions.wait(&wanted));
        assert!(timeout(Duration::from_secs(1), &mut wait).await.is_err());
        partitions.forget(partition(0).topic);
        timeout(Duration::from_secs(1), wait).await.unwrap();
        assert!(partitions.last_known(partition(0)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_late_of_a_forgotten_topic_is_not_kept() {
        let partitions = Partitions::new();
        let asked = Instant::now();
        partitions.forget(partition(0).topic);
        partitions.committed(partition(0), vec![row(0, 10)]);
        partitions.learned(partition(0), ends(0, 10), asked);
        assert!(partitions.slot(partition(0)).is_none());

        // The store still has it: it was forgotten in error.
        advance(Duration::from_millis(1)).await;
        partitions.learned(partition(0), ends(0, 10), Instant::now());
        partitions.committed(partition(0), vec![row(10, 20)]);
        assert_eq!(partitions.last_known(partition(0)), ends(0, 20));
    }

    #[tokio::test]
    async fn a_bounded_number_of_forgotten_topics_is_remembered() {
        let partitions = Partitions::new();
        for number in 0..FORGOTTEN as u128 + 5 {
            partitions.forget(TopicId(Uuid::from_u128(number)));
        }
        assert_eq!(partitions.slots.read().unwrap().forgotten.len(), FORGOTTEN);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_commit_at_the_moment_when_a_wait_begins_is_not_missed() {
        const ROUNDS: i64 = 20_000;
        let partitions = Partitions::new();
        partitions.learned(partition(0), ends(0, 0), Instant::now());
        let waits = Arc::new(std::sync::atomic::AtomicI64::new(-1));
        let (writer, seen) = (partitions.clone(), waits.clone());
        let writes = std::thread::spawn(move || {
            for n in 0..ROUNDS {
                while seen.load(std::sync::atomic::Ordering::Acquire) < n {
                    std::hint::spin_loop();
                }
                // Each round hits another moment of the wait's beginning.
                for _ in 0..n % 256 {
                    std::hint::spin_loop();
                }
                writer.committed(partition(0), vec![row(n, n + 1)]);
            }
        });
        for n in 0..ROUNDS {
            waits.store(n, std::sync::atomic::Ordering::Release);
            let wanted = [(partition(0), n)];
            let wait = timeout(Duration::from_secs(30), partitions.wait(&wanted));
            wait.await.unwrap_or_else(|_| panic!("the wake-up of round {n} was missed"));
        }
        writes.join().unwrap();
    }
}
