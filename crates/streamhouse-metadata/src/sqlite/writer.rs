//! The writer task: it alone owns the write connection.
//!
//! Invariant: work that has begun ends, whatever becomes of its caller.

use super::lock::Lock;
use super::session::Session;
use crate::error::MetadataError;
use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot, watch};

/// How many requests may wait in each lane.
const QUEUE: usize = 64;
/// How many produce commits may overtake other work in a row, so that leases are still renewed.
const OVERTAKING: u32 = 16;

/// Which queue a request waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Commits of segments: they go first.
    Produce,
    /// Everything else.
    Other,
}

type Job = Box<dyn for<'s> FnOnce(&'s mut Session<'_>) -> BoxFuture<'s, ()> + Send>;

/// Becomes true, or loses its sender, when the store is closed.
pub(super) type Stop = watch::Receiver<bool>;

/// Waits until the store is closed.
pub(super) async fn stopped(stop: &mut Stop) {
    // An error means that the sender is gone, and with it the store.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Sends work to the writer task.
#[derive(Clone)]
pub(super) struct Writer {
    produce: mpsc::Sender<Job>,
    other: mpsc::Sender<Job>,
    /// Counts transactions, so that the checkpointer knows when there is something to do.
    written: Arc<AtomicU64>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("written", &self.written).finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the task. It works until `stop`, finishes what is queued, closes the connection,
    /// and only then gives up `lock` and drops `ended`.
    pub(super) fn start(
        connection: SqliteConnection,
        statements: Arc<AtomicU64>,
        written: Arc<AtomicU64>,
        stop: Stop,
        keep: (Lock, oneshot::Sender<()>),
    ) -> Self {
        let (produce, produce_jobs) = mpsc::channel(QUEUE);
        let (other, other_jobs) = mpsc::channel(QUEUE);
        let queues = Queues { produce: produce_jobs, other: other_jobs, overtaken: 0, stop };
        tokio::spawn(serve(connection, statements, queues, keep));
        Self { produce, other, written }
    }

    /// Runs `work` in one write transaction.
    ///
    /// # Cancel safety
    /// Dropped before the work has begun, nothing happens; dropped later, it is completed.
    pub(super) async fn transact<T, W>(&self, lane: Lane, work: W) -> Result<T, MetadataError>
    where
        T: Send + 'static,
        W: for<'s> FnOnce(&'s mut Session<'_>) -> BoxFuture<'s, Result<T, MetadataError>>
            + Send
            + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let written = self.written.clone();
        let job: Job = Box::new(move |session| {
            Box::pin(async move {
                if reply.is_closed() {
                    return;
                }
                let result = session.transact(work).await;
                written.fetch_add(1, Ordering::Relaxed);
                // The caller may be gone: the work is done all the same.
                let _ = reply.send(result);
            })
        });
        let lane = match lane {
            Lane::Produce => &self.produce,
            Lane::Other => &self.other,
        };
        let stopped = || MetadataError::Unavailable("the metadata writer has stopped".into());
        lane.send(job).await.map_err(|_| stopped())?;
        let lost = |_| MetadataError::InDoubt("the metadata writer stopped during the work".into());
        answer.await.map_err(lost)?
    }
}

async fn serve(
    mut connection: SqliteConnection,
    statements: Arc<AtomicU64>,
    mut queues: Queues<Job>,
    keep: (Lock, oneshot::Sender<()>),
) {
    while let Some(job) = queues.next().await {
        job(&mut Session::new(&mut connection, &statements)).await;
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "metadata store did not close cleanly");
    }
    drop(keep);
}

/// The lanes, seen from the writer.
struct Queues<J> {
    produce: mpsc::Receiver<J>,
    other: mpsc::Receiver<J>,
    overtaken: u32,
    stop: Stop,
}

impl<J> Queues<J> {
    /// The next job: produce first, but the other lane is never starved. After the stop, what is
    /// queued still comes, and then `None`.
    async fn next(&mut self) -> Option<J> {
        if self.overtaken >= OVERTAKING {
            self.overtaken = 0;
            if let Ok(job) = self.other.try_recv() {
                return Some(job);
            }
        }
        loop {
            let closed = self.produce.is_closed() && self.other.is_closed();
            tokio::select! {
                biased;
                Some(job) = self.produce.recv() => {
                    self.overtaken += 1;
                    return Some(job);
                }
                Some(job) = self.other.recv() => {
                    self.overtaken = 0;
                    return Some(job);
                }
                () = stopped(&mut self.stop), if !closed => {
                    self.produce.close();
                    self.other.close();
                }
                else => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn queued(produce: u32, other: u32, stop: bool) -> String {
        let (produce_jobs, produce_queue) = mpsc::channel(100);
        let (other_jobs, other_queue) = mpsc::channel(100);
        let (stopper, stopped) = watch::channel(false);
        let mut queues =
            Queues { produce: produce_queue, other: other_queue, overtaken: 0, stop: stopped };
        for _ in 0..produce {
            produce_jobs.send('p').await.unwrap();
        }
        for _ in 0..other {
            other_jobs.send('o').await.unwrap();
        }
        if stop {
            stopper.send_replace(true);
        } else {
            drop(stopper);
        }
        let mut order = String::new();
        while let Some(job) = queues.next().await {
            order.push(job);
        }
        assert!(produce_jobs.is_closed() && other_jobs.is_closed());
        order
    }

    #[tokio::test]
    async fn produce_goes_first_and_the_other_lane_is_not_starved() {
        let sixteen = "p".repeat(16);
        assert_eq!(queued(40, 3, true).await, format!("{sixteen}o{sixteen}o{}o", "p".repeat(8)));
        assert_eq!(queued(2, 3, true).await, "ppooo");
        assert_eq!(queued(20, 0, true).await, "p".repeat(20));
    }

    #[tokio::test]
    async fn what_is_queued_is_finished_when_the_store_is_dropped() {
        assert_eq!(queued(3, 2, false).await, "pppoo");
    }
}
