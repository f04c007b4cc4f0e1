//! Metrics that other programs made, passed on over OTLP: those that Kafka clients push.
//!
//! A push is [counted](PushLedger::receive) and read into a [`Draft`]; the [`Message`] that is left
//! of it is [offered](Relay::offer). From then on it ends in its ledger by itself: relayed, failed or
//! refused.
//!
//! Invariant: offering never waits; what may wait is bounded in pushes and in bytes. Invariant:
//! names, labels and values are the client's own and reach no metric of ours.

mod ledger;
mod message;
mod points;
mod terms;
mod walk;

pub use ledger::{Push, PushLedger, PushReport};
pub use message::{Client, Draft, Message, MessageError};
pub use terms::Terms;

use crate::labels::PushRefusal;
use crate::pipeline::{Sender, Warning};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// How much may wait for the receiver.
#[derive(Clone, Copy, Debug)]
pub struct RelayLimits {
    /// Pushes. Default: 1,024.
    pub pushes: usize,
    /// Bytes of all waiting pushes, decompressed. Default: 16 MiB.
    pub bytes: usize,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self { pushes: 1_024, bytes: 16 << 20 }
    }
}

/// Passes pushes on, one at a time, in the order offered.
#[derive(Clone, Debug)]
pub struct Relay {
    queue: mpsc::Sender<Waiting>,
    memory: Arc<Semaphore>,
    /// Pushes turned away because too many waited.
    turned_away: Arc<AtomicU64>,
}

/// A push in the queue. Dropped, it has failed.
#[derive(Debug)]
struct Waiting {
    message: Message,
    push: Push,
    _memory: OwnedSemaphorePermit,
}

/// Too much waits for the receiver; the push is counted as refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many pushes wait for the receiver")]
pub struct Full;

impl Relay {
    /// Lets `message` wait for the receiver. `push` is settled in any case.
    /// # Errors
    /// [`Full`]: offer it again later.
    pub fn offer(&self, message: Message, push: Push) -> Result<(), Full> {
        let bytes = u32::try_from(message.body.len()).unwrap_or(u32::MAX);
        let place = self.memory.clone().try_acquire_many_owned(bytes).ok();
        let place = place.and_then(|memory| Some((memory, self.queue.try_reserve().ok()?)));
        match place {
            Some((memory, place)) => {
                place.send(Waiting { message, push, _memory: memory });
                Ok(())
            }
            None => {
                self.turned_away.fetch_add(1, Ordering::Relaxed);
                push.refuse(PushRefusal::Full);
                Err(Full)
            }
        }
    }
}

/// A relay, and the task that does its work until `closing` turns true and all is sent.
pub(crate) fn start(
    limits: RelayLimits,
    sender: Sender,
    endpoint: String,
    closing: watch::Receiver<bool>,
) -> (Relay, impl Future<Output = ()> + Send + 'static) {
    let (queue, waiting) = mpsc::channel(limits.pushes.clamp(1, Semaphore::MAX_PERMITS));
    let memory = Arc::new(Semaphore::new(limits.bytes.min(Semaphore::MAX_PERMITS)));
    let turned_away = Arc::<AtomicU64>::default();
    let warning = Warning::new("client_metrics", endpoint);
    let passing_on = pass_on(waiting, sender, warning, turned_away.clone(), closing);
    (Relay { queue, memory, turned_away }, passing_on)
}

async fn pass_on(
    mut waiting: mpsc::Receiver<Waiting>,
    mut sender: Sender,
    mut warning: Warning,
    turned_away: Arc<AtomicU64>,
    mut closing: watch::Receiver<bool>,
) {
    let mut last = false;
    loop {
        let next = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing), if !last => {
                last = true;
                waiting.close();
                continue;
            }
            next = waiting.recv() => next,
        };
        let Some(Waiting { message, push, _memory }) = next else { return };
        let turned_away = || turned_away.load(Ordering::Relaxed);
        match sender.deliver(message.body).await {
            Ok(rejected) if rejected < message.points.max(1) => {
                push.relayed();
                warning.delivered(turned_away(), rejected);
            }
            Ok(rejected) => {
                push.failed();
                warning.delivered(turned_away(), rejected);
            }
            Err(failure) => {
                push.failed();
                warning.failed(turned_away(), 1, &failure.reason);
            }
        }
    }
}
