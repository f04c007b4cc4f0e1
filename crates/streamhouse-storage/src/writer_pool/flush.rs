//! Closing segments and storing them.

use super::commit::{InFlight, Stored};
use super::meters::Attempt;
use super::queue::{OpenSegment, Shared};
use crate::cache::Cache;
use crate::error::StoreError;
use crate::object_store::ObjectStore;
use crate::segment::{Built, SegmentBuilder, SegmentName};
use std::sync::Arc;
use streamhouse_observability::labels::{self, Operation};
use streamhouse_observability::spans;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument as _;

/// Closes a segment whenever one is due and a slot is free.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    store: Arc<dyn ObjectStore>,
    cache: Cache,
    closed: mpsc::UnboundedSender<InFlight>,
}

impl Flusher {
    pub fn new(
        shared: Arc<Shared>,
        store: Arc<dyn ObjectStore>,
        cache: Cache,
        closed: mpsc::UnboundedSender<InFlight>,
    ) -> Self {
        Self { shared, store, cache, closed }
    }

    pub async fn run(self) {
        let slots = Arc::new(Semaphore::new(self.shared.config.put_slots.max(1)));
        let mut puts = JoinSet::new();
        while self.shared.due().await {
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            if let Some(segment) = self.shared.close() {
                self.flush(segment, slot, &mut puts);
            }
            while puts.try_join_next().is_some() {}
        }
        while puts.join_next().await.is_some() {}
    }

    /// Starts the PUT, and tells the committer of the segment: the order of these calls is the
    /// order of the log.
    fn flush(&self, segment: OpenSegment, slot: OwnedSemaphorePermit, puts: &mut JoinSet<()>) {
        let OpenSegment { number, builder, waiting, .. } = segment;
        let name = SegmentName::fresh(self.shared.config.agent, self.shared.floor_ms());
        let requests: Vec<_> = waiting.iter().filter_map(|one| one.span.clone()).collect();
        let span = spans::segment_flush(&name.to_string(), builder.bytes() as i64, &requests);
        let flush = spans::sampled_context(&span);
        let attempt = Attempt::begin(self.shared.meters.clone(), builder.bytes(), flush.clone());
        let (done, put) = oneshot::channel();
        let in_flight = InFlight { number, waiting, span: span.clone(), flush, attempt, put };
        let _ = self.closed.send(in_flight); // the committer outlives the flusher

        let (shared, store, cache) = (self.shared.clone(), self.store.clone(), self.cache.clone());
        puts.spawn(
            async move {
                let stored = put_segment(&shared, &*store, &cache, builder, name).await;
                drop(slot);
                let _ = done.send(stored);
            }
            .instrument(span),
        );
    }
}

/// Stores a segment and puts its blocks into the cache.
async fn put_segment(
    shared: &Shared,
    store: &dyn ObjectStore,
    cache: &Cache,
    builder: SegmentBuilder,
    name: SegmentName,
) -> Result<Stored, StoreError> {
    let built = builder.build(&name);
    drop(builder);
    let object = built.segment.object.clone();
    let budget = shared.config.put_budget;
    let put = timeout(budget, store.put(&object, &built.body)).await.unwrap_or_else(|_| {
        let message = format!("not stored within {} ms", budget.as_millis());
        Err(StoreError::new(Operation::Put, &*object, labels::StoreError::Timeout, message))
    });
    match put {
        Ok(()) => shared.meters.written(),
        Err(error) => {
            tracing::warn!(object = &*object, %error, "a segment could not be stored");
            return Err(error);
        }
    }
    fill(cache, &built);
    Ok(Stored { segment: built.segment, arrivals: built.arrivals })
}

/// A consumer at the tail must find what was just written without a GET.
fn fill(cache: &Cache, built: &Built) {
    let mut batches = built.body.iter().skip(1); // the header
    for block in &built.segment.blocks {
        let parts = batches.by_ref().take(block.batches.len());
        cache.insert(&built.segment.object, block.position, block.length as usize, parts);
    }
}
