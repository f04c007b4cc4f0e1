//! Random producers, random failures: the log is what a checker says it must be.
//!
//! Producers behave as Kafka clients do: up to five batches in flight, answered in any way; after
//! a failure everything that is not acknowledged is sent again, in order. A gap (45) ends the
//! life of such a client and therefore fails the test.

use crate::support::{CommitFault, DEADLINE, Log, at, config, is, marked};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::{Rejection, TopicPartition};
use streamhouse_observability::labels::Operation;
use streamhouse_storage::testing::{BatchSpec, Fault};
use streamhouse_storage::{AppendError, RecordBatch, WriterConfig};

const PARTITIONS: i32 = 3;
const BATCHES: usize = 40;
const WINDOW: usize = 5;
const FAILURES: usize = 60;

/// What a producer sent, and at which offset each batch was acknowledged.
type History = Vec<(TopicPartition, BatchSpec, Option<i64>)>;

async fn idempotent(log: Arc<Log>, partition: TopicPartition, id: i64, seed: u64) -> History {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sequence = 0;
    let mut unsent: Vec<BatchSpec> = (0..BATCHES)
        .map(|n| {
            let records = random.random_range(1..4);
            let value = format!("{id}/{n}").into();
            let spec = BatchSpec { value, ..BatchSpec::new(records) }.producer(id, 0, sequence);
            sequence += records;
            spec
        })
        .collect();
    let mut history = Vec::new();
    while !unsent.is_empty() {
        let window = random.random_range(1..=WINDOW).min(unsent.len());
        let mut outcomes = Vec::with_capacity(window);
        for spec in &unsent[..window] {
            outcomes.push(log.append(partition, spec));
            if random.random_bool(0.5) {
                tokio::time::sleep(Duration::from_millis(random.random_range(0..3))).await;
            }
        }
        let outcomes = join_all(outcomes).await;
        let mut failed = Vec::new();
        for (spec, outcome) in unsent.drain(..window).zip(outcomes) {
            match outcome {
                Ok(appended) => {
                    assert!(failed.is_empty(), "producer {id}: {spec:?} overtook {failed:?}");
                    history.push((partition, spec, Some(appended.base_offset)));
                }
                Err(AppendError::Rejected(Rejection::OutOfOrder { expected })) => {
                    panic!("producer {id}: {spec:?} is called a gap, {expected} is expected")
                }
                Err(_) => failed.push(spec),
            }
        }
        unsent.splice(..0, failed);
    }
    history
}

async fn plain(log: Arc<Log>, partition: TopicPartition, id: i64, seed: u64) -> History {
    let mut random = StdRng::seed_from_u64(seed);
    let mut history = Vec::new();
    for n in 0..BATCHES {
        let spec = marked(&format!("{id}/{n}"));
        let outcome = log.append(partition, &spec);
        if random.random_bool(0.1) {
            drop(outcome); // the caller goes away
            history.push((partition, spec, None));
        } else {
            history.push((partition, spec, outcome.await.ok().map(|done| done.base_offset)));
        }
    }
    history
}

/// Injects failures while the producers work.
async fn trouble(log: Arc<Log>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let puts = [
        Fault::Throttled,
        Fault::ServerError,
        Fault::Refused,
        Fault::ReplyLost,
        Fault::Torn,
        Fault::Hang,
        Fault::AppliedHang,
    ];
    let commits = [
        CommitFault::Unavailable,
        CommitFault::DoubtCommitted,
        CommitFault::DoubtLost,
        CommitFault::DoubtLate,
        CommitFault::Refused,
        CommitFault::Hang,
    ];
    for _ in 0..FAILURES {
        if random.random_bool(0.5) {
            log.faults.queue(Operation::Put, [puts[random.random_range(0..puts.len())]]);
        } else {
            log.metadata.queue([commits[random.random_range(0..commits.len())]]);
            log.metadata.fail_settles(random.random_range(0..2));
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1..8))).await;
    }
}

/// The log of a partition must hold every acknowledged batch at its offset, no batch of an
/// idempotent producer twice, all of its batches in order, and nothing that was never sent.
fn check(partition: TopicPartition, log: &[RecordBatch], history: &History) {
    let mut by_offset = HashMap::new();
    let mut next = 0;
    for batch in log {
        assert_eq!(batch.base_offset(), next, "offsets are contiguous");
        next += i64::from(batch.records());
        by_offset.insert(batch.base_offset(), batch);
    }
    let sent: Vec<_> = history.iter().filter(|one| one.0 == partition).collect();
    let mut acknowledged = HashSet::new();
    for (_, spec, offset) in &sent {
        let Some(offset) = offset else { continue };
        assert!(acknowledged.insert(offset), "offset {offset} was given twice");
        let stored = by_offset.get(offset).unwrap_or_else(|| panic!("{offset} is lost"));
        assert!(is(stored, spec), "{offset} holds something else than {spec:?}");
    }
    for stored in log {
        let times = sent.iter().filter(|(_, spec, _)| is(stored, spec)).count();
        assert_eq!(times, 1, "something is stored that was not sent once");
    }
    let mut last: HashMap<i64, i32> = HashMap::new();
    for claim in log.iter().filter_map(RecordBatch::producer) {
        let before = last.insert(claim.id, claim.sequence);
        assert!(before < Some(claim.sequence), "{claim:?} comes after {before:?}");
    }
    let mut texts = HashSet::new();
    for stored in log {
        assert!(texts.insert(stored.bytes().slice(16..)), "a batch is stored twice");
    }
}

async fn round(seed: u64) {
    let config = WriterConfig {
        put_budget: Duration::from_millis(30),
        commit_budget: Duration::from_millis(30),
        commit_timeout: Duration::from_millis(200),
        put_slots: 1 + (seed % 4) as usize,
        linger: Duration::from_millis(seed % 3),
        ..config()
    };
    let log = Arc::new(Log::with(config).await);
    let topic = log.topic("orders", PARTITIONS).await;
    let trouble = tokio::spawn(trouble(log.clone(), seed ^ 0xbad));
    let mut producers = Vec::new();
    for id in 0..6 {
        let partition = at(&topic, (id % i64::from(PARTITIONS)) as i32);
        let seed = seed * 100 + id as u64;
        producers.push(tokio::spawn(idempotent(log.clone(), partition, id, seed)));
        producers.push(tokio::spawn(plain(log.clone(), partition, id + 100, seed)));
    }
    let mut history = History::new();
    for producer in producers {
        let done = tokio::time::timeout(DEADLINE, producer).await;
        history.extend(done.expect("a producer never ends").unwrap());
    }
    trouble.await.unwrap();
    log.faults.clear();
    log.metadata.clear();
    assert!(log.pool.shutdown(DEADLINE).await);
    for reader in [&*log, &log.another()] {
        for partition in 0..PARTITIONS {
            let partition = at(&topic, partition);
            check(partition, &reader.read_all(partition).await, &history);
        }
    }
    assert_eq!(log.seen.value("streamhouse.segment.unflushed", &[]), Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_the_log_holds_what_was_acknowledged_once_and_in_order() {
    join_all((0..8).map(round)).await;
}
