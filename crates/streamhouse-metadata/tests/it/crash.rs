//! Opening, closing, and callers that go away.

use crate::make::{append, at, batch, segment};
use std::path::Path;
use std::time::Duration;
use streamhouse_metadata::{
    BatchOutcome, Locate, MetadataError, MetadataStore, Retention, SqliteOptions, SqliteStore,
};

async fn open(path: &Path) -> Result<SqliteStore, MetadataError> {
    SqliteStore::open(path, SqliteOptions::default()).await
}

/// Opens as soon as the former owner is gone.
async fn reopen(path: &Path) -> SqliteStore {
    let opened = async {
        loop {
            match open(path).await {
                Ok(store) => return store,
                Err(MetadataError::Refused(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), opened).await.unwrap()
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_drop_and_a_new_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.db");
    let store = open(&path).await.unwrap();
    let cluster = store.cluster_id().await.unwrap();
    let topic = store.create_topic("orders", 2, Retention::default()).await.unwrap();
    append(&store, at(&topic, 1), vec![batch(3)]).await;
    drop(store);

    let store = reopen(&path).await;
    assert_eq!(store.cluster_id().await.unwrap(), cluster);
    assert_eq!(store.topics().await.unwrap(), vec![topic.clone()]);
    let wanted = Locate { partition: at(&topic, 1), offset: 0, max_bytes: 1 };
    let located = store.locate(&[wanted]).await.unwrap().remove(0).unwrap();
    assert_eq!((located.watermarks.high_watermark, located.rows.len()), (3, 1));
    assert_eq!(
        append(&store, at(&topic, 1), vec![batch(1)]).await,
        vec![BatchOutcome::Committed(3)]
    );
}

#[tokio::test]
async fn a_store_that_is_open_is_refused_at_once_with_a_message_that_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.db");
    let store = open(&path).await.unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(20), open(&path)).await.unwrap();
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("in use by another process"), "{message}");
    assert!(message.contains("metadata.db"), "{message}");

    store.close().await;
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_refuses_and_closing_twice_is_well() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.close().await;
    store.close().await;
    assert!(matches!(store.ping().await, Err(MetadataError::Unavailable(_))));
    assert!(matches!(store.topics().await, Err(MetadataError::Unavailable(_))));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_reported_as_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.db");
    std::fs::write(&path, "not a database, but long enough to be read as one".repeat(100)).unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, MetadataError::Corrupt(_)), "{error}");
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let error = open(&directory.path().join("absent/metadata.db")).await.unwrap_err();
    assert!(matches!(error, MetadataError::Refused(_)), "{error}");
    assert!(error.to_string().contains("absent/metadata.db"), "{error}");
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.db");
    open(&path).await.unwrap().close().await;
    let mut connection = connect(&path).await;
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', 0, true, x'00', 0)")
        .execute(&mut connection)
        .await
        .unwrap();
    drop(connection);
    let error = open(&path).await.unwrap_err().to_string();
    assert!(error.contains("newer version (schema 9999)"), "{error}");
}

async fn connect(path: &Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions as _;
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

#[tokio::test]
async fn a_dropped_commit_happens_whole_or_not_at_all() {
    let store = SqliteStore::in_memory().await.unwrap();
    let topic = store.create_topic("t", 8, Retention::default()).await.unwrap();
    let mut settled = 0;
    for polls in 0..60 {
        let blocks: Vec<_> = (0..8).map(|one| (at(&topic, one), vec![batch(1)])).collect();
        let segment = segment(&blocks);
        let segments = std::slice::from_ref(&segment);
        // Drop the call after some polls, at whatever point it has reached.
        let mut call = store.commit(segments);
        for _ in 0..polls {
            if futures_util::poll!(&mut call).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        let fate = store.settle(segments).await.unwrap().remove(0);
        let ends =
            store.watermarks(&(0..8).map(|one| at(&topic, one)).collect::<Vec<_>>()).await.unwrap();
        if let Some(outcomes) = fate {
            assert_eq!(outcomes, vec![BatchOutcome::Committed(settled); 8]);
            settled += 1;
        }
        assert!(ends.iter().flatten().all(|one| one.high_watermark == settled), "{ends:?}");
    }
}

#[tokio::test]
async fn a_floor_refuses_older_segments_and_lets_newer_ones_pass() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata.db");
    let store = open(&path).await.unwrap();
    let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
    let old = segment(&[(at(&topic, 0), vec![batch(1), batch(2)])]);
    let floor_ms = old.id.stamp_ms() as i64 + 1;
    let mut connection = connect(&path).await;
    sqlx::query("UPDATE store SET floor_ms = ?1")
        .bind(floor_ms)
        .execute(&mut connection)
        .await
        .unwrap();
    use streamhouse_metadata::Rejection::StaleSegment;
    let outcomes = store.commit(&[old]).await.unwrap().remove(0);
    assert_eq!(outcomes, vec![BatchOutcome::Rejected(StaleSegment { floor_ms }); 2]);

    let mut new = segment(&[(at(&topic, 0), vec![batch(1)])]);
    new.id.0 = ulid::Ulid::from_parts(new.id.stamp_ms() + 60_000, 1);
    assert_eq!(store.commit(&[new]).await.unwrap(), vec![vec![BatchOutcome::Committed(0)]]);
}
