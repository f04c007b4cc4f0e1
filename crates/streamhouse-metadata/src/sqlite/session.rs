//! A connection that counts its statements and runs transactions.

use super::failure::{failed, unreadable};
use crate::error::MetadataError;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use sqlx::query::{Query, QueryAs};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{FromRow, Sqlite, query};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A statement and its arguments.
pub(super) type Statement = Query<'static, Sqlite, SqliteArguments>;
/// A statement that returns rows of `T`.
pub(super) type Select<T> = QueryAs<'static, Sqlite, T, SqliteArguments>;

/// A borrowed connection. Every statement goes through it and is counted.
#[derive(Debug)]
pub(super) struct Session<'c> {
    connection: &'c mut SqliteConnection,
    statements: &'c Arc<AtomicU64>,
}

impl<'c> Session<'c> {
    pub(super) fn new(
        connection: &'c mut SqliteConnection,
        statements: &'c Arc<AtomicU64>,
    ) -> Self {
        Self { connection, statements }
    }

    /// Executes a statement and returns the number of rows that it changed.
    pub(super) async fn run(&mut self, statement: Statement) -> Result<u64, MetadataError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let done = statement.execute(&mut *self.connection).await.map_err(failed)?;
        Ok(done.rows_affected())
    }

    /// Executes a statement and returns its rows.
    pub(super) async fn rows<T>(&mut self, select: Select<T>) -> Result<Vec<T>, MetadataError>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        self.statements.fetch_add(1, Ordering::Relaxed);
        select.fetch_all(&mut *self.connection).await.map_err(failed)
    }

    /// Executes a statement and returns its first row.
    pub(super) async fn first<T>(&mut self, select: Select<T>) -> Result<Option<T>, MetadataError>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        Ok(self.rows(select).await?.into_iter().next())
    }

    /// Executes a statement whose only row is a JSON array, and returns its elements. Each row goes
    /// from SQLite's thread to another by itself: a thousand short ones take most of their time for
    /// that.
    pub(super) async fn elements<T: DeserializeOwned>(
        &mut self,
        select: Select<(String,)>,
    ) -> Result<Vec<T>, MetadataError> {
        let row = self.first(select).await?;
        let (text,) = row.ok_or_else(|| unreadable("array", "(none)"))?;
        serde_json::from_str(&text).map_err(|error| unreadable("array", error))
    }

    /// Runs `work` in one write transaction: all of it, or nothing.
    ///
    /// # Errors
    /// [`MetadataError::InDoubt`]: the COMMIT failed. Its frames may have reached the log, and a
    /// crash before they are overwritten would bring them back.
    pub(super) async fn transact<T>(
        &mut self,
        work: impl for<'s> FnOnce(&'s mut Self) -> BoxFuture<'s, Result<T, MetadataError>>,
    ) -> Result<T, MetadataError> {
        // IMMEDIATE: a read transaction that wants to write later would fail at once when busy.
        self.run(query("BEGIN IMMEDIATE")).await?;
        let failure = match work(self).await {
            Ok(value) => match self.run(query("COMMIT")).await {
                Ok(_) => return Ok(value),
                Err(error) => MetadataError::InDoubt(error.to_string()),
            },
            Err(error) => error,
        };
        // After some errors SQLite has rolled back by itself; then this fails, and that is well.
        let _ = self.run(query("ROLLBACK")).await;
        Err(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::super::SqliteStore;
    use super::super::writer::Lane;
    use crate::types::{
        Batch, BatchOutcome, Block, Rejection, Retention, Segment, SegmentId, TopicPartition,
    };
    use crate::{MetadataError, MetadataStore as _};
    use ulid::Ulid;

    fn segment(partition: TopicPartition) -> Segment {
        let batch =
            Batch { position: 0, length: 10, records: 1, max_timestamp_ms: 5, producer: None };
        let block = Block {
            partition,
            position: 0,
            length: 10,
            crc: 0,
            append_time_ms: 5,
            batches: vec![batch],
        };
        let id = SegmentId(Ulid::generate());
        Segment { id, object: id.to_string().into(), bytes: 10, blocks: vec![block] }
    }

    /// Lets SQLite refuse the COMMIT after the next.
    async fn refuse_a_commit(store: &SqliteStore) {
        let hook = store.write(Lane::Other, |session| {
            Box::pin(async move {
                let mut commits = 0;
                let mut handle = session.connection.lock_handle().await.unwrap();
                handle.set_commit_hook(move || {
                    commits += 1;
                    commits != 2
                });
                Ok(())
            })
        });
        hook.await.unwrap();
    }

    #[tokio::test]
    async fn a_commit_that_fails_inside_sqlite_is_in_doubt_and_settling_tells_the_truth() {
        let store = SqliteStore::in_memory().await.unwrap();
        let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
        let partition = TopicPartition { topic: topic.id, partition: 0 };
        refuse_a_commit(&store).await;
        let lost = [segment(partition)];
        let error = store.commit(&lost).await.unwrap_err();
        assert!(matches!(error, MetadataError::InDoubt(_)), "{error}");

        assert_eq!(store.settle(&lost).await.unwrap(), vec![None]);
        let stale = vec![vec![BatchOutcome::Rejected(Rejection::StaleSegment { floor_ms: 0 })]];
        assert_eq!(store.commit(&lost).await.unwrap(), stale);
        let next = store.commit(&[segment(partition)]).await.unwrap();
        assert_eq!(next, vec![vec![BatchOutcome::Committed(0)]]);
    }
}
