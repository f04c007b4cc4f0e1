//! The checkpointer: it moves the write-ahead log into the database, away from the write path.

use super::writer::{Stop, stopped};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often the log is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// How long cutting the log waits for readers. Commits wait with it, so it gives up soon.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// Beyond this many pages (64 MiB) the log is cut, although commits then wait for a moment.
const LARGE: i64 = 16_384;
/// After this many periods without a write the log is cut: a start then has nothing to replay.
const IDLE: u32 = 5;

/// Runs until `stop`, then closes its connection.
pub(super) async fn run(mut connection: SqliteConnection, written: Arc<AtomicU64>, mut stop: Stop) {
    let mut seen = written.load(Ordering::Relaxed);
    let mut idle = IDLE;
    let mut failing = false;
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            _ = ticks.tick() => {}
        }
        let now = written.load(Ordering::Relaxed);
        let cut = if now != seen {
            seen = now;
            idle = 0;
            checkpoint(&mut connection, "PRAGMA wal_checkpoint(PASSIVE)", &mut failing).await
                > LARGE
        } else {
            idle = idle.saturating_add(1);
            idle == IDLE
        };
        if cut {
            checkpoint(&mut connection, "PRAGMA wal_checkpoint(TRUNCATE)", &mut failing).await;
        }
    }
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the checkpointer's connection did not close cleanly");
    }
}

/// Returns how many pages the log had. An outage is told once when it begins and once when it ends.
async fn checkpoint(
    connection: &mut SqliteConnection,
    statement: &'static str,
    failing: &mut bool,
) -> i64 {
    match sqlx::query_as::<_, (i64, i64, i64)>(statement).fetch_one(connection).await {
        Ok((_busy, pages, _done)) => {
            if std::mem::take(failing) {
                tracing::info!("metadata checkpoints succeed again");
            }
            pages
        }
        Err(error) => {
            if !std::mem::replace(failing, true) {
                tracing::warn!(%error, "metadata checkpoints fail; they are tried every second");
            }
            0
        }
    }
}
