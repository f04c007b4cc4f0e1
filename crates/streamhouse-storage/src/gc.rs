//! The garbage collector: objects that no record lies in are deleted, and disk space comes back.
//!
//! It decides nothing by clocks. First it raises a floor in the metadata store: from then on no
//! segment can be committed whose stamp lies below. Then it deletes, below the floor only, the
//! objects whose records have all been removed, and those that were stored and never committed
//! (orphans). So a paused agent can lose time, never an acknowledged record.
//!
//! Several agents may do this at once: it is harmless, and they share the work so that each object
//! is counted once. Invariant: a name that is not a segment's is never deleted. Invariant: no orphan
//! is deleted in an object store that is not marked as this cluster's, or whose mark holds it.

use crate::error::StoreError;
use crate::object_store::ObjectStore;
use crate::ownership::{Ownership, Unowned};
use crate::segment::SegmentName;
use crate::writer_pool::WriterPool;
use futures_util::{StreamExt as _, stream};
use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::{MetadataError, MetadataStore, SegmentId};
use streamhouse_observability::declare::{
    ClosedLabel as _, CounterCell, GaugeCell, HistogramCell, PerValue,
};
use streamhouse_observability::instruments::GarbageMetrics;
use streamhouse_observability::labels::{Garbage, Outcome};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

/// How many objects are deleted at a time.
const DELETES: usize = 8;
/// How many objects are asked about at a time.
const ASKED: usize = 250;
/// The pause after each slice of work, and how often it is repeated at most while producers wait.
const PAUSE: (Duration, u32) = (Duration::from_millis(5), 20);
/// How often all objects are looked at. What a paused agent stores late has a name that was passed
/// before.
const WHOLE: Duration = Duration::from_secs(24 * 3_600);

/// Settings of a [`Collector`].
#[derive(Clone, Debug)]
pub struct GarbageConfig {
    /// The agent's number, by which the work is shared.
    pub agent: i32,
    /// How old an object must be before it can be garbage, and for how long an agent may be paused
    /// between storing a segment and committing it. Default: 15 min.
    pub grace: Duration,
    /// How often objects whose records have all been removed are deleted. Default: 60 s.
    pub interval: Duration,
    /// How often it is looked for orphans, which lists the objects of the last hours. Default: 1 h.
    pub sweep: Duration,
    /// Whether orphans are deleted at all. Default: true.
    pub orphans: bool,
}

impl GarbageConfig {
    /// The defaults.
    pub fn new(agent: i32) -> Self {
        Self {
            agent,
            grace: Duration::from_secs(900),
            interval: Duration::from_secs(60),
            sweep: Duration::from_secs(3_600),
            orphans: true,
        }
    }
}

/// Deletes objects that no record lies in.
#[derive(Debug)]
pub struct Collector {
    config: GarbageConfig,
    store: Arc<dyn ObjectStore>,
    metadata: Arc<dyn MetadataStore>,
    writer: WriterPool,
    meters: Meters,
    /// None until the first round.
    ownership: Option<Ownership>,
    swept: Option<Swept>,
    /// When it was last found that orphans are not to be deleted.
    refused: Option<Instant>,
}

#[derive(Debug)]
struct Meters {
    objects: PerValue<Garbage, CounterCell>,
    bytes: PerValue<Garbage, CounterCell>,
    pending: GaugeCell,
    duration: PerValue<Outcome, HistogramCell>,
}

/// How far the search for orphans has come.
#[derive(Clone, Copy, Debug)]
struct Swept {
    /// The floor up to which all orphans were deleted.
    floor_ms: u64,
    at: Instant,
    /// When all objects were looked at.
    whole: Instant,
}

/// Why a round did not do all that there was to do.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// This agent's part of the work.
#[derive(Clone, Copy, Debug)]
struct Share {
    place: usize,
    of: usize,
}

impl Share {
    fn is_first(self) -> bool {
        self.place == 0
    }

    fn has(self, shard: u8) -> bool {
        usize::from(shard) % self.of.max(1) == self.place
    }
}

impl Collector {
    /// A collector of what `metadata` says nobody needs in `store`. It goes easy while `writer` has
    /// batches to acknowledge.
    pub fn new(
        config: GarbageConfig,
        store: Arc<dyn ObjectStore>,
        metadata: Arc<dyn MetadataStore>,
        writer: WriterPool,
        metrics: &GarbageMetrics,
    ) -> Self {
        let meters = Meters {
            objects: metrics.objects.bind_each(|kind| kind),
            bytes: metrics.bytes.bind_each(|kind| kind),
            pending: metrics.pending.bind(&()),
            duration: metrics.duration.bind_each(|outcome| outcome),
        };
        Self {
            config,
            store,
            metadata,
            writer,
            meters,
            ownership: None,
            swept: None,
            refused: None,
        }
    }

    /// Works for ever; the first round begins after one interval.
    ///
    /// # Cancel safety
    /// Dropping the future ends the work at any point; the next round finds what is left.
    pub async fn run(mut self) {
        let period = self.config.interval.max(Duration::from_millis(1));
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.round().await;
        }
    }

    /// One round; false when something could not be done, which is tried again in the next.
    pub async fn round(&mut self) -> bool {
        let mut round = Round::begin(self.meters.duration.clone());
        let done = self.collect().await;
        if let Err(error) = &done {
            tracing::warn!(%error, "garbage is left; it is tried again");
        }
        round.outcome = if done.is_ok() { Outcome::Ok } else { Outcome::Error };
        done.is_ok()
    }

    async fn collect(&mut self) -> Result<(), Failure> {
        let grace_ms = i64::try_from(self.config.grace.as_millis()).unwrap_or(i64::MAX);
        if self.ownership.is_none() {
            // Before the floor rises: a restored metadata store is told by it.
            let (store, metadata) = (self.store.clone(), self.metadata.clone());
            self.ownership = Some(Ownership::new(store, metadata).await?);
        }
        let floor_ms = self.metadata.raise_floor(grace_ms).await?;
        let floor_ms = u64::try_from(floor_ms).unwrap_or(0);
        // Whatever this agent's clock says, its next segments can be committed.
        self.writer.raise_floor(floor_ms);
        let share = self.share().await?;
        // The one must not wait for the other: a store may refuse to list.
        let unreferenced = if share.is_first() { self.unreferenced().await } else { Ok(()) };
        if !share.is_first() {
            self.meters.pending.set(0); // the first agent tells
        }
        let last = self.swept.map(|swept| swept.at).max(self.refused);
        let due = last.is_none_or(|last| last.elapsed() >= self.config.sweep);
        let swept =
            if due && self.config.orphans { self.orphans(floor_ms, share).await } else { Ok(()) };
        unreferenced.and(swept)
    }

    /// The agents share the shards; the first one takes what has no shard.
    async fn share(&self) -> Result<Share, Failure> {
        let agents = self.metadata.agents().await?;
        let place = agents.iter().position(|agent| agent.id == self.config.agent);
        Ok(match place {
            Some(place) => Share { place, of: agents.len() },
            None => Share { place: 0, of: 1 },
        })
    }

    /// Deletes the objects whose records have all been removed.
    async fn unreferenced(&self) -> Result<(), Failure> {
        loop {
            let (unused, pending) = self.metadata.unused_segments().await?;
            self.meters.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
            if unused.is_empty() {
                return Ok(());
            }
            let objects = unused.iter().map(|one| (one.id, one.object.to_string(), one.bytes));
            let (deleted, failed) = self.delete(Garbage::Unreferenced, objects.collect()).await;
            // Only now: what is forgotten before it is deleted would be an orphan.
            self.metadata.forget_segments(&deleted).await?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            self.breathe().await;
        }
    }

    /// Deletes orphans, where they are this cluster's to delete.
    async fn orphans(&mut self, floor_ms: u64, share: Share) -> Result<(), Failure> {
        let Some(ownership) = &mut self.ownership else { return Ok(()) };
        match ownership.claim().await {
            Ok(()) => {}
            Err(Unowned::Metadata(error)) => return Err(error.into()),
            Err(Unowned::Store(error)) => return Err(error.into()),
            Err(reason) => {
                self.refused = Some(Instant::now());
                tracing::warn!(%reason, "orphans are not deleted");
                return Ok(());
            }
        }
        if share.is_first() {
            ownership.sweeping(floor_ms).await?;
        }
        self.sweep(floor_ms, share).await
    }

    /// Deletes the orphans of this agent's shards that are stamped below `floor_ms`.
    async fn sweep(&mut self, floor_ms: u64, share: Share) -> Result<(), Failure> {
        let at = Instant::now();
        let before = self.swept.filter(|swept| swept.whole.elapsed() < WHOLE);
        for shard in (0..=u8::MAX).filter(|shard| share.has(*shard)) {
            let from = before.map_or(0, |swept| swept.floor_ms);
            self.sweep_shard(shard, from, floor_ms).await?;
            self.breathe().await;
        }
        self.swept = Some(Swept { floor_ms, at, whole: before.map_or(at, |swept| swept.whole) });
        Ok(())
    }

    async fn sweep_shard(&self, shard: u8, from_ms: u64, floor_ms: u64) -> Result<(), Failure> {
        let prefix = format!("{shard:02x}/");
        // Names are listed by hour: everything in an hour comes after the hour's own name.
        let mut after = Some(SegmentName::folder(shard, from_ms)).filter(|_| from_ms > 0);
        let end = SegmentName::folder(shard, floor_ms) + "/~";
        loop {
            let page = self.store.list(&prefix, after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            let is_past = last.name > end;
            after = Some(last.name.clone());
            let below: Vec<_> = page
                .into_iter()
                .filter_map(|found| {
                    let name: SegmentName = found.name.parse().ok()?;
                    (name.id.stamp_ms() < floor_ms).then_some((name.id, found.name, found.size))
                })
                .collect();
            for slice in below.chunks(ASKED) {
                let ids: Vec<_> = slice.iter().map(|(id, ..)| *id).collect();
                let known = self.metadata.is_known(&ids).await?;
                let orphans = slice.iter().zip(known).filter(|(_, known)| !known);
                let orphans: Vec<_> = orphans.map(|(orphan, _)| orphan.clone()).collect();
                let (_, failed) = self.delete(Garbage::Orphan, orphans).await;
                if let Some(error) = failed {
                    return Err(error.into());
                }
            }
            if is_past {
                return Ok(());
            }
            self.breathe().await;
        }
    }

    /// Deletes objects, and tells which are gone, and one of the errors if there were some.
    async fn delete(
        &self,
        kind: Garbage,
        objects: Vec<(SegmentId, String, u64)>,
    ) -> (Vec<SegmentId>, Option<StoreError>) {
        let mut deletes = stream::iter(objects)
            .map(|(id, object, bytes)| async move {
                self.store.delete(&object).await.map(|()| (id, bytes))
            })
            .buffer_unordered(DELETES);
        let (mut deleted, mut total, mut failed) = (Vec::new(), 0, None);
        while let Some(done) = deletes.next().await {
            match done {
                Ok((id, bytes)) => {
                    self.meters.objects.of(kind).add(1);
                    self.meters.bytes.of(kind).add(bytes);
                    total += bytes;
                    deleted.push(id);
                }
                Err(error) => failed = Some(error),
            }
        }
        drop(deletes);
        if !deleted.is_empty() {
            let objects = deleted.len();
            tracing::info!(kind = kind.as_str(), objects, bytes = total, "garbage deleted");
        }
        (deleted, failed)
    }

    /// Waits a little, longer while producers wait for their acknowledgements.
    async fn breathe(&self) {
        let (pause, times) = PAUSE;
        for _ in 0..times {
            sleep(pause).await;
            if self.writer.oldest_unacknowledged().is_none() {
                return;
            }
        }
    }
}

/// A round on its histogram. Dropped unsettled, it counts as cancelled.
struct Round {
    duration: PerValue<Outcome, HistogramCell>,
    begun: Instant,
    outcome: Outcome,
}

impl Round {
    fn begin(duration: PerValue<Outcome, HistogramCell>) -> Self {
        Self { duration, begun: Instant::now(), outcome: Outcome::Cancelled }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.duration.of(self.outcome).record(self.begun.elapsed().as_secs_f64());
    }
}
