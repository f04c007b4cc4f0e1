//! Segments for tests.

use std::sync::Arc;
use streamhouse_metadata::{
    Batch, BatchOutcome, Block, MetadataStore, ProducerBatch, Segment, SegmentId, Topic,
    TopicPartition,
};
use ulid::Ulid;

/// The partition `partition` of `topic`.
pub fn at(topic: &Topic, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.id, partition }
}

/// A batch of `records` records without an idempotent producer.
pub fn batch(records: i32) -> Batch {
    Batch {
        position: 0,
        length: 100,
        records,
        max_timestamp_ms: 1_000 + i64::from(records),
        producer: None,
    }
}

/// A batch of an idempotent producer.
pub fn from(id: i64, epoch: i16, sequence: i32, records: i32) -> Batch {
    Batch { producer: Some(ProducerBatch { id, epoch, sequence }), ..batch(records) }
}

/// A segment with one block per entry; batches lie one after the other in their block.
pub fn segment(blocks: &[(TopicPartition, Vec<Batch>)]) -> Segment {
    let id = SegmentId(Ulid::generate());
    let mut position = 64;
    let blocks: Vec<Block> = blocks
        .iter()
        .map(|(partition, batches)| {
            let mut batches = batches.clone();
            let mut length = 0;
            for batch in &mut batches {
                batch.position = length;
                length += batch.length;
            }
            let begin = position;
            position += u64::from(length);
            Block {
                partition: *partition,
                position: begin,
                length,
                crc: 0xdead_beef,
                append_time_ms: 5_000,
                batches,
            }
        })
        .collect();
    Segment { id, object: object(id), bytes: position, blocks }
}

/// The name of a segment's object.
pub fn object(id: SegmentId) -> Arc<str> {
    format!("7/2026-11-25T02/1-{id}").into()
}

/// Commits one segment and returns its outcomes.
pub async fn commit(store: &dyn MetadataStore, segment: &Segment) -> Vec<BatchOutcome> {
    let mut outcomes = store.commit(std::slice::from_ref(segment)).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// Commits batches of one partition as one segment and returns their outcomes.
pub async fn append(
    store: &dyn MetadataStore,
    partition: TopicPartition,
    batches: Vec<Batch>,
) -> Vec<BatchOutcome> {
    commit(store, &segment(&[(partition, batches)])).await
}
