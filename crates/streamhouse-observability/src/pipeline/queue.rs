//! The queue before an exporter: items gather into batches, and the ledger bounds them.
//!
//! Invariant: pushing never waits for an export, and wakes nobody unless a batch is full.

use super::export::Exporter;
use super::ledger::Ledger;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::config::Batch;
use super::export::Request;

/// Items waiting for their export, in batches: all are full but the last.
pub(crate) struct Queue<T> {
    pub(crate) ledger: Arc<Ledger>,
    batches: Mutex<VecDeque<Vec<T>>>,
    size: usize,
    delay: Duration,
    full: Notify,
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Queue<T> {
    pub(crate) fn new(ledger: Arc<Ledger>, batch: Batch) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            batches: Mutex::default(),
            size: batch.size.clamp(1, batch.queue.max(1)),
            delay: batch.delay.max(Duration::from_millis(1)),
            full: Notify::new(),
        })
    }

    /// Takes the item that `make` builds, if the ledger admits it.
    pub(crate) fn push(&self, make: impl FnOnce() -> T) {
        if !self.ledger.admit() {
            return;
        }
        let item = make();
        let mut batches = self.lock();
        let filled = match batches.back_mut() {
            Some(last) if last.len() < self.size => {
                last.push(item);
                last.len() == self.size
            }
            _ => {
                batches.push_back(vec![item]);
                self.size == 1
            }
        };
        drop(batches);
        if filled {
            self.full.notify_one();
        }
    }

    /// The oldest batch, if it is full or `partial` ones go too.
    fn take(&self, partial: bool) -> Option<Vec<T>> {
        let mut batches = self.lock();
        let ready = batches.front().is_some_and(|first| partial || first.len() >= self.size);
        if ready { batches.pop_front() } else { None }
    }

    /// Exports batches until `closing` turns true, then what is left, and returns.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut exporter: Exporter,
        encode: impl Fn(Vec<T>) -> Request,
        mut closing: watch::Receiver<bool>,
    ) {
        let mut tick = tokio::time::interval_at(Instant::now() + self.delay, self.delay);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (last, partial) = tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => (true, true),
                _ = tick.tick() => (false, true),
                () = self.full.notified() => (false, false),
            };
            while let Some(batch) = self.take(partial) {
                let items = batch.len() as u64;
                exporter.export(encode(batch), items).await;
            }
            if last {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Vec<T>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
