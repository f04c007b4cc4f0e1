//! The commit of one segment, by how many partitions it holds: milliseconds and statements.
//!
//! `cargo bench -p streamhouse-metadata`
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench prints its figures and stops at the first failure"
)]

use std::time::{Duration, Instant};
use streamhouse_metadata::{
    Batch, Block, MetadataStore, ProducerBatch, Retention, Segment, SegmentId, SqliteOptions,
    SqliteStore, Topic, TopicPartition,
};
use ulid::Ulid;

const ROUNDS: i32 = 200;
const WARM_UP: i32 = 20;

/// A segment with one batch of ten records of an idempotent producer per partition.
fn segment(topic: &Topic, producer: i64, round: i32) -> Segment {
    let block = |partition: i32| Block {
        partition: TopicPartition { topic: topic.id, partition },
        position: 64 + partition as u64 * 1_000,
        length: 1_000,
        crc: 7,
        append_time_ms: 1,
        batches: vec![Batch {
            position: 0,
            length: 1_000,
            records: 10,
            max_timestamp_ms: 1,
            producer: Some(ProducerBatch { id: producer, epoch: 0, sequence: round * 10 }),
        }],
    };
    let id = SegmentId(Ulid::generate());
    Segment {
        id,
        object: format!("3f/2026-11-25T02/1-{id}").into(),
        bytes: topic.partitions as u64 * 1_000,
        blocks: (0..topic.partitions).map(block).collect(),
    }
}

async fn measure(store: &SqliteStore, partitions: i32) -> (Duration, Duration, u64) {
    let topic = store
        .create_topic(&format!("p{partitions}"), partitions, Retention::default())
        .await
        .unwrap();
    let producer = store.init_producer(None).await.unwrap();
    let mut times = Vec::new();
    let mut statements = 0;
    for round in 0..WARM_UP + ROUNDS {
        let segments = [segment(&topic, producer.id, round)];
        let before = store.statements();
        let begun = Instant::now();
        let outcomes = store.commit(&segments).await.unwrap();
        let took = begun.elapsed();
        assert_eq!(outcomes[0].len(), partitions as usize);
        statements = statements.max(store.statements() - before);
        if round >= WARM_UP {
            times.push(took);
        }
    }
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100], statements)
}

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    println!(
        "{:>10} {:>8} {:>12} {:>12} {:>12}",
        "partitions", "synced", "p50 ms", "p99 ms", "statements"
    );
    for durable in [false, true] {
        let path = directory.path().join(format!("metadata-{durable}.db"));
        let options = SqliteOptions { durable, ..SqliteOptions::default() };
        let store = SqliteStore::open(&path, options).await.unwrap();
        for partitions in [1, 16, 200, 1_000] {
            let (p50, p99, statements) = measure(&store, partitions).await;
            let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
            println!(
                "{partitions:>10} {durable:>8} {:>12.2} {:>12.2} {statements:>12}",
                ms(p50),
                ms(p99)
            );
        }
        store.close().await;
    }
}
