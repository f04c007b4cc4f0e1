//! What becomes of a segment's batches: who is left out of the commit, and who learns what of it.

use super::Appended;
use super::commit::{Put, Stored};
use super::meters::Attempt;
use super::producers::Producers;
use super::queue::{Answer, Waiting};
use crate::error::{AppendError, StoreError};
use crate::partitions::Partitions;
use opentelemetry::trace::SpanContext;
use streamhouse_metadata::{
    BatchOutcome, Block, IndexRow, MetadataError, ProducerBatch, Segment, TopicPartition,
};
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::spans;
use tracing::Span;

/// What the metadata store decided about a segment's batches.
pub(super) type Decision = Result<Vec<BatchOutcome>, MetadataError>;

/// A segment whose PUT has ended, on its way through a commit.
pub(super) struct Candidate {
    number: u64,
    waiting: Vec<Waiting>,
    span: Span,
    flush: Option<SpanContext>,
    attempt: Attempt,
    fate: Fate,
}

enum Fate {
    /// It is not in the object store.
    NotStored(StoreError),
    /// None of its batches may be committed.
    LeftOut,
    /// It takes part in the commit, with the batches that arrived at these places.
    Commits(Option<Segment>, Vec<usize>),
}

impl Candidate {
    /// Takes the batches out that must not be committed. Called in the order of the log.
    pub fn new(put: Put, producers: &mut Producers) -> Self {
        let Put { number, waiting, span, flush, attempt, result } = put;
        let fate = match result {
            Err(error) => {
                for (partition, claim) in waiting.iter().filter_map(claim) {
                    producers.failed(partition, claim);
                }
                Fate::NotStored(error)
            }
            Ok(stored) => admitted(stored, producers),
        };
        Self { number, waiting, span, flush, attempt, fate }
    }

    /// The segment to commit, with the admitted batches only.
    pub fn take_segment(&mut self) -> Option<Segment> {
        match &mut self.fate {
            Fate::Commits(segment, _) => segment.take(),
            Fate::NotStored(_) | Fate::LeftOut => None,
        }
    }

    pub fn is_committed(&self) -> bool {
        matches!(self.fate, Fate::Commits(..))
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    /// The span of the flush, if it is sampled and takes part in the commit.
    pub fn sampled(&self) -> Option<(&Span, &SpanContext)> {
        let flush = self.flush.as_ref().filter(|_| self.is_committed())?;
        Some((&self.span, flush))
    }
}

fn claim(waiting: &Waiting) -> Option<(TopicPartition, ProducerBatch)> {
    Some((waiting.partition, waiting.producer?))
}

/// Keeps the batches whose producer has nothing to send again first.
fn admitted(stored: Stored, producers: &mut Producers) -> Fate {
    let Stored { mut segment, arrivals } = stored;
    let mut places = arrivals.into_iter();
    let mut kept = Vec::with_capacity(places.len());
    for block in &mut segment.blocks {
        let partition = block.partition;
        block.batches.retain(|batch| {
            let place = places.next();
            let admit = batch.producer.is_none_or(|claim| producers.admit(partition, claim));
            kept.extend(place.filter(|_| admit));
            admit
        });
    }
    segment.blocks.retain(|block| !block.batches.is_empty());
    if kept.is_empty() { Fate::LeftOut } else { Fate::Commits(Some(segment), kept) }
}

/// Tells producers' memory, partitions and waiters, in this order, what became of a segment.
pub(super) fn settle(
    candidate: Candidate,
    decided: Option<(Segment, Decision)>,
    producers: &mut Producers,
    partitions: &Partitions,
) {
    let Candidate { waiting, span, flush, attempt, fate, .. } = candidate;
    let left_out = match &fate {
        Fate::NotStored(error) => {
            spans::failed(&span, error.class.as_str());
            AppendError::Store(error.clone())
        }
        Fate::LeftOut | Fate::Commits(..) => AppendError::PredecessorFailed,
    };
    let mut answers: Vec<Answer> = waiting.iter().map(|_| Err(left_out.clone())).collect();
    let mut committed = false;
    if let (Fate::Commits(_, places), Some((segment, decision))) = (fate, decided) {
        committed = decision.is_ok();
        if let Err(error) = &decision {
            spans::failed(&span, error.class().as_str());
        }
        let told = tell(&segment, decision, &flush, producers, partitions);
        for (place, answer) in places.into_iter().zip(told) {
            if let Some(slot) = answers.get_mut(place) {
                *slot = answer;
            }
        }
    }
    attempt.settle(committed);
    for (waiting, answer) in waiting.into_iter().zip(answers) {
        waiting.answer(answer);
    }
}

/// One answer for each batch, in the order of the blocks.
fn tell(
    segment: &Segment,
    decision: Decision,
    flush: &Option<SpanContext>,
    producers: &mut Producers,
    partitions: &Partitions,
) -> Vec<Answer> {
    let outcomes = match decision {
        Ok(outcomes) => outcomes,
        Err(error) => {
            return batches(segment)
                .map(|(block, batch)| {
                    if let Some(claim) = batch.producer {
                        producers.failed(block.partition, claim);
                    }
                    Err(AppendError::Metadata(error.clone()))
                })
                .collect();
        }
    };
    let mut rest = outcomes.as_slice();
    for block in &segment.blocks {
        let (of_block, after) = rest.split_at(block.batches.len().min(rest.len()));
        partitions.committed(block.partition, rows(segment, block, of_block));
        rest = after;
    }
    batches(segment)
        .zip(outcomes)
        .map(|((block, batch), outcome)| {
            let (base_offset, duplicate) = match outcome {
                BatchOutcome::Committed(offset) => (offset, false),
                BatchOutcome::Duplicate(offset) => (offset, true),
                BatchOutcome::Rejected(rejection) => {
                    return Err(match batch.producer {
                        Some(claim) => producers.explain(block.partition, claim, rejection),
                        None => AppendError::Rejected(rejection),
                    });
                }
            };
            match batch.producer {
                Some(claim) if duplicate => producers.returned(block.partition, claim),
                Some(claim) => producers.committed(block.partition, claim, batch.records),
                None => {}
            }
            let append_time_ms = block.append_time_ms;
            Ok(Appended { base_offset, duplicate, append_time_ms, flush: flush.clone() })
        })
        .collect()
}

fn batches(segment: &Segment) -> impl Iterator<Item = (&Block, &streamhouse_metadata::Batch)> {
    segment.blocks.iter().flat_map(|block| block.batches.iter().map(move |batch| (block, batch)))
}

/// The index rows of a block: one for each run of accepted batches that follow each other.
fn rows(segment: &Segment, block: &Block, outcomes: &[BatchOutcome]) -> Vec<IndexRow> {
    let mut rows: Vec<IndexRow> = Vec::new();
    for (batch, outcome) in block.batches.iter().zip(outcomes) {
        let BatchOutcome::Committed(offset) = *outcome else { continue };
        let next_offset = offset + i64::from(batch.records);
        match rows.last_mut() {
            Some(row)
                if row.position + row.length == batch.position && row.next_offset == offset =>
            {
                row.next_offset = next_offset;
                row.length += batch.length;
                row.max_timestamp_ms = row.max_timestamp_ms.max(batch.max_timestamp_ms);
            }
            _ => rows.push(IndexRow {
                base_offset: offset,
                next_offset,
                object: segment.object.clone(),
                block_position: block.position,
                block_length: block.length,
                block_crc: block.crc,
                position: batch.position,
                length: batch.length,
                max_timestamp_ms: batch.max_timestamp_ms,
                append_time_ms: block.append_time_ms,
            }),
        }
    }
    rows
}
