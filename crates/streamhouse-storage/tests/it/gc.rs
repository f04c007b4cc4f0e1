//! The garbage collector: what it deletes, and above all what it does not.

use crate::support::{CommitFault, DEADLINE, Log, at, eventually, is, marked};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::{MetadataStore, Rejection, SqliteOptions, SqliteStore, Trim};
use streamhouse_observability::instruments::GarbageMetrics;
use streamhouse_observability::labels::Operation;
use streamhouse_observability::testing::{Seen, in_memory};
use streamhouse_storage::object_store::ObjectStore as _;
use streamhouse_storage::segment::SegmentName;
use streamhouse_storage::testing::{BatchSpec, Fault};
use streamhouse_storage::{AppendError, Collector, GarbageConfig, Ownership, Unowned};
use uuid::Uuid;

const OBJECTS: &str = "streamhouse.garbage.objects";
const BYTES: &str = "streamhouse.garbage.bytes";
const ORPHAN: [(&str, &str); 1] = [("kind", "orphan")];
const UNREFERENCED: [(&str, &str); 1] = [("kind", "unreferenced")];
/// Names that somebody else may have given: nothing of this is garbage.
const FOREIGN: [&str; 5] = [
    "health/probe",
    "00/2020-01-01T00/not-a-segment",
    "00/2020-01-01T00/1-01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "backup",
    "7f/readme",
];

/// A log whose object store is marked as its cluster's, as a server's start does.
async fn claimed() -> Log {
    let log = Log::start().await;
    claim(&log, log.metadata.clone()).await.unwrap();
    log
}

/// What a start of a server with `metadata` over the objects of `log` is told.
async fn claim(log: &Log, metadata: Arc<dyn MetadataStore>) -> Result<(), Unowned> {
    Ownership::new(log.store.clone(), metadata).await.unwrap().claim().await
}

/// A collector of agent number `agent` that looks for everything in each round.
fn collector(log: &Log, agent: i32, grace: Duration) -> (Collector, Seen) {
    let (declare, seen) = in_memory();
    let config = GarbageConfig { grace, sweep: Duration::ZERO, ..GarbageConfig::new(agent) };
    let metrics = GarbageMetrics::declare(&declare);
    let (store, metadata) = (log.store.clone(), log.metadata.clone());
    (Collector::new(config, store, metadata, log.pool.clone(), &metrics), seen)
}

/// Rounds until there are `left` objects.
async fn until(log: &Log, collector: &mut Collector, left: usize) {
    let rounds = async {
        while log.objects().await != left {
            assert!(collector.round().await, "a round failed");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let done = tokio::time::timeout(DEADLINE, rounds).await;
    assert!(done.is_ok(), "{} objects are left instead of {left}", log.objects().await);
}

async fn put(log: &Log, name: &str) {
    log.store.inner().put(name, &[Bytes::from_static(b"0123456789")]).await.unwrap();
}

/// A pause after which what was stamped before lies below a floor without grace.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

#[tokio::test]
async fn an_orphan_goes_when_the_floor_has_passed_it_and_nothing_else_ever_does() {
    let log = claimed().await;
    let partition = at(&log.topic("orders", 1).await, 0);
    let kept = marked("kept");
    log.append(partition, &kept).await.unwrap();
    for name in FOREIGN {
        put(&log, name).await;
    }
    let orphan = SegmentName::fresh(7, 0).to_string();
    put(&log, &orphan).await;
    a_moment().await;

    let (mut patient, seen) = collector(&log, 1, Duration::from_secs(3_600));
    assert!(patient.round().await);
    assert!(log.store.inner().head(&orphan).await.is_ok(), "it may still be committed");
    assert_eq!(seen.count(OBJECTS, &ORPHAN), 0);

    let (mut strict, seen) = collector(&log, 1, Duration::ZERO);
    assert!(strict.round().await);
    assert!(log.store.inner().head(&orphan).await.is_err());
    assert_eq!((seen.count(OBJECTS, &ORPHAN), seen.count(BYTES, &ORPHAN)), (1, 10));
    assert_eq!(log.objects().await, FOREIGN.len() + 1);
    assert!(is(&log.read_all(partition).await[0], &kept));
    assert!(strict.round().await);
    assert_eq!(seen.count(OBJECTS, &[]), 1);
    assert_eq!(seen.count("streamhouse.garbage.duration", &[("outcome", "ok")]), 2);
}

#[tokio::test]
async fn more_orphans_than_a_listing_shows_go_in_one_round() {
    let log = claimed().await;
    for _ in 0..2_500 {
        put(&log, &SegmentName::fresh(7, 0).to_string()).await;
    }
    let names = std::iter::repeat_with(|| SegmentName::fresh(7, 0).to_string());
    for name in names.filter(|name| name.starts_with("b7/")).take(1_100) {
        put(&log, &name).await;
    }
    a_moment().await;
    let (mut collector, seen) = collector(&log, 1, Duration::ZERO);
    assert!(collector.round().await);
    assert_eq!((log.objects().await, seen.count(OBJECTS, &ORPHAN)), (0, 3_600));
}

#[tokio::test]
async fn objects_go_with_their_last_record_by_a_trim_or_with_their_topic() {
    let log = claimed().await;
    let kept = at(&log.topic("kept", 1).await, 0);
    let gone = log.topic("gone", 1).await;
    for n in 0..5 {
        log.append(kept, &marked(&n.to_string())).await.unwrap();
        log.append(at(&gone, 0), &BatchSpec::new(10)).await.unwrap();
    }
    a_moment().await;
    let (mut collector, seen) = collector(&log, 1, Duration::ZERO);
    until(&log, &mut collector, 10).await;
    assert_eq!(seen.count(OBJECTS, &[]), 0);

    log.metadata.trim(&[(kept, Trim::To(3))]).await.unwrap();
    log.reader.trimmed(kept, 3);
    until(&log, &mut collector, 7).await;
    assert_eq!(seen.count(OBJECTS, &UNREFERENCED), 3);
    let left = log.read_all(kept).await;
    assert!(left.len() == 2 && is(&left[0], &marked("3")), "{left:?}");

    log.metadata.delete_topic(gone.id).await.unwrap();
    until(&log, &mut collector, 2).await;
    assert_eq!(seen.count(OBJECTS, &UNREFERENCED), 8);
    assert!(seen.count(BYTES, &UNREFERENCED) > 0);
    assert_eq!(log.another().read_all(kept).await.len(), 2);
}

#[tokio::test]
async fn an_agent_that_was_paused_beyond_the_grace_is_refused_and_loses_nothing() {
    let log = claimed().await;
    let partition = at(&log.topic("orders", 1).await, 0);
    log.append(partition, &BatchSpec::new(1).producer(5, 0, 0)).await.unwrap();
    log.metadata.queue([CommitFault::Hold]);
    let late = BatchSpec::new(1).producer(5, 0, 1);
    let paused = tokio::spawn(log.append(partition, &late));
    eventually("the commit is held", || log.metadata.commits().len() == 2).await;
    a_moment().await;
    // Another agent collects meanwhile: what is stored and not committed is an orphan.
    let (mut collector, seen) = collector(&log.another(), 1, Duration::ZERO);
    assert!(collector.round().await);
    assert_eq!(seen.count(OBJECTS, &ORPHAN), 1);

    log.metadata.release();
    let refused = paused.await.unwrap();
    let Err(AppendError::Rejected(Rejection::StaleSegment { floor_ms })) = refused else {
        panic!("{refused:?}");
    };
    assert!(floor_ms > 0);
    let next = BatchSpec::new(1).producer(5, 0, 2);
    let early = log.append(partition, &next).await;
    assert!(matches!(early, Err(AppendError::PredecessorFailed)), "{early:?}");
    assert_eq!(log.append(partition, &late).await.unwrap().base_offset, 1);
    assert_eq!(log.append(partition, &next).await.unwrap().base_offset, 2);
    assert_eq!(log.another().read_all(partition).await.len(), 3);
}

#[tokio::test]
async fn segments_are_stamped_at_the_floor_while_the_agents_clock_is_behind_it() {
    let log = Log::start().await;
    let partition = at(&log.topic("orders", 1).await, 0);
    let floor = SegmentName::fresh(1, 0).id.stamp_ms() + 3_600_000;
    log.pool.raise_floor(floor);
    log.pool.raise_floor(5); // it never falls
    log.append(partition, &marked("late")).await.unwrap();
    let name = log.store.inner().list("", None).await.unwrap().remove(0).name;
    assert_eq!(name.parse::<SegmentName>().unwrap().id.stamp_ms(), floor);
    assert_eq!(log.read_all(partition).await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_deleted_is_kept_in_mind_and_deleted_later() {
    let log = claimed().await;
    let topic = log.topic("orders", 1).await;
    for _ in 0..4 {
        log.append(at(&topic, 0), &BatchSpec::new(1)).await.unwrap();
    }
    log.metadata.trim(&[(at(&topic, 0), Trim::ToEnd)]).await.unwrap();
    put(&log, &SegmentName::fresh(7, 0).to_string()).await;
    a_moment().await;
    let (mut collector, seen) = collector(&log, 1, Duration::ZERO);
    log.faults.always(Operation::Delete, Some(Fault::Denied));
    assert!(!collector.round().await);
    assert_eq!(log.objects().await, 5);
    assert_eq!(seen.value("streamhouse.garbage.pending", &[]), Some(4.0));
    assert_eq!(seen.count("streamhouse.garbage.duration", &[("outcome", "error")]), 1);

    // Two of the replies are lost: the objects are gone, and deleted once more.
    log.faults.always(Operation::Delete, None);
    log.faults.queue(Operation::Delete, [Fault::ReplyLost, Fault::ReplyLost]);
    assert!(!collector.round().await);
    assert!(collector.round().await);
    assert_eq!(log.objects().await, 0);
    assert_eq!(seen.value("streamhouse.garbage.pending", &[]), Some(0.0));
    assert_eq!((seen.count(OBJECTS, &UNREFERENCED), seen.count(OBJECTS, &ORPHAN)), (4, 1));
}

#[tokio::test]
async fn agents_share_the_work_and_count_each_object_once() {
    let log = claimed().await;
    let mut ids = Vec::new();
    for port in 1..=3 {
        let agent =
            log.metadata.register_agent(Uuid::new_v4(), "host", port, 60_000).await.unwrap();
        ids.push(agent.id);
    }
    for _ in 0..60 {
        put(&log, &SegmentName::fresh(7, 0).to_string()).await;
    }
    let topic = log.topic("orders", 1).await;
    for _ in 0..6 {
        log.append(at(&topic, 0), &BatchSpec::new(1)).await.unwrap();
    }
    log.metadata.trim(&[(at(&topic, 0), Trim::ToEnd)]).await.unwrap();
    a_moment().await;
    let (mut one, first) = collector(&log, ids[0], Duration::ZERO);
    let (mut two, second) = collector(&log, ids[1], Duration::ZERO);
    let (mut three, third) = collector(&log, ids[2], Duration::ZERO);
    let rounds = tokio::join!(one.round(), two.round(), three.round());
    assert_eq!(rounds, (true, true, true));
    assert_eq!(log.objects().await, 0);
    let counted = [first, second, third].map(|seen| seen.count(OBJECTS, &[]));
    assert_eq!(counted.iter().sum::<u64>(), 66, "{counted:?}");
}

#[tokio::test]
async fn a_round_that_ends_midway_leaves_what_the_next_one_finds() {
    let log = claimed().await;
    let topic = log.topic("orders", 1).await;
    for n in 0..20 {
        log.append(at(&topic, 0), &marked(&n.to_string())).await.unwrap();
    }
    log.metadata.trim(&[(at(&topic, 0), Trim::To(15))]).await.unwrap();
    log.reader.trimmed(at(&topic, 0), 15);
    a_moment().await;
    for patience in 0..6 {
        let (mut collector, _) = collector(&log, 1, Duration::ZERO);
        let _ = tokio::time::timeout(Duration::from_millis(patience), collector.round()).await;
    }
    let (mut collector, _) = collector(&log, 1, Duration::ZERO);
    until(&log, &mut collector, 5).await;
    assert_eq!(log.another().read_all(at(&topic, 0)).await.len(), 5);
}

/// One round of a collector of `metadata` that looks for everything without grace.
async fn round(log: &Log, metadata: Arc<dyn MetadataStore>, orphans: bool) {
    let config = GarbageConfig {
        grace: Duration::ZERO,
        sweep: Duration::ZERO,
        orphans,
        ..GarbageConfig::new(1)
    };
    let metrics = GarbageMetrics::declare(&in_memory().0);
    let mut collector =
        Collector::new(config, log.store.clone(), metadata, log.pool.clone(), &metrics);
    assert!(collector.round().await);
    assert!(collector.round().await);
}

async fn fresh_metadata() -> Arc<dyn MetadataStore> {
    Arc::new(SqliteStore::in_memory().await.unwrap())
}

async fn exists(log: &Log, name: &str) -> bool {
    log.store.inner().head(name).await.is_ok()
}

#[tokio::test]
async fn another_cluster_on_the_same_objects_deletes_nothing_and_is_refused_by_name() {
    let log = claimed().await;
    let partition = at(&log.topic("orders", 1).await, 0);
    log.append(partition, &marked("kept")).await.unwrap();
    a_moment().await;
    let other = fresh_metadata().await;
    round(&log, other.clone(), true).await;
    assert_eq!((log.objects().await, log.another().read_all(partition).await.len()), (1, 1));

    let refused = claim(&log, other.clone()).await.unwrap_err();
    let said = refused.to_string();
    let ids = [log.metadata.cluster_id().await.unwrap(), other.cluster_id().await.unwrap()];
    assert!(ids.iter().all(|id| said.contains(&id.to_string())), "{said}");
    let Unowned::Foreign { cluster, other } = refused else { panic!("{said}") };
    assert_eq!([other, cluster], ids);
    claim(&log, log.metadata.clone()).await.unwrap();
}

#[tokio::test]
async fn a_new_metadata_store_over_unmarked_segments_deletes_none_until_it_is_told_to() {
    let log = Log::start().await;
    let partition = at(&log.topic("orders", 1).await, 0);
    log.append(partition, &marked("kept")).await.unwrap();
    a_moment().await;
    let fresh = fresh_metadata().await;
    round(&log, fresh.clone(), true).await;
    assert_eq!(log.objects().await, 1);
    // Nor after a restart: the hold is stored.
    let Err(Unowned::Held { object }) = claim(&log, fresh.clone()).await else { panic!() };
    round(&log, fresh.clone(), true).await;
    assert_eq!(log.objects().await, 1);

    log.store.inner().delete(&object).await.unwrap();
    round(&log, fresh, true).await;
    assert_eq!(log.objects().await, 0);
}

#[tokio::test]
async fn a_restored_metadata_store_deletes_nothing_that_came_after_its_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("metadata.db"), folder.path().join("copy.db"));
    let open = async |path| -> SqliteStore {
        SqliteStore::open(path, SqliteOptions::default()).await.unwrap()
    };
    let log = Log::start().await;
    let sqlite = open(&*path).await;
    claim(&log, Arc::new(sqlite.clone())).await.unwrap();
    round(&log, Arc::new(sqlite.clone()), true).await;
    sqlite.close().await;
    std::fs::copy(&path, &copy).unwrap();

    let sqlite = open(&*path).await;
    a_moment().await;
    round(&log, Arc::new(sqlite.clone()), true).await;
    sqlite.close().await;
    let later = SegmentName::fresh(1, 0).to_string();
    put(&log, &later).await;
    a_moment().await;

    let restored = open(&*copy).await;
    round(&log, Arc::new(restored.clone()), true).await;
    assert!(exists(&log, &later).await);
    // Its floor has risen above all that was noted: the hold stays all the same.
    let Err(Unowned::Held { object }) = claim(&log, Arc::new(restored.clone())).await else {
        panic!()
    };
    round(&log, Arc::new(restored.clone()), true).await;
    assert!(exists(&log, &later).await);
    log.store.inner().delete(&object).await.unwrap();
    round(&log, Arc::new(restored), true).await;
    assert!(!exists(&log, &later).await);
}

#[tokio::test]
async fn with_orphans_off_only_what_is_known_to_be_unused_goes() {
    let log = claimed().await;
    let partition = at(&log.topic("orders", 1).await, 0);
    log.append(partition, &marked("gone")).await.unwrap();
    log.metadata.trim(&[(partition, Trim::ToEnd)]).await.unwrap();
    let orphan = SegmentName::fresh(7, 0).to_string();
    put(&log, &orphan).await;
    a_moment().await;
    round(&log, log.metadata.clone(), false).await;
    assert_eq!(log.objects().await, 1);
    assert!(exists(&log, &orphan).await);
    round(&log, log.metadata.clone(), true).await;
    assert_eq!(log.objects().await, 0);
}
