//! How much processor time the lag of many groups takes.
//!
//! `cargo bench -p streamhouse-kafka --bench lag`: 1000 groups with 100 partitions each, a tenth of
//! which is committed anew before each cycle, over topics with ten runs in each partition, in an
//! SQLite file in the system's temporary directory (`TMPDIR`). Every position is asked of the
//! metadata store: nothing is known from this process' own writes. Once with ten groups on each
//! partition, once with a partition for each place. Processor time is that of the whole process,
//! SQLite's threads and the readers of `/proc` included.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench tells its figures")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use streamhouse_kafka::{
    Broker, BrokerConfig, GroupFacts, GroupTable, GroupView, LagDetail, LagTracker, Lags, serve,
};
use streamhouse_metadata::{
    Batch, Block, CommittedOffset, MetadataStore, Retention, Segment, SegmentId, SqliteOptions,
    SqliteStore, TopicPartition,
};
use streamhouse_observability::instruments::Instruments;
use streamhouse_observability::labels::GroupState;
use streamhouse_observability::spans::Requests;
use streamhouse_observability::testing;
use streamhouse_storage::object_store::MemoryStore;
use streamhouse_storage::{Cache, Clock, Partitions, Reader, WriterConfig, WriterPool, machine_ms};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

const GROUPS: usize = 1_000;
const PLACES: usize = 100;
const RUNS: i64 = 10;
const RUN_RECORDS: i64 = 100;
const CYCLES: u32 = 20;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    for topics in [100, 1_000] {
        run(topics).await;
    }
}

async fn run(topics: usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.db");
    let sqlite = SqliteStore::open(&path, SqliteOptions::default()).await.unwrap();
    let metadata: Arc<dyn MetadataStore> = Arc::new(sqlite);
    let partitions = fill(&*metadata, topics).await;

    let (declare, _seen) = testing::in_memory();
    let instruments = Instruments::declare(&declare);
    let stop = CancellationToken::new();
    let broker = broker(metadata, &instruments);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = tokio::spawn(serve(listener, broker.clone(), stop.clone()));

    let groups = GroupTable::default();
    let views: Vec<_> = (0..GROUPS).map(|n| group(n, &partitions)).collect();
    views.iter().for_each(|view| groups.insert(view.clone()));
    let lags = Lags::default();
    let (detail, metrics) = (LagDetail::Partition, instruments.lag.clone());
    let mut tracker = LagTracker::new(detail, Clock::new(), metrics, lags.clone());
    let began = (Instant::now(), processor_time());
    while lags.view().groups.iter().map(|group| group.partitions.len()).sum::<usize>()
        < GROUPS * PLACES
    {
        tracker.compute(&groups, &broker, Duration::ZERO).await; // until the broker has read the topics
    }
    report(&format!("{} partitions, first", partitions.len()), began, 1);

    let (mut wall, mut processor) = (Duration::ZERO, Duration::ZERO);
    for cycle in 1..=i64::from(CYCLES) {
        views.iter().for_each(|view| commit(view, cycle));
        let began = (Instant::now(), processor_time());
        tracker.compute(&groups, &broker, Duration::ZERO).await;
        wall += began.0.elapsed();
        processor += processor_time() - began.1;
    }
    let whole = lags.view();
    assert!(whole.is_complete && whole.groups.iter().all(|group| group.lag > 0));
    tell(&format!("{} partitions, each cycle", partitions.len()), wall, processor, CYCLES);
    stop.cancel();
    served.await.unwrap().unwrap();
}

fn broker(metadata: Arc<dyn MetadataStore>, instruments: &Instruments) -> Arc<Broker> {
    let store = Arc::new(MemoryStore::new());
    let (partitions, cache) = (Partitions::new(), Cache::new(1 << 20, &instruments.cache));
    let writer = WriterPool::start(
        WriterConfig::local(1),
        store.clone(),
        metadata.clone(),
        partitions.clone(),
        cache.clone(),
        &instruments.segment,
    );
    let reader = Reader::new(partitions, cache, store, metadata.clone());
    let requests = Requests::untraced();
    Arc::new(Broker::new(BrokerConfig::default(), metadata, writer, reader, instruments, requests))
}

/// Topics of a hundred partitions, all with records.
async fn fill(metadata: &dyn MetadataStore, topics: usize) -> Vec<TopicPartition> {
    let mut all = Vec::new();
    for n in 0..topics {
        let (name, retention) = (format!("topic-{n}"), Retention::default());
        let topic = metadata.create_topic(&name, PLACES as i32, retention).await.unwrap().id;
        all.extend((0..PLACES as i32).map(|partition| TopicPartition { topic, partition }));
    }
    for _ in 0..RUNS {
        for partitions in all.chunks(5_000) {
            let id = SegmentId(Ulid::generate());
            let blocks = partitions.iter().map(|partition| block(*partition)).collect();
            let segment = Segment { id, object: id.to_string().into(), bytes: 1, blocks };
            metadata.commit(&[segment]).await.unwrap();
        }
    }
    all
}

fn block(partition: TopicPartition) -> Block {
    let batch = Batch {
        position: 0,
        length: 1_000,
        records: RUN_RECORDS as i32,
        max_timestamp_ms: 0,
        producer: None,
    };
    Block {
        partition,
        position: 0,
        length: 1_000,
        crc: 0,
        append_time_ms: machine_ms(),
        batches: vec![batch],
    }
}

/// A group with a hundred places, next to those of the group before.
fn group(number: usize, partitions: &[TopicPartition]) -> Arc<GroupView> {
    let first = number * PLACES % partitions.len();
    let offsets: BTreeMap<_, _> =
        partitions[first..first + PLACES].iter().map(|place| (*place, committed(0))).collect();
    let facts = GroupFacts {
        state: GroupState::Stable,
        protocol_type: "consumer".into(),
        members: 1,
        subscribed: None,
        generation_ms: None,
        offsets,
        committed_ms: Some(machine_ms()),
    };
    Arc::new(GroupView::new(format!("group-{number}").into(), facts))
}

fn committed(offset: i64) -> CommittedOffset {
    let committed_ms = machine_ms();
    CommittedOffset { offset, leader_epoch: -1, metadata: "".into(), committed_ms }
}

/// Commits a tenth of a group's places.
fn commit(group: &GroupView, cycle: i64) {
    group.change(|facts| {
        for (place, offset) in facts.offsets.iter_mut().enumerate() {
            if place as i64 % 10 == cycle % 10 {
                *offset.1 = committed(cycle * 7 % (RUNS * RUN_RECORDS));
            }
        }
        facts.committed_ms = Some(machine_ms());
    });
}

/// The processor time of all threads so far.
fn processor_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of_task = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(of_task).sum())
}

fn report(what: &str, began: (Instant, Duration), cycles: u32) {
    tell(what, began.0.elapsed(), processor_time() - began.1, cycles);
}

fn tell(what: &str, wall: Duration, processor: Duration, cycles: u32) {
    let ms = |time: Duration| (time / cycles).as_secs_f64() * 1e3;
    println!("{what}: {:.1} ms of processor time in {:.1} ms", ms(processor), ms(wall));
}
