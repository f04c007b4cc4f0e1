//! What is forgotten with time.

use crate::make::{append, at, batch, commit, from, segment};
use sqlx::ConnectOptions as _;
use std::time::Duration;
use streamhouse_metadata::BatchOutcome::{Committed, Rejected};
use streamhouse_metadata::{
    Batch, CommittedOffset, MetadataStore, OffsetCommit, Rejection, Retention, SqliteOptions,
    SqliteStore, Trim,
};

struct Opened {
    store: SqliteStore,
    aside: sqlx::SqliteConnection,
    _directory: tempfile::TempDir,
}

async fn open(producer_expiry: Duration) -> Opened {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.db");
    let options = SqliteOptions { producer_expiry, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).await.unwrap();
    let aside = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    Opened { store, aside, _directory: directory }
}

impl Opened {
    /// Waits until `count` tells `expected`.
    async fn until(&mut self, count: &'static str, expected: i64) {
        let told = async {
            while sqlx::query_scalar::<_, i64>(count).fetch_one(&mut self.aside).await.unwrap()
                != expected
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
    }

    async fn change(&mut self, statement: &'static str) {
        sqlx::query(statement).execute(&mut self.aside).await.unwrap();
    }
}

#[tokio::test]
async fn an_idle_producer_is_forgotten_and_learns_that_it_is_unknown() {
    let mut opened = open(Duration::from_millis(50)).await;
    let topic = opened.store.create_topic("t", 1, Retention::default()).await.unwrap();
    let a = at(&topic, 0);
    assert_eq!(append(&opened.store, a, vec![from(1, 0, 0, 1)]).await, vec![Committed(0)]);
    opened.until("SELECT count(*) FROM sequences", 0).await;
    let unknown = vec![Rejected(Rejection::UnknownProducer)];
    assert_eq!(append(&opened.store, a, vec![from(1, 0, 1, 1)]).await, unknown);
    assert_eq!(append(&opened.store, a, vec![from(1, 0, 0, 1)]).await, vec![Committed(1)]);
}

#[tokio::test]
async fn only_idle_producers_are_forgotten_however_many_there_are() {
    let mut opened = open(Duration::from_millis(50)).await;
    // Of 2,600 states in two partitions, each thirteenth is of the far future.
    let insert = "INSERT INTO sequences
        WITH RECURSIVE ids (one) AS (SELECT 1 UNION ALL SELECT one + 1 FROM ids WHERE one < 1300)
        SELECT partition.value, one, 0, '[]', iif(one % 13 = 0, 9000000000000, 0)
        FROM json_each('[1, 2]') AS partition CROSS JOIN ids";
    opened.change(insert).await;
    opened.until("SELECT count(*) FROM sequences", 200).await;
    opened.until("SELECT count(*) FROM sequences WHERE producer % 13 = 0", 200).await;
}

#[tokio::test]
async fn answers_older_than_a_day_are_dropped_and_younger_ones_are_repeated() {
    let mut opened = open(Duration::from_millis(50)).await;
    let topic = opened.store.create_topic("t", 1, Retention::default()).await.unwrap();
    let old: Vec<_> = (0..3).map(|_| segment(&[(at(&topic, 0), vec![batch(1)])])).collect();
    opened.store.commit(&old).await.unwrap();
    opened.change("UPDATE segments SET committed_ms = committed_ms - 86400000").await;
    let young = segment(&[(at(&topic, 0), vec![batch(1)])]);
    let outcomes = commit(&opened.store, &young).await;
    opened.until("SELECT count(*) FROM segments WHERE outcomes IS NOT NULL", 1).await;
    assert_eq!(opened.store.settle(&[young]).await.unwrap(), vec![Some(outcomes)]);
}

#[tokio::test]
async fn a_commit_whose_answers_are_dropped_is_told_as_forgotten_and_stops_nobody() {
    let mut opened = open(Duration::from_millis(50)).await;
    let topic = opened.store.create_topic("t", 1, Retention::default()).await.unwrap();
    let old = segment(&[(at(&topic, 0), vec![batch(1), from(1, 0, 0, 1)])]);
    commit(&opened.store, &old).await;
    opened.change("UPDATE segments SET committed_ms = committed_ms - 86400000").await;
    opened.until("SELECT count(*) FROM segments WHERE outcomes IS NOT NULL", 0).await;

    let forgotten = vec![Rejected(Rejection::ForgottenDuplicate); 2];
    let young = segment(&[(at(&topic, 0), vec![batch(1)])]);
    assert_eq!(
        opened.store.settle(&[old.clone(), young.clone()]).await.unwrap(),
        vec![Some(forgotten.clone()), None]
    );
    let next = segment(&[(at(&topic, 0), vec![batch(1)])]);
    let outcomes = opened.store.commit(&[old, next]).await.unwrap();
    assert_eq!(outcomes, vec![forgotten, vec![Committed(2)]]);
}

#[tokio::test]
async fn a_trimmed_segment_is_unused_at_once_and_forgotten_with_its_answers() {
    let mut opened = open(Duration::from_millis(50)).await;
    let topic = opened.store.create_topic("t", 1, Retention::default()).await.unwrap();
    let (gone, kept) = (at(&topic, 0), segment(&[(at(&topic, 0), vec![batch(1)])]));
    let old = segment(&[(gone, vec![batch(1)])]);
    opened.store.commit(&[old.clone(), kept.clone()]).await.unwrap();
    opened.store.trim(&[(gone, Trim::To(1))]).await.unwrap();
    let totals = opened.store.totals().await.unwrap();
    assert_eq!((totals.objects, totals.bytes), (1, kept.bytes));

    // The floor lies above all stamps.
    opened.change("UPDATE store SET floor_ms = floor_ms + 9000000000000").await;
    let (unused, count) = opened.store.unused_segments().await.unwrap();
    assert_eq!((unused.len(), count, unused[0].id), (1, 1, old.id));
    assert_eq!((&unused[0].object, unused[0].bytes), (&old.object, old.bytes));
    opened.store.forget_segments(&[old.id, kept.id]).await.unwrap();
    assert_eq!(opened.store.unused_segments().await.unwrap(), (vec![], 0));
    // The answer may still be asked for.
    let settled = opened.store.settle(std::slice::from_ref(&old)).await.unwrap();
    assert_eq!(settled, vec![Some(vec![Committed(0)])]);
    assert_eq!(opened.store.is_known(&[old.id, kept.id]).await.unwrap(), vec![true, true]);
    opened.change("UPDATE segments SET committed_ms = committed_ms - 86400000").await;
    opened.until("SELECT count(*) FROM segments WHERE outcomes IS NOT NULL", 0).await;
    assert_eq!(opened.store.is_known(&[old.id, kept.id]).await.unwrap(), vec![false, true]);
    assert_eq!(opened.store.totals().await.unwrap(), totals);
}

#[tokio::test]
async fn offsets_of_deleted_topics_and_groups_are_swept() {
    let mut opened = open(Duration::from_secs(3_600)).await;
    let kept = opened.store.create_topic("kept", 1, Retention::default()).await.unwrap();
    let gone = opened.store.create_topic("gone", 700, Retention::default()).await.unwrap();
    let place =
        CommittedOffset { offset: 1, leader_epoch: -1, metadata: "".into(), committed_ms: 0 };
    let mut owner = None;
    for name in ["a", "b"] {
        let group = opened.store.take_groups(&[name.into()], true).await.unwrap().remove(0);
        let group = group.unwrap();
        let mut offsets: Vec<_> = (0..700).map(|one| (at(&gone, one), place.clone())).collect();
        offsets.push((at(&kept, 0), place.clone()));
        let (epoch, group) = (group.epoch, group.name);
        owner = Some((group.clone(), epoch));
        let commit = OffsetCommit { group, epoch, generation: None, offsets };
        opened.store.commit_offsets(&[commit]).await.unwrap();
    }
    let (group, epoch) = owner.unwrap();
    assert!(opened.store.delete_group(&group, epoch).await.unwrap());
    opened.until("SELECT count(*) FROM offsets", 701).await;
    opened.store.delete_topic(gone.id).await.unwrap();
    opened.until("SELECT count(*) FROM offsets", 1).await;
    opened.until("SELECT count(*) FROM doomed", 0).await;
    opened.until("SELECT count(*) FROM doomed_groups", 0).await;
}

#[tokio::test]
async fn a_trim_whose_caller_went_away_is_finished() {
    let mut opened = open(Duration::from_millis(50)).await;
    let topic = opened.store.create_topic("t", 1, Retention::default()).await.unwrap();
    let a = at(&topic, 0);
    let future = Batch { max_timestamp_ms: 9_000_000_000_000, ..batch(1) };
    let mut blocks = vec![(a, vec![batch(1)]); 5_000];
    blocks[3_000] = (a, vec![future]);
    commit(&opened.store, &segment(&blocks)).await;
    opened.store.trim(&[(a, Trim::To(3_001))]).await.unwrap();
    opened.until("SELECT count(*) FROM runs", 1_999).await;
    opened.until("SELECT count(*) FROM runs WHERE reached_ms <> max_timestamp_ms", 0).await;
    opened.until("SELECT count(*) FROM partitions WHERE recheck_from IS NOT NULL", 0).await;
    assert_eq!(opened.store.max_timestamp(a).await.unwrap(), Some(1_001));
}
