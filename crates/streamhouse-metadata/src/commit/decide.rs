//! The decision: from stored state and ready segments to outcomes and what is to be written.

use super::outcomes::decode;
use super::sequence::{ProducerState, Verdict, judge};
use crate::error::MetadataError;
use crate::types::{Batch, BatchOutcome, Block, Rejection, Segment, SegmentId, TopicPartition};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What is stored about a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Committed before; its outcomes as [`encode`](super::encode) wrote them.
    Live(Option<String>),
    /// Given up by its agent.
    Dead,
}

/// What is stored about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionState {
    /// Its key in the store.
    pub(crate) id: i64,
    pub(crate) high_watermark: i64,
    pub(crate) max_timestamp_ms: i64,
    /// Bytes of all its batches, from the beginning.
    pub(crate) end_bytes: i64,
}

/// What is stored about producers: their state by partition key and producer id, and the lowest
/// epoch that each may still use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sequences {
    pub(crate) states: HashMap<(i64, i64), ProducerState>,
    pub(crate) min_epochs: HashMap<i64, i16>,
}

/// Everything that a decision depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) floor_ms: i64,
    pub(crate) segments: HashMap<SegmentId, Known>,
    pub(crate) partitions: HashMap<TopicPartition, PartitionState>,
    pub(crate) sequences: Sequences,
}

/// A run to add to the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewRun {
    pub(crate) partition: i64,
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) block_position: u64,
    pub(crate) block_length: u32,
    pub(crate) block_crc: u32,
    pub(crate) position: u32,
    pub(crate) length: u32,
    pub(crate) max_timestamp_ms: i64,
    /// The greatest timestamp of the partition up to here.
    pub(crate) reached_ms: i64,
    pub(crate) append_time_ms: i64,
    /// Bytes of the partition's batches, from the beginning to the end of this run.
    pub(crate) end_bytes: i64,
}

/// A segment to insert as live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewSegment {
    pub(crate) id: SegmentId,
    pub(crate) object: Arc<str>,
    pub(crate) bytes: u64,
    pub(crate) runs: Vec<NewRun>,
    /// Its place among the segments of the call.
    pub(crate) place: usize,
}

/// What is to be written, and answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decision {
    pub(crate) outcomes: Vec<Vec<BatchOutcome>>,
    pub(crate) segments: Vec<NewSegment>,
    /// The new states of partitions by their key.
    pub(crate) ends: BTreeMap<i64, PartitionState>,
    /// The new producer states by partition key and producer id.
    pub(crate) sequences: BTreeMap<(i64, i64), ProducerState>,
}

/// Decides about `segments` in order, each block and batch in order.
///
/// # Errors
/// [`MetadataError::Refused`]: a batch takes no offsets, or the offsets of a partition run out.
/// [`MetadataError::Corrupt`]: stored outcomes do not fit their segment.
pub(crate) fn decide(state: State, segments: &[Segment]) -> Result<Decision, MetadataError> {
    let mut run = Deciding { state, decision: Decision::default() };
    for (place, segment) in segments.iter().enumerate() {
        let outcomes = run.segment(place, segment)?;
        run.decision.outcomes.push(outcomes);
    }
    Ok(run.decision)
}

struct Deciding {
    state: State,
    decision: Decision,
}

impl Deciding {
    fn segment(
        &mut self,
        place: usize,
        segment: &Segment,
    ) -> Result<Vec<BatchOutcome>, MetadataError> {
        let stale = match self.state.segments.get(&segment.id) {
            Some(Known::Live(outcomes)) => return decode(segment, outcomes.as_deref()),
            Some(Known::Dead) => true,
            None => segment.id.stamp_ms() < self.state.floor_ms.max(0).cast_unsigned(),
        };
        if stale {
            let batches = segment.blocks.iter().map(|block| block.batches.len()).sum();
            let stale = Rejection::StaleSegment { floor_ms: self.state.floor_ms };
            return Ok(vec![BatchOutcome::Rejected(stale); batches]);
        }
        if let Some(earlier) = self.decision.segments.iter().find(|one| one.id == segment.id) {
            return Ok(self.decision.outcomes[earlier.place].clone());
        }
        let mut outcomes = Vec::new();
        let mut runs = Vec::new();
        for block in &segment.blocks {
            self.block(block, &mut outcomes, &mut runs)?;
        }
        self.decision.segments.push(NewSegment {
            id: segment.id,
            object: segment.object.clone(),
            bytes: segment.bytes,
            runs,
            place,
        });
        Ok(outcomes)
    }

    fn block(
        &mut self,
        block: &Block,
        outcomes: &mut Vec<BatchOutcome>,
        runs: &mut Vec<NewRun>,
    ) -> Result<(), MetadataError> {
        let Some(partition) = self.state.partitions.get(&block.partition).copied() else {
            let unknown = BatchOutcome::Rejected(Rejection::UnknownPartition);
            outcomes.extend(block.batches.iter().map(|_| unknown));
            return Ok(());
        };
        let PartitionState { id, mut high_watermark, mut max_timestamp_ms, mut end_bytes } =
            partition;
        // The run that the next batch may extend, while the bytes have no gap.
        let mut open: Option<NewRun> = None;
        for batch in &block.batches {
            let outcome = self.batch(id, high_watermark, batch)?;
            outcomes.push(outcome);
            let BatchOutcome::Committed(offset) = outcome else { continue };
            high_watermark = next_offset(offset, batch.records)?;
            max_timestamp_ms = max_timestamp_ms.max(batch.max_timestamp_ms);
            end_bytes = end_bytes.saturating_add(i64::from(batch.length));
            match &mut open {
                Some(run) if run.position.checked_add(run.length) == Some(batch.position) => {
                    run.next_offset = high_watermark;
                    run.length = run.length.saturating_add(batch.length);
                    run.max_timestamp_ms = run.max_timestamp_ms.max(batch.max_timestamp_ms);
                    run.reached_ms = max_timestamp_ms;
                    run.end_bytes = end_bytes;
                }
                _ => {
                    let mut run = begin(id, offset, block, batch)?;
                    run.reached_ms = max_timestamp_ms;
                    run.end_bytes = end_bytes;
                    runs.extend(open.replace(run));
                }
            }
        }
        runs.extend(open);
        if high_watermark != partition.high_watermark {
            let after = PartitionState { id, high_watermark, max_timestamp_ms, end_bytes };
            self.state.partitions.insert(block.partition, after);
            self.decision.ends.insert(id, after);
        }
        Ok(())
    }

    fn batch(
        &mut self,
        partition: i64,
        offset: i64,
        batch: &Batch,
    ) -> Result<BatchOutcome, MetadataError> {
        next_offset(offset, batch.records)?;
        let Some(claim) = batch.producer else {
            return Ok(BatchOutcome::Committed(offset));
        };
        let sequences = &mut self.state.sequences;
        let min_epoch = sequences.min_epochs.get(&claim.id).copied().unwrap_or(0);
        let key = (partition, claim.id);
        Ok(match judge(sequences.states.get(&key), min_epoch, claim, batch.records) {
            Verdict::Duplicate(offset) => BatchOutcome::Duplicate(offset),
            Verdict::Reject(reason) => BatchOutcome::Rejected(reason),
            Verdict::Accept => {
                let state = sequences.states.entry(key).or_default();
                state.accept(claim, batch.records, offset);
                self.decision.sequences.insert(key, state.clone());
                BatchOutcome::Committed(offset)
            }
        })
    }
}

fn begin(
    partition: i64,
    base_offset: i64,
    block: &Block,
    batch: &Batch,
) -> Result<NewRun, MetadataError> {
    Ok(NewRun {
        partition,
        base_offset,
        next_offset: next_offset(base_offset, batch.records)?,
        block_position: block.position,
        block_length: block.length,
        block_crc: block.crc,
        position: batch.position,
        length: batch.length,
        max_timestamp_ms: batch.max_timestamp_ms,
        reached_ms: batch.max_timestamp_ms,
        append_time_ms: block.append_time_ms,
        end_bytes: i64::from(batch.length),
    })
}

fn next_offset(offset: i64, records: i32) -> Result<i64, MetadataError> {
    if records < 1 {
        return Err(MetadataError::Refused(format!(
            "a batch of {records} records takes no offsets: it must have at least 1"
        )));
    }
    offset.checked_add(i64::from(records)).ok_or_else(|| {
        MetadataError::Refused(format!("offset {offset} plus {records} records is beyond the end"))
    })
}
