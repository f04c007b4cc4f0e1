//! Idempotence: the place of a batch in its producer's sequence.

use crate::types::{ProducerBatch, Rejection};
use std::collections::VecDeque;

/// How many batches of a producer and partition are remembered: clients keep at most five in
/// flight.
const REMEMBERED: usize = 5;
/// Sequences run from 0 to `i32::MAX` and begin again.
const MODULUS: i64 = 1 << 31;

/// A batch that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) first: i32,
    pub(crate) last: i32,
    pub(crate) offset: i64,
}

/// What is known of one producer in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProducerState {
    pub(crate) epoch: i16,
    /// The last accepted batches, oldest first.
    pub(crate) batches: VecDeque<Remembered>,
}

/// What the sequence says about a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Duplicate(i64),
    Reject(Rejection),
}

/// The sequence `steps` after `sequence`.
pub(crate) fn after(sequence: i32, steps: i32) -> i32 {
    // The remainder lies in 0..2^31.
    ((i64::from(sequence) + i64::from(steps)).rem_euclid(MODULUS)) as i32
}

/// How far `to` lies ahead of `from`; negative when it lies behind.
fn distance(from: i32, to: i32) -> i64 {
    let ahead = (i64::from(to) - i64::from(from)).rem_euclid(MODULUS);
    if ahead < MODULUS / 2 { ahead } else { ahead - MODULUS }
}

/// Judges a batch of `records` records. `state` is what is known of its producer in its partition,
/// `min_epoch` the lowest epoch that the producer may still use anywhere.
pub(crate) fn judge(
    state: Option<&ProducerState>,
    min_epoch: i16,
    claim: ProducerBatch,
    records: i32,
) -> Verdict {
    if claim.epoch < min_epoch || state.is_some_and(|state| claim.epoch < state.epoch) {
        return Verdict::Reject(Rejection::Fenced);
    }
    let Some((state, newest)) = state.and_then(|state| Some((state, state.batches.back()?))) else {
        return match claim.sequence {
            0 => Verdict::Accept,
            _ => Verdict::Reject(Rejection::UnknownProducer),
        };
    };
    if claim.epoch > state.epoch {
        return match claim.sequence {
            0 => Verdict::Accept,
            _ => Verdict::Reject(Rejection::OutOfOrder { expected: 0 }),
        };
    }
    let last = after(claim.sequence, records - 1);
    let same = |one: &&Remembered| one.first == claim.sequence && one.last == last;
    if let Some(known) = state.batches.iter().find(same) {
        return Verdict::Duplicate(known.offset);
    }
    let expected = after(newest.last, 1);
    if claim.sequence == expected {
        Verdict::Accept
    } else if claim.sequence >= 0 && distance(expected, claim.sequence) < 0
        // A batch that reaches beyond what is stored is no repetition: acknowledging it as one
        // would lose its end.
        && distance(expected, last) < 0
    {
        Verdict::Reject(Rejection::ForgottenDuplicate)
    } else {
        Verdict::Reject(Rejection::OutOfOrder { expected })
    }
}

impl ProducerState {
    /// Remembers an accepted batch.
    pub(crate) fn accept(&mut self, claim: ProducerBatch, records: i32, offset: i64) {
        if claim.epoch != self.epoch {
            self.epoch = claim.epoch;
            self.batches.clear();
        }
        if self.batches.len() == REMEMBERED {
            self.batches.pop_front();
        }
        let last = after(claim.sequence, records - 1);
        self.batches.push_back(Remembered { first: claim.sequence, last, offset });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(epoch: i16, sequence: i32) -> ProducerBatch {
        ProducerBatch { id: 7, epoch, sequence }
    }

    fn after_batches(batches: &[(i32, i32)]) -> ProducerState {
        let mut state = ProducerState::default();
        for (place, (sequence, records)) in batches.iter().enumerate() {
            state.accept(claim(0, *sequence), *records, place as i64 * 100);
        }
        state
    }

    #[test]
    fn without_state_only_sequence_zero_is_accepted() {
        assert_eq!(judge(None, 0, claim(3, 0), 5), Verdict::Accept);
        let unknown = Verdict::Reject(Rejection::UnknownProducer);
        assert_eq!(judge(None, 0, claim(3, 1), 5), unknown);
        assert_eq!(judge(None, 0, claim(3, -1), 5), unknown);
    }

    #[test]
    fn the_last_five_batches_are_known_by_their_offset_and_older_ones_are_forgotten() {
        let state = after_batches(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        let forgotten = Verdict::Reject(Rejection::ForgottenDuplicate);
        assert_eq!(judge(Some(&state), 0, claim(0, 0), 1), forgotten);
        for sequence in 1..=5 {
            let known = Verdict::Duplicate(i64::from(sequence) * 100);
            assert_eq!(judge(Some(&state), 0, claim(0, sequence), 1), known);
        }
        assert_eq!(judge(Some(&state), 0, claim(0, 6), 1), Verdict::Accept);
    }

    #[test]
    fn a_gap_names_the_sequence_that_would_have_been_accepted() {
        let state = after_batches(&[(0, 10)]);
        let gap = Verdict::Reject(Rejection::OutOfOrder { expected: 10 });
        assert_eq!(judge(Some(&state), 0, claim(0, 11), 1), gap);
        assert_eq!(judge(Some(&state), 0, claim(0, -1), 1), gap);
    }

    #[test]
    fn a_batch_that_reaches_beyond_the_stored_ones_is_not_a_duplicate() {
        let state = after_batches(&[(0, 10)]);
        let gap = Verdict::Reject(Rejection::OutOfOrder { expected: 10 });
        assert_eq!(judge(Some(&state), 0, claim(0, 5), 10), gap);
        let forgotten = Verdict::Reject(Rejection::ForgottenDuplicate);
        assert_eq!(judge(Some(&state), 0, claim(0, 5), 5), forgotten);
    }

    #[test]
    fn a_lower_epoch_is_fenced_and_a_higher_one_begins_at_zero() {
        let mut state = after_batches(&[(0, 10)]);
        state.epoch = 4;
        let fenced = Verdict::Reject(Rejection::Fenced);
        assert_eq!(judge(Some(&state), 0, claim(3, 10), 1), fenced);
        assert_eq!(judge(Some(&state), 5, claim(4, 10), 1), fenced);
        assert_eq!(judge(None, 1, claim(0, 0), 1), fenced);
        let gap = Verdict::Reject(Rejection::OutOfOrder { expected: 0 });
        assert_eq!(judge(Some(&state), 0, claim(5, 10), 1), gap);
        assert_eq!(judge(Some(&state), 0, claim(5, 0), 1), Verdict::Accept);
        state.accept(claim(5, 0), 1, 900);
        assert_eq!((state.epoch, state.batches.len()), (5, 1));
    }

    #[test]
    fn sequences_begin_again_after_the_greatest() {
        assert_eq!(after(i32::MAX, 1), 0);
        let state = after_batches(&[(i32::MAX - 1, 4)]);
        assert_eq!(state.batches[0].last, 1);
        assert_eq!(judge(Some(&state), 0, claim(0, 2), 1), Verdict::Accept);
        assert_eq!(judge(Some(&state), 0, claim(0, i32::MAX - 1), 4), Verdict::Duplicate(0));
        let forgotten = Verdict::Reject(Rejection::ForgottenDuplicate);
        assert_eq!(judge(Some(&state), 0, claim(0, i32::MAX - 9), 2), forgotten);
        let gap = Verdict::Reject(Rejection::OutOfOrder { expected: 2 });
        assert_eq!(judge(Some(&state), 0, claim(0, 3), 1), gap);
    }
}
