//! Opening: lock, connections, migrations, background tasks.

use super::failure::{failed, unreadable};
use super::lock::{Lock, TempDirectory};
use super::writer::Writer;
use super::{Inner, SqliteStore, checkpoint, sweep};
use crate::error::MetadataError;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, SqlSafeStr as _, query, query_as};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, oneshot, watch};
use uuid::Uuid;

/// The schema's steps, in order. A step that has been released is never changed: the checksum of
/// what was applied is stored.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "first schema", include_str!("../../migrations/0001_first_schema.sql")),
    (2, "groups and retention", include_str!("../../migrations/0002_groups_and_retention.sql")),
    (3, "deleted objects", include_str!("../../migrations/0003_deleted_objects.sql")),
    (4, "subscriptions", include_str!("../../migrations/0004_subscriptions.sql")),
];

/// How the store uses its file.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// How many connections read at the same time; they are opened when first needed. Default 4.
    pub readers: u32,
    /// How long a statement waits for a lock within this process. Default 5 s.
    pub busy_timeout: Duration,
    /// Whether a commit is synced to disk before it is answered. Default true; without, a loss of
    /// power loses acknowledged records.
    pub durable: bool,
    /// After how long without a batch an idempotent producer is forgotten in a partition, by the
    /// store's clock; it may take up to ten minutes longer. Default 7 days.
    pub producer_expiry: Duration,
    /// How far behind the store's clock the time of an append may lie when it is committed; an
    /// earlier one is raised to it. Default: [`APPEND_LAG`].
    pub append_lag: Duration,
}

/// The default of [`SqliteOptions::append_lag`].
///
/// A batch waits for its segment to be stored and committed, by default 21 s at most, and an agent's
/// clock may be somewhat behind. One that is further behind than that is wrong: retention would
/// remove what it has just acknowledged. The price of the bound is that what waited for longer is
/// kept for as much longer.
pub const APPEND_LAG: Duration = Duration::from_secs(120);

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            busy_timeout: Duration::from_secs(5),
            durable: true,
            producer_expiry: Duration::from_secs(7 * 86_400),
            append_lag: APPEND_LAG,
        }
    }
}

impl SqliteOptions {
    fn connect(&self, path: &Path) -> SqliteConnectOptions {
        let synchronous =
            if self.durable { SqliteSynchronous::Full } else { SqliteSynchronous::Off };
        SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .foreign_keys(false)
            .busy_timeout(self.busy_timeout)
            .pragma("wal_autocheckpoint", "0")
            .disable_statement_logging()
    }
}

pub(super) async fn in_memory(options: SqliteOptions) -> Result<SqliteStore, MetadataError> {
    let directory = std::env::temp_dir().join(format!("streamhouse-{}", Uuid::new_v4()));
    let refused =
        |error| MetadataError::Refused(format!("cannot create {}: {error}", directory.display()));
    std::fs::create_dir(&directory).map_err(refused)?;
    let path = directory.join("metadata.db");
    let options = SqliteOptions { durable: false, ..options };
    open(&path, options, Some(TempDirectory(directory))).await
}

pub(super) async fn open(
    path: &Path,
    options: SqliteOptions,
    directory: Option<TempDirectory>,
) -> Result<SqliteStore, MetadataError> {
    let lock = Lock::take(path, directory)?;
    let connect = options.connect(path);
    let mut connection = writer_options(&connect).connect().await.map_err(failed)?;
    let migrated = migrator().run(&mut connection).await;
    migrated.map_err(|error| migration_failed(path, error))?;
    let cluster_id = cluster_id(&mut connection).await?;
    let checkpointer = connect.clone().busy_timeout(checkpoint::PATIENCE);
    let checkpointer = checkpointer.connect().await.map_err(failed)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(options.readers.max(1))
        .min_connections(0)
        .test_before_acquire(false)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(options.busy_timeout)
        .connect_lazy_with(connect.pragma("query_only", "1"));

    let statements = Arc::<AtomicU64>::default();
    let written = Arc::<AtomicU64>::default();
    let doomed = Arc::<Notify>::default();
    let (stop, stopped) = watch::channel(false);
    let (ending, ended) = oneshot::channel();
    let keep = (lock, ending);
    let writer =
        Writer::start(connection, statements.clone(), written.clone(), stopped.clone(), keep);
    tokio::spawn(checkpoint::run(checkpointer, written, stopped.clone()));
    tokio::spawn(sweep::run(writer.clone(), doomed.clone(), options.producer_expiry, stopped));
    // What was deleted before the last stop may not be swept yet.
    doomed.notify_one();
    let inner = Inner {
        path: path.to_owned(),
        cluster_id,
        append_lag_ms: i64::try_from(options.append_lag.as_millis()).unwrap_or(i64::MAX),
        writer,
        readers,
        statements,
        doomed,
        stop,
        ended: Mutex::new(ended),
    };
    Ok(SqliteStore { inner: Arc::new(inner) })
}

/// The writer's cache holds the last page of each busy partition: with the default of 2 MiB, a
/// commit to a thousand partitions would read most of them again, and write some twice.
fn writer_options(connect: &SqliteConnectOptions) -> SqliteConnectOptions {
    connect.clone().pragma("cache_size", "-16384")
}

fn migrator() -> Migrator {
    let step = |(version, description, sql): (i64, &'static str, &'static str)| {
        Migration::new(
            version,
            description.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    };
    Migrator::with_migrations(MIGRATIONS.map(step).into())
}

fn migration_failed(path: &Path, error: MigrateError) -> MetadataError {
    match error {
        MigrateError::VersionMissing(version) => MetadataError::Refused(format!(
            "metadata store {} was written by a newer version (schema {version}); run that version \
             or choose another directory",
            path.display()
        )),
        MigrateError::VersionMismatch(version) => MetadataError::Corrupt(format!(
            "schema {version} of {} is not the one of this version",
            path.display()
        )),
        MigrateError::Execute(error) => failed(error),
        error => MetadataError::Unavailable(format!("migration failed: {error}")),
    }
}

/// Reads the cluster's id; the first open makes it.
async fn cluster_id(connection: &mut SqliteConnection) -> Result<Uuid, MetadataError> {
    let insert = "INSERT OR IGNORE INTO store
            (id, cluster_id, next_producer, floor_ms, objects, bytes, pings)
        VALUES (1, ?1, 1, 0, 0, 0, 0)";
    query(insert)
        .bind(Uuid::new_v4().to_string())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let (id,): (String,) =
        query_as("SELECT cluster_id FROM store").fetch_one(connection).await.map_err(failed)?;
    id.parse().map_err(|_| unreadable("cluster id", id))
}
