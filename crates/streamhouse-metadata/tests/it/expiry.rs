//! What is forgotten with time.

use crate::make::{append, at, batch, commit, from, segment};
use sqlx::ConnectOptions as _;
use std::time::Duration;
use streamhouse_metadata::BatchOutcome::{Committed, Rejected};
use streamhouse_metadata::{MetadataStore, Rejection, Retention, SqliteOptions, SqliteStore};

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
    let next = segment(&[(at(&topic, 0), vec![from(1, 0, 1, 1)])]);
    let outcomes = opened.store.commit(&[old, next]).await.unwrap();
    assert_eq!(outcomes, vec![forgotten, vec![Committed(2)]]);
}
