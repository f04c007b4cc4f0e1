//! How many records per second the writer pool makes durable on a local disk, and how soon.
//!
//! `cargo bench -p streamhouse-storage --bench append`: batches of 1000 × 100 B, made once and sent
//! again and again, on a directory and an SQLite file in the system's temporary directory
//! (`TMPDIR`). First as fast as it goes with 32 batches in flight, then at half that rate.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench tells its figures")]

use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::{MetadataStore, Retention, SqliteOptions, SqliteStore, TopicPartition};
use streamhouse_observability::instruments::{CacheMetrics, SegmentMetrics};
use streamhouse_observability::testing;
use streamhouse_storage::object_store::LocalStore;
use streamhouse_storage::testing::BatchSpec;
use streamhouse_storage::{Append, Cache, Partitions, RecordBatch, WriterConfig, WriterPool};
use tokio::task::JoinSet;
use tokio::time::Instant;

const RECORDS: i32 = 1_000;
const VALUE_BYTES: usize = 100;
const IN_FLIGHT: usize = 32;
const PARTITIONS: i32 = 16;
const RUN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.db");
    let sqlite = SqliteStore::open(&path, SqliteOptions::default()).await.unwrap();
    let metadata: Arc<dyn MetadataStore> = Arc::new(sqlite);
    let store = Arc::new(LocalStore::open(directory.path().join("objects")).unwrap());
    let (declare, seen) = testing::in_memory();
    let pool = WriterPool::start(
        WriterConfig::local(1),
        store,
        metadata.clone(),
        Partitions::new(),
        Cache::new(128 << 20, &CacheMetrics::declare(&declare)),
        &SegmentMetrics::declare(&declare),
    );
    let topic = metadata.create_topic("bench", PARTITIONS, Retention::default()).await.unwrap().id;
    let spec = BatchSpec::new(RECORDS).value_bytes(VALUE_BYTES);
    let frame = spec.encode();
    let partition = |n: usize| TopicPartition { topic, partition: n as i32 % PARTITIONS };

    let began = Instant::now();
    let mut workers = JoinSet::new();
    for n in 0..IN_FLIGHT {
        let (pool, frame, partition) = (pool.clone(), frame.clone(), partition(n));
        workers.spawn(async move {
            let mut times = Vec::new();
            while began.elapsed() < RUN {
                times.push(one(&pool, partition, &frame).await);
            }
            times
        });
    }
    let rate = report("as fast as it goes", workers, began).await;

    let gap = Duration::from_secs_f64(2.0 * f64::from(RECORDS) / rate);
    let began = Instant::now();
    let mut sent = JoinSet::new();
    let mut n = 0;
    while began.elapsed() < RUN {
        let (pool, frame, partition) = (pool.clone(), frame.clone(), partition(n));
        sent.spawn(async move { vec![one(&pool, partition, &frame).await] });
        n += 1;
        tokio::time::sleep_until(began + gap * n as u32).await;
    }
    report("at half that rate", sent, began).await;
    pool.shutdown(RUN).await;
    let segments = seen.count("streamhouse.segment.writes", &[]);
    println!("{segments} segments");
}

/// Validates and appends a batch as a produce request does; returns how long it took.
async fn one(pool: &WriterPool, partition: TopicPartition, frame: &bytes::Bytes) -> Duration {
    let began = Instant::now();
    let batch = RecordBatch::split(frame.clone(), usize::MAX).unwrap().remove(0);
    pool.append(Append { partition, batch, span: None }).await.unwrap();
    began.elapsed()
}

async fn report(what: &str, tasks: JoinSet<Vec<Duration>>, began: Instant) -> f64 {
    let mut times = tasks.join_all().await.concat();
    let took = began.elapsed().as_secs_f64();
    times.sort_unstable();
    let rate = times.len() as f64 * f64::from(RECORDS) / took;
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(at);
    println!("{what}: {rate:.0} records/s; p50 {p50:.1} ms, p99 {p99:.1} ms, p999 {p999:.1} ms");
    rate
}
