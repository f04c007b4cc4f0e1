//! The cycle: from what groups have committed to cells and pages.

use super::compute::Moment;
use super::ends::{Ends, Place};
use super::group::{Copied, Followed};
use super::series::Shared;
use super::source::Source;
use super::{LagDetail, LagView, Lags};
use crate::groups::table::GroupTable;
use std::collections::BTreeMap;
use std::sync::Arc;
use streamhouse_metadata::{MetadataError, TopicPartition};
use streamhouse_observability::declare::{GaugeCell, HistogramCell, PerValue};
use streamhouse_observability::instruments::LagMetrics;
use streamhouse_observability::labels::Outcome;
use streamhouse_storage::{Clock, machine_ms};
use tokio::task::yield_now;
use tokio::time::Instant;

/// How many partitions the metadata store is asked of at a time.
const SLICE: usize = 10_000;
/// How many entries are worked on before others get their turn on the thread.
const TURN: usize = 2_000;

/// Follows the groups of one agent.
#[derive(Debug)]
pub(super) struct Tracker {
    detail: LagDetail,
    clock: Clock,
    metrics: LagMetrics,
    lags: Lags,
    uncommitted: GaugeCell,
    duration: PerValue<Outcome, HistogramCell>,
    groups: BTreeMap<Arc<str>, Followed>,
    ends: Ends,
    copied_at: Option<Instant>,
    /// When all was last computed whole.
    complete: Option<Moment>,
    /// How many series have ended: room for those that share a cell.
    room: usize,
    spare: Spare,
}

/// Memory that every cycle uses again.
#[derive(Debug, Default)]
struct Spare {
    copied: Vec<Copied>,
    places: Vec<Place>,
    partitions: Vec<TopicPartition>,
    entries: Vec<(Arc<str>, usize)>,
    offsets: Vec<(TopicPartition, i64)>,
}

/// Gives others their turn after some work.
#[derive(Default)]
struct Turn(usize);

impl Turn {
    async fn after(&mut self, work: usize) {
        self.0 += work + 1;
        if self.0 >= TURN {
            self.0 = 0;
            yield_now().await;
        }
    }
}

impl Tracker {
    pub fn new(detail: LagDetail, clock: Clock, metrics: LagMetrics, lags: Lags) -> Self {
        Self {
            detail,
            clock,
            lags,
            uncommitted: metrics.groups_uncommitted.bind(&()),
            duration: metrics.lag_duration.bind_each(|outcome| outcome),
            metrics,
            groups: BTreeMap::new(),
            ends: Ends::default(),
            copied_at: None,
            complete: None,
            room: 0,
            spare: Spare::default(),
        }
    }

    /// Computes all lags once. What the metadata store does not tell stays as it was: then lags
    /// are at least what is shown, and ages go on.
    pub async fn cycle(&mut self, table: &GroupTable, source: &impl Source) {
        let begun = Instant::now();
        self.copy(table, source).await;
        let ends = self.ask_ends(source).await;
        let positions = self.ask_positions(source).await;
        let told = ends.and(positions);
        self.publish(told.is_ok()).await;
        if let Err(error) = &told {
            tracing::warn!(%error, "lag could not be computed anew; what is known stays");
        }
        let outcome = if told.is_ok() { Outcome::Ok } else { Outcome::Error };
        self.duration.of(outcome).record(begun.elapsed().as_secs_f64());
    }

    fn now(&self) -> Moment {
        Moment { at: Instant::now(), clock_ms: self.clock.now_ms(), machine_ms: machine_ms() }
    }

    /// Committed offsets, of groups that have changed.
    async fn copy(&mut self, table: &GroupTable, source: &impl Source) {
        let now = self.now();
        let mut turn = Turn::default();
        let views = table.all();
        let mut before = std::mem::take(&mut self.groups);
        for view in views {
            let mut group =
                before.remove(&view.name).unwrap_or_else(|| Followed::new(view.clone()));
            group.copy(&view, &mut self.ends, &mut self.spare.copied, now, self.copied_at);
            group.look_at_topics(source, &self.metrics);
            turn.after(group.len()).await;
            self.groups.insert(view.name.clone(), group);
        }
        for (_, gone) in before {
            self.room += gone.end(&mut self.ends);
        }
        self.copied_at = Some(now.at);
    }

    /// Ends, read after the offsets.
    async fn ask_ends(&mut self, source: &impl Source) -> Result<(), MetadataError> {
        let Spare { places, partitions, .. } = &mut self.spare;
        places.clear();
        partitions.clear();
        for (place, partition) in self.ends.wanted() {
            places.push(place);
            partitions.push(partition);
        }
        for (places, partitions) in places.chunks(SLICE).zip(partitions.chunks(SLICE)) {
            let told = source.ends(partitions).await?;
            for (place, ends) in places.iter().zip(told) {
                self.ends.set(*place, ends);
            }
        }
        Ok(())
    }

    /// Where the first record lies that each group has not consumed.
    async fn ask_positions(&mut self, source: &impl Source) -> Result<(), MetadataError> {
        let now = self.now();
        let mut turn = Turn::default();
        let Spare { entries, offsets, .. } = &mut self.spare;
        entries.clear();
        offsets.clear();
        for (name, group) in &mut self.groups {
            group.look(source, &self.ends, now, |number, partition, offset| {
                entries.push((name.clone(), number));
                offsets.push((partition, offset));
            });
            turn.after(group.len()).await;
        }
        for (entries, offsets) in entries.chunks(SLICE).zip(offsets.chunks(SLICE)) {
            let told = source.positions(offsets).await?;
            for (((name, number), (_, offset)), position) in entries.iter().zip(offsets).zip(told) {
                if let (Some(group), Some(position)) = (self.groups.get_mut(name), position) {
                    group.tell(*number, *offset, position, &self.ends);
                }
            }
        }
        Ok(())
    }

    /// Cells and view. What is gone goes before what is new comes: a topic that was deleted and
    /// created again has the same labels.
    async fn publish(&mut self, is_complete: bool) {
        let now = self.now();
        let mut turn = Turn::default();
        for group in self.groups.values_mut() {
            group.compute(self.detail, now);
            self.room += group.drop_gone();
            turn.after(group.len()).await;
        }
        let mut room = std::mem::take(&mut self.room);
        if room > 0 {
            self.groups.values_mut().for_each(|group| group.drop_shared(&mut room));
        }
        let mut shared = Shared::default();
        let mut groups = Vec::with_capacity(self.groups.len());
        for group in self.groups.values_mut() {
            group.publish(&self.metrics, &mut shared, now);
            groups.push(group.view(&self.ends, now));
            turn.after(group.len()).await;
        }
        shared.finish();
        let uncommitted = self.groups.values().filter(|group| group.is_uncommitted()).count();
        self.uncommitted.set(i64::try_from(uncommitted).unwrap_or(i64::MAX));
        if is_complete {
            self.complete = Some(now);
        }
        self.lags.replace(LagView {
            computed_ms: self.complete.map(|moment| moment.clock_ms),
            complete_at: self.complete.map(|moment| moment.at),
            is_complete,
            groups,
        });
    }
}
