//! Which idempotent producers must send a failed batch again before any later one is taken.
//!
//! The metadata store checks sequences in the commit, so that a gap can never be committed. What
//! is kept here decides what a producer is *told*: that an earlier batch failed (it sends all
//! again, in order) or that there is a gap (which some clients take as the end of their life).
//! It also keeps successors of a failed batch out of the commit at all.
//!
//! Losing an entry is therefore safe: the answer is then the milder one. So memory is bounded
//! plainly: entries live in two generations; an entry that is used moves into the young one; when
//! that is full or old, the old one is dropped and the young one takes its place.

use crate::error::AppendError;
use std::collections::HashMap;
use std::time::Duration;
use streamhouse_metadata::{ProducerBatch, Rejection, TopicPartition};
use tokio::time::Instant;

/// Entries in one generation.
const GENERATION: usize = 50_000;
/// A generation's life: an entry that is not used is gone after one to two of these. Longer than
/// producers retry a batch.
const LIFE: Duration = Duration::from_secs(600);
/// For how long a failure keeps later batches out by itself. Longer, it would shut a producer out
/// that had its failed batch committed by another agent; from then on only the metadata store
/// judges.
const HOLD: Duration = Duration::from_secs(30);

type Key = (i64, TopicPartition);

#[derive(Debug)]
pub(super) struct Producers {
    young: HashMap<Key, Entry>,
    old: HashMap<Key, Entry>,
    turned: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    epoch: i16,
    /// The sequence that follows the last batch that this agent committed.
    next: Option<i32>,
    /// The earliest sequence that failed and has not come back, and when it failed.
    failed: Option<(i32, Instant)>,
    /// Whether anything of this epoch ever failed.
    saw_failure: bool,
}

impl Entry {
    fn new(epoch: i16) -> Self {
        Self { epoch, next: None, failed: None, saw_failure: false }
    }
}

impl Producers {
    pub fn new() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), turned: Instant::now() }
    }

    /// Whether a batch may be committed. A failed sequence that returns is let through, and
    /// with it what follows: whether it succeeds is decided in the same or an earlier commit.
    pub fn admit(&mut self, partition: TopicPartition, claim: ProducerBatch) -> bool {
        let Some(entry) = self.entry(partition, claim) else { return true };
        match entry.failed {
            Some((failed, at)) if at.elapsed() < HOLD => {
                if claim.sequence == failed {
                    entry.failed = None;
                }
                !is_later(claim.sequence, failed)
            }
            _ => true,
        }
    }

    /// Takes note that a batch failed, whatever the reason.
    pub fn failed(&mut self, partition: TopicPartition, claim: ProducerBatch) {
        if let Some(entry) = self.entry_or_new(partition, claim) {
            let earliest = match entry.failed {
                Some((failed, _)) if is_later(claim.sequence, failed) => failed,
                _ => claim.sequence,
            };
            entry.failed = Some((earliest, Instant::now()));
            entry.saw_failure = true;
        }
    }

    /// Takes note that this agent committed a batch.
    pub fn committed(&mut self, partition: TopicPartition, claim: ProducerBatch, records: i32) {
        self.returned(partition, claim);
        if let Some(entry) = self.entry_or_new(partition, claim) {
            entry.next = Some(after(claim.sequence, records));
        }
    }

    /// Takes note that a batch is in the log, whoever committed it: it may be an old one.
    pub fn returned(&mut self, partition: TopicPartition, claim: ProducerBatch) {
        if let Some(entry) = self.entry(partition, claim)
            && entry.failed.is_some_and(|(failed, _)| failed == claim.sequence)
        {
            entry.failed = None;
        }
    }

    /// What a producer is told of a rejection.
    pub fn explain(
        &mut self,
        partition: TopicPartition,
        claim: ProducerBatch,
        rejection: Rejection,
    ) -> AppendError {
        let entry = self.entry(partition, claim);
        let saw_failure = entry.as_ref().is_some_and(|entry| entry.saw_failure);
        let next = entry.and_then(|entry| entry.next);
        match rejection {
            Rejection::OutOfOrder { expected } if saw_failure || next != Some(expected) => {
                AppendError::PredecessorFailed
            }
            Rejection::UnknownProducer if saw_failure => AppendError::PredecessorFailed,
            Rejection::UnknownPartition | Rejection::StaleSegment { .. } => {
                self.failed(partition, claim);
                AppendError::Rejected(rejection)
            }
            other => AppendError::Rejected(other),
        }
    }

    /// The entry of the claim's epoch. One of an earlier epoch is forgotten; a claim of an earlier
    /// epoch has none: the metadata store refuses it.
    fn entry(&mut self, partition: TopicPartition, claim: ProducerBatch) -> Option<&mut Entry> {
        self.turn();
        let key = (claim.id, partition);
        if let Some(entry) = self.old.remove(&key) {
            self.young.entry(key).or_insert(entry);
        }
        let entry = self.young.get_mut(&key)?;
        if entry.epoch < claim.epoch {
            *entry = Entry::new(claim.epoch);
        }
        (entry.epoch == claim.epoch).then_some(entry)
    }

    fn entry_or_new(
        &mut self,
        partition: TopicPartition,
        claim: ProducerBatch,
    ) -> Option<&mut Entry> {
        if self.entry(partition, claim).is_none() {
            self.young.entry((claim.id, partition)).or_insert(Entry::new(claim.epoch));
        }
        self.entry(partition, claim)
    }

    fn turn(&mut self) {
        if self.young.len() >= GENERATION || self.turned.elapsed() >= LIFE {
            self.old = std::mem::take(&mut self.young);
            self.turned = Instant::now();
        }
    }
}

/// Whether `sequence` comes after `other`. Sequences start again at 0 after `i32::MAX`.
fn is_later(sequence: i32, other: i32) -> bool {
    let distance = sequence.wrapping_sub(other) & i32::MAX;
    distance != 0 && distance < 1 << 30
}

/// The sequence after `records` records from `sequence` on.
fn after(sequence: i32, records: i32) -> i32 {
    sequence.wrapping_add(records) & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamhouse_metadata::TopicId;
    use tokio::time::advance;
    use uuid::Uuid;

    const AT: TopicPartition = TopicPartition { topic: TopicId(Uuid::nil()), partition: 0 };

    fn claim(sequence: i32) -> ProducerBatch {
        of(1, 0, sequence)
    }

    fn of(id: i64, epoch: i16, sequence: i32) -> ProducerBatch {
        ProducerBatch { id, epoch, sequence }
    }

    fn is_gap(error: &AppendError) -> bool {
        matches!(error, AppendError::Rejected(Rejection::OutOfOrder { .. }))
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_before_a_failed_sequence_is_let_through_and_what_comes_after_is_not() {
        let mut producers = Producers::new();
        producers.failed(AT, claim(5));
        assert!(!producers.admit(AT, claim(10)));
        assert!(producers.admit(AT, claim(0)), "it may be a repetition");
        assert!(!producers.admit(AT, claim(10)));
        assert!(producers.admit(AT, claim(5)));
        assert!(producers.admit(AT, claim(10)), "its predecessor is in the same commit or before");
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_failures_the_earliest_must_return_also_where_sequences_begin_anew() {
        let mut producers = Producers::new();
        for sequence in [i32::MAX - 1, 3, 0] {
            producers.failed(AT, claim(sequence));
        }
        assert!(!producers.admit(AT, claim(0)));
        assert!(!producers.admit(AT, claim(3)));
        assert!(producers.admit(AT, claim(i32::MAX - 1)));
        assert!(producers.admit(AT, claim(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_of_the_failed_sequence_ends_the_failure_and_no_other_commit_does() {
        let mut producers = Producers::new();
        producers.failed(AT, claim(5));
        producers.committed(AT, claim(0), 5);
        assert!(!producers.admit(AT, claim(10)));
        producers.committed(AT, claim(5), 5);
        assert!(producers.admit(AT, claim(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_after_a_repetition_is_still_a_gap() {
        let mut producers = Producers::new();
        producers.committed(AT, claim(0), 5);
        producers.committed(AT, claim(5), 5);
        producers.returned(AT, claim(0));
        let told = producers.explain(AT, claim(20), Rejection::OutOfOrder { expected: 10 });
        assert!(is_gap(&told), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_keeps_others_out_for_a_limited_time_and_is_not_forgotten_by_then() {
        let mut producers = Producers::new();
        producers.committed(AT, claim(0), 5);
        producers.failed(AT, claim(5));
        advance(HOLD).await;
        assert!(producers.admit(AT, claim(10)));
        let told = producers.explain(AT, claim(10), Rejection::OutOfOrder { expected: 5 });
        assert!(matches!(told, AppendError::PredecessorFailed), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_is_told_only_after_a_commit_without_failure() {
        let expected = 5;
        let mut producers = Producers::new();
        let told = producers.explain(AT, claim(10), Rejection::OutOfOrder { expected });
        assert!(!is_gap(&told), "nothing is known: {told:?}");
        producers.committed(AT, claim(0), 5);
        let told = producers.explain(AT, claim(10), Rejection::OutOfOrder { expected });
        assert!(is_gap(&told), "{told:?}");
        let told = producers.explain(AT, claim(10), Rejection::OutOfOrder { expected: 9 });
        assert!(!is_gap(&told), "another agent went on: {told:?}");
        producers.failed(AT, claim(5));
        producers.committed(AT, claim(5), 5);
        let told = producers.explain(AT, claim(20), Rejection::OutOfOrder { expected: 10 });
        assert!(!is_gap(&told), "a failure was seen: {told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_the_commit_turned_away_is_a_failure_for_its_successors() {
        let mut producers = Producers::new();
        producers.committed(AT, claim(0), 5);
        let told = producers.explain(AT, claim(5), Rejection::StaleSegment { floor_ms: 7 });
        assert!(matches!(told, AppendError::Rejected(Rejection::StaleSegment { .. })), "{told:?}");
        assert!(!producers.admit(AT, claim(10)));
        let told = producers.explain(AT, claim(10), Rejection::OutOfOrder { expected: 5 });
        assert!(!is_gap(&told), "{told:?}");
        let told = producers.explain(AT, claim(10), Rejection::UnknownProducer);
        assert!(matches!(told, AppendError::PredecessorFailed), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_epoch_knows_nothing_of_the_one_before_and_nothing_is_learned_from_it() {
        let mut producers = Producers::new();
        producers.failed(AT, of(1, 3, 5));
        assert!(producers.admit(AT, of(1, 4, 10)));
        producers.failed(AT, of(1, 3, 5));
        assert!(producers.admit(AT, of(1, 4, 10)), "a late failure of the former epoch");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_what_is_used_stays() {
        let mut producers = Producers::new();
        producers.failed(AT, claim(5));
        for id in 2..4 * GENERATION as i64 {
            producers.failed(AT, of(id, 0, 0));
            if id % 1000 == 0 {
                assert!(!producers.admit(AT, claim(10)), "it is used, and forgotten");
            }
        }
        assert!(producers.young.len() + producers.old.len() <= 2 * GENERATION + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_idle_is_forgotten() {
        let mut producers = Producers::new();
        producers.failed(AT, claim(5));
        advance(LIFE).await;
        assert!(producers.admit(AT, of(2, 0, 0)));
        assert_eq!(producers.old.len(), 1);
        advance(LIFE).await;
        assert!(producers.admit(AT, of(2, 0, 0)));
        assert_eq!(producers.old.len() + producers.young.len(), 0);
    }
}
