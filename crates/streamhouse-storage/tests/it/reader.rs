//! The way out: what is read, from where, and what is said when it cannot be read.

use crate::support::{DEADLINE, Log, SplitStored as _, at, config, is, marked};
use std::sync::Arc;
use streamhouse_metadata::{MetadataStore as _, TopicPartition};
use streamhouse_observability::labels::Operation;
use streamhouse_storage::object_store::ObjectStore as _;
use streamhouse_storage::testing::{BatchSpec, Fault};
use streamhouse_storage::{Fetched, ReadError, RecordBatch, WriterConfig};
use tokio::time::timeout;

const ALL: usize = 1 << 20;

fn batches(fetched: &Fetched) -> Vec<RecordBatch> {
    fetched.batches.iter().cloned().flat_map(RecordBatch::split_stored).collect()
}

fn offsets(fetched: &Fetched) -> Vec<i64> {
    batches(fetched).iter().map(RecordBatch::base_offset).collect()
}

/// A partition with `batches` batches of ten records, each in a segment of its own.
async fn filled(log: &Log, batches: usize) -> TopicPartition {
    let partition = at(&log.topic("orders", 1).await, 0);
    for _ in 0..batches {
        log.append(partition, &BatchSpec::new(10)).await.unwrap();
    }
    partition
}

#[tokio::test]
async fn a_consumer_at_the_tail_causes_no_get_and_no_look_into_the_index() {
    let log = Log::start().await;
    let partition = at(&log.topic("orders", 1).await, 0);
    log.reader.fetch(partition, 0, ALL).await.unwrap();
    let locates = log.metadata.locates();
    for n in 0..20 {
        let waits = [(partition, n)];
        let wait = log.reader.wait(&waits);
        let (_, appended) =
            tokio::join!(timeout(DEADLINE, wait), log.append(partition, &marked(&n.to_string())));
        appended.unwrap();
        let fetched = log.reader.fetch(partition, n, ALL).await.unwrap();
        assert_eq!((offsets(&fetched), fetched.records), (vec![n], 1));
        assert_eq!(fetched.watermarks.high_watermark, n + 1);
        assert!(is(&batches(&fetched)[0], &marked(&n.to_string())));
    }
    assert_eq!(log.faults.calls(Operation::Get), 0);
    assert_eq!(log.metadata.locates(), locates);
    assert_eq!(log.seen.count("streamhouse.cache.hits", &[]), 20);
}

#[tokio::test]
async fn an_agent_that_knows_nothing_reads_by_the_index_and_each_block_once() {
    let log = Log::start().await;
    let partition = filled(&log, 7).await;
    let cold = log.another();
    for _ in 0..3 {
        let fetched = cold.reader.fetch(partition, 0, ALL).await.unwrap();
        assert_eq!((offsets(&fetched).len(), fetched.records), (7, 70));
    }
    assert_eq!(log.faults.calls(Operation::Get), 7);
    assert_eq!(cold.seen.count("streamhouse.cache.misses", &[]), 7);
    assert_eq!(cold.seen.count("streamhouse.cache.hits", &[]), 14);
}

#[tokio::test]
async fn a_fetch_from_the_middle_of_a_batch_returns_it_whole_and_counts_what_follows() {
    let log = Log::start().await;
    let partition = filled(&log, 3).await;
    for reader in [&log.reader, &log.another().reader] {
        let fetched = reader.fetch(partition, 13, ALL).await.unwrap();
        assert_eq!((offsets(&fetched), fetched.records), (vec![10, 20], 17));
    }
}

#[tokio::test]
async fn a_fetch_returns_at_least_one_batch_and_otherwise_what_fits() {
    let log = Log::with(WriterConfig { put_slots: 1, ..config() }).await;
    let partition = filled(&log, 5).await;
    let one = BatchSpec::new(10).encode().len();
    for reader in [&log.reader, &log.another().reader] {
        for (max_bytes, expected) in [(0, 1), (one, 1), (2 * one - 1, 1), (3 * one, 3), (ALL, 5)] {
            let fetched = reader.fetch(partition, 0, max_bytes).await.unwrap();
            assert_eq!(offsets(&fetched).len(), expected, "{max_bytes} bytes");
        }
    }
}

#[tokio::test]
async fn batches_that_were_left_out_are_not_served_with_their_block() {
    let log = Log::with(WriterConfig { put_slots: 1, ..config() }).await;
    let partition = at(&log.topic("orders", 1).await, 0);
    log.faults.queue(Operation::Put, [Fault::ServerError]);
    let of = |sequence| marked(&format!("{sequence}")).producer(7, 0, sequence);
    log.append(partition, &of(0)).await.unwrap_err();
    // One block: two batches that may be committed around one that may not.
    let around = ["before", "after"].map(marked);
    let before = log.append(partition, &around[0]);
    let out = log.append(partition, &of(1));
    let after = log.append(partition, &around[1]);
    assert_eq!(before.await.unwrap().base_offset, 0);
    out.await.unwrap_err();
    assert_eq!(after.await.unwrap().base_offset, 1);
    for log in [&log, &log.another()] {
        let read = log.read_all(partition).await;
        assert!(read.len() == 2 && is(&read[0], &around[0]) && is(&read[1], &around[1]));
    }
}

#[tokio::test]
async fn only_the_metadata_store_says_that_an_offset_is_out_of_range() {
    let log = Log::start().await;
    let partition = filled(&log, 1).await;
    log.reader.fetch(partition, 0, ALL).await.unwrap();
    log.another().append(partition, &BatchSpec::new(10)).await.unwrap();
    // This agent's memory ends at 10, and the log does not.
    let fetched = log.reader.fetch(partition, 20, ALL).await.unwrap();
    assert_eq!((fetched.batches.len(), fetched.watermarks.high_watermark), (0, 20));
    for outside in [-1, 21] {
        match log.reader.fetch(partition, outside, ALL).await {
            Err(ReadError::OutOfRange { offset, log_start: 0, high_watermark: 20 }) => {
                assert_eq!(offset, outside);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn records_that_another_agent_appended_are_found_soon() {
    let log = Log::start().await;
    let partition = filled(&log, 1).await;
    assert!(log.reader.fetch(partition, 10, ALL).await.unwrap().batches.is_empty());
    log.another().append(partition, &BatchSpec::new(10)).await.unwrap();
    let found = async {
        loop {
            let fetched = log.reader.fetch(partition, 10, ALL).await.unwrap();
            if !fetched.batches.is_empty() {
                return offsets(&fetched);
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(timeout(DEADLINE, found).await.unwrap(), [10]);
    assert_eq!(log.reader.watermarks(partition).await.unwrap().high_watermark, 20);
}

#[tokio::test]
async fn damaged_bytes_are_reported_and_neither_served_nor_kept() {
    let log = Log::start().await;
    let partition = filled(&log, 2).await;
    let cold = log.another();
    cold.faults.queue(Operation::Get, [Fault::Torn, Fault::Torn]);
    let damaged = cold.reader.fetch(partition, 0, ALL).await;
    assert!(matches!(damaged, Err(ReadError::Corrupt { .. })), "{damaged:?}");
    assert_eq!(cold.cache.bytes(), 0);
    cold.faults.clear();
    assert_eq!(offsets(&cold.reader.fetch(partition, 0, ALL).await.unwrap()), [0, 10]);
}

#[tokio::test]
async fn what_was_read_before_a_failure_is_served() {
    let log = Log::start().await;
    let partition = filled(&log, 3).await;
    let cold = log.another();
    cold.faults.queue(Operation::Get, [None, Some(Fault::ServerError), None]);
    assert_eq!(offsets(&cold.reader.fetch(partition, 0, ALL).await.unwrap()), [0]);
    assert_eq!(offsets(&cold.reader.fetch(partition, 10, ALL).await.unwrap()), [10, 20]);
}

#[tokio::test]
async fn an_object_that_is_gone_is_corruption_while_the_index_names_it() {
    let log = Log::start().await;
    let partition = filled(&log, 1).await;
    let cold = log.another();
    for object in log.store.list("", None).await.unwrap() {
        log.store.delete(&object.name).await.unwrap();
    }
    let gone = cold.reader.fetch(partition, 0, ALL).await;
    assert!(matches!(gone, Err(ReadError::Corrupt { .. })), "{gone:?}");
    assert_eq!(cold.metadata.locates(), 2, "the index was asked again before");
    let gone = cold.reader.batch_at_time(partition, 0).await;
    assert!(matches!(gone, Err(ReadError::Corrupt { .. })), "{gone:?}");
}

#[tokio::test]
async fn an_object_that_is_gone_with_its_topic_is_no_corruption() {
    let log = Log::with(WriterConfig { put_slots: 1, ..config() }).await;
    let partition = filled(&log, 1).await;
    let cold = log.another();
    cold.reader.watermarks(partition).await.unwrap();
    cold.append(partition, &BatchSpec::new(1)).await.unwrap();
    let reader = streamhouse_storage::Reader::new(
        cold.partitions.clone(),
        log.another().cache,
        log.store.clone(),
        log.metadata.clone(),
    );
    log.metadata.delete_topic(partition.topic).await.unwrap();
    for object in log.store.list("", None).await.unwrap() {
        log.store.delete(&object.name).await.unwrap();
    }
    // Memory still names the object, the index does not.
    let gone = reader.fetch(partition, 10, ALL).await;
    assert!(matches!(gone, Err(ReadError::UnknownPartition)), "{gone:?}");
    assert!(cold.partitions.last_known(partition).is_none());
}

#[tokio::test]
async fn readers_of_one_missing_block_share_one_get() {
    let log = Log::start().await;
    let partition = filled(&log, 1).await;
    let cold = Arc::new(log.another());
    cold.faults.queue(Operation::Get, [Fault::Hold]);
    let fetches: Vec<_> = (0..10)
        .map(|_| {
            let cold = cold.clone();
            tokio::spawn(async move { cold.reader.fetch(partition, 0, ALL).await })
        })
        .collect();
    crate::support::eventually("all are there", || cold.metadata.locates() == 10).await;
    crate::support::eventually("the GET", || cold.faults.calls(Operation::Get) == 1).await;
    cold.faults.release();
    for fetch in fetches {
        assert_eq!(offsets(&fetch.await.unwrap().unwrap()), [0]);
    }
    assert_eq!(cold.faults.calls(Operation::Get), 1);
    assert_eq!(cold.seen.count("streamhouse.cache.misses", &[]), 1);
    assert_eq!(cold.seen.count("streamhouse.cache.hits", &[]), 9);
}

#[tokio::test]
async fn the_first_batch_of_a_time_or_later_is_found() {
    let log = Log::with(WriterConfig { put_slots: 1, ..config() }).await;
    let partition = at(&log.topic("orders", 1).await, 0);
    let of = |timestamp_ms| BatchSpec { timestamp_ms, ..BatchSpec::new(10) };
    let all: Vec<_> = [1_000, 2_000, 1_500, 3_000]
        .map(|timestamp| log.append(partition, &of(timestamp)))
        .into_iter()
        .collect();
    for one in all {
        one.await.unwrap();
    }
    let cold = log.another();
    let expected = [
        (i64::MIN, Some(0)),
        (1_009, Some(0)),
        (1_010, Some(10)),
        (2_009, Some(10)),
        (2_010, Some(30)),
        (3_010, None),
    ];
    for (timestamp, offset) in expected {
        let found = cold.reader.batch_at_time(partition, timestamp).await.unwrap();
        assert_eq!(found.map(|batch| batch.base_offset()), offset, "{timestamp}");
    }
}

#[tokio::test]
async fn a_partition_that_does_not_exist_is_unknown() {
    let log = Log::start().await;
    let nowhere = at(&log.topic("orders", 1).await, 1);
    let unknown = log.reader.fetch(nowhere, 0, ALL).await;
    assert!(matches!(unknown, Err(ReadError::UnknownPartition)), "{unknown:?}");
    let unknown = log.reader.watermarks(nowhere).await;
    assert!(matches!(unknown, Err(ReadError::UnknownPartition)), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_missed() {
    let log = Arc::new(Log::start().await);
    let topic = log.topic("orders", 2).await;
    let (watched, other) = (at(&topic, 0), at(&topic, 1));
    for partition in [watched, other] {
        log.reader.fetch(partition, 0, ALL).await.unwrap();
    }
    let writer = log.clone();
    let writes = tokio::spawn(async move {
        for n in 0..300 {
            writer.append(watched, &marked(&n.to_string())).await.unwrap();
        }
    });
    let mut next = 0;
    while next < 300 {
        let wanted = [(other, 0), (watched, next)];
        timeout(DEADLINE, log.reader.wait(&wanted)).await.expect("a wake-up was missed");
        let fetched = log.reader.fetch(watched, next, ALL).await.unwrap();
        assert!(fetched.records > 0);
        next += fetched.records as i64;
    }
    writes.await.unwrap();
}
