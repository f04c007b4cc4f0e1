//! The decision against a simple sequential model that remembers everything.

use super::decide::{Decision, Known, NewRun, PartitionState, State, decide};
use super::outcomes::{decode, encode};
use crate::types::{
    Batch, BatchOutcome, Block, ProducerBatch, Rejection, Segment, SegmentId, TopicId,
    TopicPartition,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use ulid::Ulid;
use uuid::Uuid;

const PARTITIONS: i32 = 3;

fn at(partition: i32) -> TopicPartition {
    TopicPartition { topic: TopicId(Uuid::from_u128(1)), partition }
}

/// All that was ever accepted from one producer into one partition, oldest first.
type History = Vec<(i16, i32, i32, i64)>;

/// Judges batch after batch, by what the promise says rather than by what the code keeps.
#[derive(Default)]
struct Model {
    ends: HashMap<i32, i64>,
    histories: HashMap<(i32, i64), History>,
}

impl Model {
    fn judge(&mut self, partition: i32, batch: &Batch) -> BatchOutcome {
        if partition >= PARTITIONS {
            return BatchOutcome::Rejected(Rejection::UnknownPartition);
        }
        let end = self.ends.entry(partition).or_default();
        let mut accept = || {
            let offset = *end;
            *end += i64::from(batch.records);
            offset
        };
        let Some(claim) = batch.producer else { return BatchOutcome::Committed(accept()) };
        let history = self.histories.entry((partition, claim.id)).or_default();
        let epoch = history.last().map(|last| last.0);
        let current: History = history.iter().copied().filter(|one| Some(one.0) == epoch).collect();
        let accepted = match epoch {
            _ if claim.epoch < epoch.unwrap_or(0) => Err(Rejection::Fenced),
            None if claim.sequence != 0 => Err(Rejection::UnknownProducer),
            Some(epoch) if claim.epoch == epoch => {
                let end = current.last().map_or(0, |last| last.1 + last.2);
                let recent = &current[current.len().saturating_sub(5)..];
                let same =
                    |one: &&(i16, i32, i32, i64)| (one.1, one.2) == (claim.sequence, batch.records);
                if let Some(known) = recent.iter().find(same) {
                    return BatchOutcome::Duplicate(known.3);
                }
                if claim.sequence == end {
                    Ok(())
                } else if claim.sequence >= 0 && claim.sequence + batch.records <= end {
                    Err(Rejection::ForgottenDuplicate)
                } else {
                    Err(Rejection::OutOfOrder { expected: end })
                }
            }
            Some(_) if claim.sequence != 0 => Err(Rejection::OutOfOrder { expected: 0 }),
            _ => Ok(()),
        };
        match accepted {
            Err(reason) => BatchOutcome::Rejected(reason),
            Ok(()) => {
                let offset = accept();
                history.push((claim.epoch, claim.sequence, batch.records, offset));
                BatchOutcome::Committed(offset)
            }
        }
    }
}

/// What a store keeps, with decisions written into it.
struct Stored {
    state: State,
    runs: BTreeMap<(i64, i64), NewRun>,
}

impl Stored {
    fn new() -> Self {
        let partition = |one| {
            (
                at(one),
                PartitionState {
                    id: i64::from(one) + 100,
                    high_watermark: 0,
                    max_timestamp_ms: -1,
                    end_bytes: 0,
                },
            )
        };
        let partitions = (0..PARTITIONS).map(partition).collect();
        Self { state: State { partitions, ..State::default() }, runs: BTreeMap::new() }
    }

    fn commit(&mut self, segments: &[Segment]) -> Vec<Vec<BatchOutcome>> {
        let Decision { outcomes, segments: new, ends, sequences } =
            decide(self.state.clone(), segments).unwrap();
        for one in new {
            let text = encode(&segments[one.place], &outcomes[one.place]);
            assert_eq!(decode(&segments[one.place], Some(&text)).unwrap(), outcomes[one.place]);
            self.state.segments.insert(one.id, Known::Live(Some(text)));
            for run in one.runs {
                let twice = self.runs.insert((run.partition, run.base_offset), run);
                assert_eq!(twice, None);
            }
        }
        for partition in self.state.partitions.values_mut() {
            if let Some(end) = ends.get(&partition.id) {
                *partition = *end;
            }
        }
        self.state.sequences.states.extend(sequences);
        outcomes
    }

    /// The runs of each partition follow each other without a gap, up to its end.
    fn check_runs(&self) {
        for partition in self.state.partitions.values() {
            let mut expected = 0;
            let mut bytes = 0;
            for run in self.runs.values().filter(|run| run.partition == partition.id) {
                assert_eq!(run.base_offset, expected);
                assert!(run.position + run.length <= run.block_length);
                expected = run.next_offset;
                bytes += i64::from(run.length);
                assert_eq!(run.end_bytes, bytes);
            }
            assert_eq!((expected, bytes), (partition.high_watermark, partition.end_bytes));
        }
    }
}

/// What a producer tries next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The batch after its last.
    Next,
    /// The batch that was accepted so many batches ago, exactly.
    Again(usize),
    /// Any sequence.
    At(i32),
    /// A raised epoch, with any sequence.
    Raise(i32),
    /// An epoch below its last.
    Former,
}

/// A batch to make: producer and step, and how many records.
type Intent = (Option<(i64, Step)>, i32);
/// A segment to make: its id, and per block the partition and the batches.
type Plan = (u128, Vec<(i32, Vec<Intent>)>);

fn intents() -> impl Strategy<Value = Intent> {
    let step = prop_oneof![
        8 => Just(Step::Next),
        5 => (0..8_usize).prop_map(Step::Again),
        1 => (-1..12_i32).prop_map(Step::At),
        1 => (0..2_i32).prop_map(Step::Raise),
        1 => Just(Step::Former),
    ];
    (prop::option::weighted(0.9, (1..3_i64, step)), 1..4_i32)
}

fn plans() -> impl Strategy<Value = Plan> {
    let blocks = (0..=PARTITIONS, prop::collection::vec(intents(), 0..8));
    (any::<u128>(), prop::collection::vec(blocks, 0..4))
}

impl Model {
    /// The batch that `intent` means now.
    fn batch(&self, partition: i32, (producer, records): Intent) -> Batch {
        let mut batch =
            Batch { position: 0, length: 10, records, max_timestamp_ms: 0, producer: None };
        let Some((id, step)) = producer else { return batch };
        let history = self.histories.get(&(partition, id)).map_or(&[][..], Vec::as_slice);
        let (epoch, next) = history.last().map_or((0, 0), |last| (last.0, last.1 + last.2));
        let (epoch, sequence) = match step {
            Step::Next => (epoch, next),
            Step::Again(back) => match history.iter().rev().nth(back) {
                None => (epoch, next),
                Some(one) => {
                    batch.records = one.2;
                    (one.0, one.1)
                }
            },
            Step::At(sequence) => (epoch, sequence),
            Step::Raise(sequence) => (epoch + 1, sequence),
            Step::Former => (epoch - 1, next),
        };
        batch.producer = Some(ProducerBatch { id, epoch, sequence });
        batch
    }

    /// Makes a segment of `plan`, and judges its batches on the way.
    fn segment(&mut self, (id, blocks): &Plan) -> (Segment, Vec<BatchOutcome>) {
        let id = SegmentId(Ulid(*id));
        let mut outcomes = Vec::new();
        let mut made = Vec::new();
        for (partition, intents) in blocks {
            let mut length = 0;
            let mut batches = Vec::new();
            for intent in intents {
                let batch = Batch { position: length, ..self.batch(*partition, *intent) };
                length += batch.length;
                outcomes.push(self.judge(*partition, &batch));
                batches.push(batch);
            }
            let partition = at(*partition);
            made.push(Block { partition, position: 0, length, crc: 0, append_time_ms: 0, batches });
        }
        (Segment { id, object: id.to_string().into(), bytes: 1, blocks: made }, outcomes)
    }
}

proptest! {
    #[test]
    fn commits_agree_with_the_model_and_repeated_ones_change_nothing(
        commits in prop::collection::vec((prop::collection::vec(plans(), 1..4), any::<bool>()), 1..20)
    ) {
        let mut stored = Stored::new();
        let mut model = Model::default();
        for (plans, repeat) in commits {
            let (segments, expected): (Vec<_>, Vec<_>) =
                plans.iter().map(|plan| model.segment(plan)).unzip();
            prop_assert_eq!(&stored.commit(&segments), &expected);
            if repeat {
                let before = stored.runs.len();
                prop_assert_eq!(&stored.commit(&segments), &expected);
                prop_assert_eq!(stored.runs.len(), before);
            }
        }
        stored.check_runs();
    }

    #[test]
    fn unreadable_outcomes_are_an_error_and_never_a_panic(
        plan in plans(), text in "[cdpofues0-9* -]{0,40}"
    ) {
        let (segment, _) = Model::default().segment(&plan);
        let _ = decode(&segment, Some(&text));
    }
}

#[test]
fn a_segment_below_the_floor_or_dead_is_stale_and_changes_nothing() {
    let batch = Batch { position: 0, length: 1, records: 1, max_timestamp_ms: 0, producer: None };
    let block = Block {
        partition: at(0),
        position: 0,
        length: 1,
        crc: 0,
        append_time_ms: 0,
        batches: vec![batch],
    };
    let segment = |stamp| Segment {
        id: SegmentId(Ulid::from_parts(stamp, 0)),
        object: "o".into(),
        bytes: 1,
        blocks: vec![block.clone()],
    };
    let mut stored = Stored::new();
    stored.state.floor_ms = 1_000;
    let dead = segment(1_001);
    stored.state.segments.insert(dead.id, Known::Dead);
    let stale = vec![BatchOutcome::Rejected(Rejection::StaleSegment { floor_ms: 1_000 })];
    let outcomes = stored.commit(&[segment(999), dead, segment(1_000)]);
    assert_eq!(outcomes, vec![stale.clone(), stale, vec![BatchOutcome::Committed(0)]]);
    assert_eq!(stored.state.segments.len(), 2);
}

#[test]
fn texts_of_earlier_versions_are_readable() {
    let batch = Batch { position: 0, length: 1, records: 1, max_timestamp_ms: 0, producer: None };
    let block = Block {
        partition: at(0),
        position: 0,
        length: 2,
        crc: 0,
        append_time_ms: 0,
        batches: vec![batch.clone(), batch],
    };
    let id = SegmentId(Ulid::from_parts(1, 1));
    let segment = Segment { id, object: "o".into(), bytes: 2, blocks: vec![block] };
    let stale = |floor_ms| BatchOutcome::Rejected(Rejection::StaleSegment { floor_ms });
    assert_eq!(decode(&segment, Some("s s7")).unwrap(), vec![stale(0), stale(7)]);
    assert_eq!(encode(&segment, &[stale(0), stale(7)]), "s0 s7");
}

#[test]
fn offsets_that_run_out_are_refused() {
    let mut stored = Stored::new();
    for partition in stored.state.partitions.values_mut() {
        partition.high_watermark = i64::MAX - 1;
    }
    let batch = Batch { position: 0, length: 1, records: 2, max_timestamp_ms: 0, producer: None };
    let block = Block {
        partition: at(0),
        position: 0,
        length: 1,
        crc: 0,
        append_time_ms: 0,
        batches: vec![batch],
    };
    let id = SegmentId(Ulid::from_parts(1, 1));
    let segment = Segment { id, object: "o".into(), bytes: 1, blocks: vec![block] };
    assert!(decide(stored.state, &[segment]).is_err());
}
