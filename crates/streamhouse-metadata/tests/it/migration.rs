//! Stores that an earlier version wrote.

use crate::make::{append, at, batch};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _};
use std::path::Path;
use std::time::Duration;
use streamhouse_metadata::{
    BatchOutcome, Locate, MetadataStore, Position, Retention, SqliteOptions, SqliteStore, Trim,
    TrimOutcome, Watermarks,
};
use uuid::Uuid;

/// A store as the first schema wrote it, holding what `rows` inserts.
async fn first_schema(path: &Path, rows: &'static str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection: SqliteConnection = options.connect().await.unwrap();
    let sql = include_str!("../../migrations/0001_first_schema.sql").into_sql_str();
    let step = Migration::new(1, "first schema".into(), MigrationType::Simple, sql, false);
    Migrator::with_migrations(vec![step]).run(&mut connection).await.unwrap();
    sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Two partitions whose runs lie in another order than their offsets, and one that is empty.
const ROWS: &str = "
    INSERT INTO store VALUES (1, '00000000-0000-0000-0000-000000000007', 3, 0, 2, 300, 9);
    INSERT INTO topics VALUES ('00000000-0000-0000-0000-000000000001', 'orders', 3, 77);
    INSERT INTO partitions VALUES
        (11, '00000000-0000-0000-0000-000000000001', 0, 0, 30, 500),
        (12, '00000000-0000-0000-0000-000000000001', 1, 0, 5, 100),
        (13, '00000000-0000-0000-0000-000000000001', 2, 0, 0, -1);
    INSERT INTO segments VALUES
        ('01ARZ3NDEKTSV4RRFFQ69G5FAV', 'live', 'one', 100, 2, NULL, 1),
        ('01ARZ3NDEKTSV4RRFFQ69G5FAW', 'live', 'two', 200, 2, NULL, 1),
        ('01ARZ3NDEKTSV4RRFFQ69G5FAX', 'dead', 'three', 50, 0, NULL, NULL);
    INSERT INTO runs VALUES
        (11, 20, 30, '01ARZ3NDEKTSV4RRFFQ69G5FAW', 0, 9, 0, 0, 7, 500, 500, 3000),
        (12, 0, 5, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 0, 9, 0, 0, 100, 100, 100, 4000),
        (11, 0, 10, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 0, 9, 0, 0, 50, 300, 300, 1000),
        (11, 10, 20, '01ARZ3NDEKTSV4RRFFQ69G5FAW', 0, 9, 0, 0, 20, 200, 300, 2000);
    INSERT INTO sequences VALUES (11, 2, 0, '[[0,9,20]]', 9);";

#[tokio::test]
async fn what_the_first_schema_holds_is_there_with_its_bytes_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.db");
    first_schema(&path, ROWS).await;
    // The times of this file are counted from 0.
    let options = SqliteOptions { append_lag: Duration::MAX, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).await.unwrap();
    assert_eq!(store.cluster_id().await.unwrap(), Uuid::from_u128(7));
    let topic = store.topics().await.unwrap().remove(0);
    assert_eq!((&*topic.name, topic.partitions, topic.created_ms), ("orders", 3, 77));
    assert_eq!(topic.retention, Retention::default());
    let a = at(&topic, 0);
    let wanted = Locate { partition: a, offset: 0, max_bytes: 1_000 };
    let located = store.locate(&[wanted]).await.unwrap().remove(0).unwrap();
    assert_eq!(located.watermarks, Watermarks { log_start: 0, high_watermark: 30 });
    assert_eq!(located.rows.len(), 3);
    assert_eq!(store.init_producer(None).await.unwrap().id, 3);
    assert_eq!(append(&store, a, vec![batch(2)]).await, vec![BatchOutcome::Committed(30)]);
    assert_eq!(
        append(&store, at(&topic, 2), vec![batch(1)]).await,
        vec![BatchOutcome::Committed(0)]
    );

    let place = |append_time_ms, bytes_after| Some(Position { append_time_ms, bytes_after });
    let wanted = [(a, 0), (a, 15), (a, 20), (a, 30), (at(&topic, 1), 0), (at(&topic, 2), 0)];
    assert_eq!(
        store.positions(&wanted).await.unwrap(),
        vec![
            place(1000, 127),
            place(2000, 107),
            place(3000, 100),
            place(5000, 0),
            place(4000, 0),
            place(5000, 0),
        ]
    );

    let before = store.totals().await.unwrap();
    let outcomes = store.trim(&[(a, Trim::ToBytes(107)), (at(&topic, 1), Trim::ToEnd)]).await;
    let starts: Vec<_> = outcomes
        .unwrap()
        .into_iter()
        .map(|one| match one {
            TrimOutcome::Trimmed(done) => done.log_start,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(starts, [20, 5]);
    let after = store.totals().await.unwrap();
    assert_eq!((before.objects - after.objects, before.bytes - after.bytes), (1, 100));
    store.raise_floor(0).await.unwrap();
    let (unused, count) = store.unused_segments().await.unwrap();
    let objects: Vec<_> = unused.iter().map(|one| &*one.object).collect();
    assert_eq!((objects, count), (vec!["one", "three"], 2));
    assert_eq!(store.take_groups(&["g".into()], true).await.unwrap()[0].as_ref().unwrap().epoch, 1);
}

/// A group that an earlier version wrote, before subscriptions were stored.
const GROUP: &str = "
    INSERT INTO consumer_groups VALUES (5, 'g', 1, 7, 'consumer', 0, 99), (6, 'new', 1, 0, '', 0, 9);
    INSERT INTO offsets VALUES (5, 11, 4, -1, '', 88), (5, 12, 4, -1, '', 77);";

#[tokio::test]
async fn a_group_of_an_earlier_version_keeps_the_time_of_its_last_commit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.db");
    first_schema(&path, ROWS).await;
    let options = SqliteConnectOptions::new().filename(&path);
    let mut connection: SqliteConnection = options.connect().await.unwrap();
    let steps = [
        (1, "first schema", include_str!("../../migrations/0001_first_schema.sql")),
        (2, "groups and retention", include_str!("../../migrations/0002_groups_and_retention.sql")),
        (3, "deleted objects", include_str!("../../migrations/0003_deleted_objects.sql")),
    ];
    let step = |(number, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(number, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let migrator = Migrator::with_migrations(steps.map(step).into());
    migrator.run(&mut connection).await.unwrap();
    sqlx::raw_sql(GROUP).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let store = SqliteStore::open(&path, SqliteOptions::default()).await.unwrap();
    let groups = store.groups().await.unwrap();
    let told: Vec<_> = groups.iter().map(|group| (group.committed_ms, &group.subscribed)).collect();
    assert_eq!(told, vec![(Some(88), &None), (None, &None)]);
}
