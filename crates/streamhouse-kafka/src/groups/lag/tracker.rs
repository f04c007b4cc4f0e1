//! The cycle: from what groups have committed to cells and pages.
//!
//! It goes from slice to slice of the groups and does each whole, so that what is compared was read
//! within a few milliseconds, however long the cycle takes with its rests.

use super::compute::Moment;
use super::ends::Ends;
use super::group::{Copied, Followed};
use super::pace::Pace;
use super::series::Shared;
use super::source::Source;
use super::{GroupLag, LagDetail, LagView, Lags};
use crate::groups::table::GroupTable;
use std::time::Duration;
use streamhouse_metadata::{MetadataError, TopicPartition};
use streamhouse_observability::declare::{GaugeCell, HistogramCell, PerValue};
use streamhouse_observability::instruments::LagMetrics;
use streamhouse_observability::labels::Outcome;
use streamhouse_storage::{Clock, machine_ms};
use tokio::time::Instant;

/// How long a cycle is taken to work before there was one: long, so that the first is soon done.
const FIRST: Duration = Duration::from_secs(1);
/// How many places of groups are worked on in one piece; a group is never parted. Also, how many
/// partitions the metadata store is asked of at a time.
const SLICE: usize = 1_000;

/// Follows the groups of one agent.
#[derive(Debug)]
pub(super) struct Tracker {
    detail: LagDetail,
    clock: Clock,
    metrics: LagMetrics,
    lags: Lags,
    uncommitted: GaugeCell,
    duration: PerValue<Outcome, HistogramCell>,
    /// Sorted by name.
    groups: Vec<Followed>,
    /// When the last cycle began.
    begun: Option<Instant>,
    /// How long it worked.
    worked: Duration,
    /// When the last cycle began that computed all.
    complete: Option<Moment>,
    /// How many series the last cycle ended: room for those that share a cell.
    room: usize,
    spare: Spare,
}

/// Memory that every slice uses again.
#[derive(Debug, Default)]
struct Spare {
    copied: Vec<Copied>,
    ends: Ends,
    entries: Vec<(usize, usize)>,
    offsets: Vec<(TopicPartition, i64)>,
}

/// What becomes of a cycle.
#[derive(Debug)]
struct Cycle {
    /// The first failure: after it the store is not asked again.
    told: Result<(), MetadataError>,
    /// How many series can still get a cell of their own.
    room: usize,
    shared: Shared,
    uncommitted: usize,
    views: Vec<GroupLag>,
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
            groups: Vec::new(),
            begun: None,
            worked: FIRST,
            complete: None,
            room: 0,
            spare: Spare::default(),
        }
    }

    /// Computes all lags once, and aims to be done `within` some time. What the metadata store does
    /// not tell stays as it was: then lags are at least what is shown, and ages go on.
    pub async fn cycle(&mut self, table: &GroupTable, source: &impl Source, within: Duration) {
        let begun = self.now();
        let mut pace = Pace::new(within, self.worked);
        let room = std::mem::take(&mut self.room);
        let mut cycle = Cycle {
            told: Ok(()),
            room,
            shared: Shared::default(),
            uncommitted: 0,
            views: Vec::with_capacity(self.groups.len()),
        };
        let mut former = std::mem::take(&mut self.groups).into_iter().peekable();
        let (mut done, mut slice, mut places) = (Vec::new(), Vec::new(), 0);
        for view in table.all() {
            while let Some(gone) = former.next_if(|group| group.name() < &*view.name) {
                self.end(&mut cycle, gone.series());
            }
            if places >= SLICE {
                self.work(&mut slice, source, &mut cycle).await;
                done.append(&mut slice);
                places = 0;
                pace.rest().await;
            }
            let same = former.next_if(|group| group.name() == &*view.name);
            let mut group = same.unwrap_or_else(|| Followed::new(view.clone()));
            let now = self.now();
            group.copy(&view, &mut self.spare.copied, now, self.begun);
            group.look_at_topics(source, &self.metrics);
            places += group.len() + 1;
            slice.push(group);
        }
        former.for_each(|gone| self.end(&mut cycle, gone.series()));
        self.work(&mut slice, source, &mut cycle).await;
        done.append(&mut slice);
        self.groups = done;
        self.begun = Some(begun.at);
        self.finish(cycle, begun);
        self.worked = pace.end();
    }

    fn now(&self) -> Moment {
        Moment { at: Instant::now(), clock_ms: self.clock.now_ms(), machine_ms: machine_ms() }
    }

    /// Takes note of series that have ended: in this cycle some groups may have had their turn.
    fn end(&mut self, cycle: &mut Cycle, series: usize) {
        cycle.room += series;
        self.room += series;
    }

    /// From copied offsets to cells and views. Ends are read after the offsets.
    async fn work(&mut self, groups: &mut [Followed], source: &impl Source, cycle: &mut Cycle) {
        if cycle.told.is_ok() {
            cycle.told = self.ask_ends(groups, source).await;
        }
        self.look(groups, source);
        if cycle.told.is_ok() {
            cycle.told = self.ask_positions(groups, source).await;
        }
        let now = self.now();
        for group in groups {
            group.compute(self.detail, now);
            // What is gone goes before what is new comes: a topic that was deleted and created
            // again has the same labels.
            let gone = group.drop_gone();
            self.end(cycle, gone);
            group.drop_shared(&mut cycle.room);
            group.publish(&self.metrics, &mut cycle.shared, now);
            cycle.uncommitted += usize::from(group.is_uncommitted());
            cycle.views.push(group.view(now));
        }
    }

    async fn ask_ends(
        &mut self,
        groups: &mut [Followed],
        source: &impl Source,
    ) -> Result<(), MetadataError> {
        let ends = &mut self.spare.ends;
        ends.clear();
        groups.iter().for_each(|group| ends.want(group.partitions()));
        ends.ask(source, SLICE).await?;
        groups.iter_mut().for_each(|group| group.tell_ends(ends));
        Ok(())
    }

    /// Finds what must be asked of the first record that each group has not consumed.
    fn look(&mut self, groups: &mut [Followed], source: &impl Source) {
        let now = self.now();
        let Spare { entries, offsets, .. } = &mut self.spare;
        entries.clear();
        offsets.clear();
        for (place, group) in groups.iter_mut().enumerate() {
            group.look(source, now, |number, partition, offset| {
                entries.push((place, number));
                offsets.push((partition, offset));
            });
        }
    }

    async fn ask_positions(
        &mut self,
        groups: &mut [Followed],
        source: &impl Source,
    ) -> Result<(), MetadataError> {
        let Spare { entries, offsets, .. } = &self.spare;
        for (entries, offsets) in entries.chunks(SLICE).zip(offsets.chunks(SLICE)) {
            let told = source.positions(offsets).await?;
            for (((group, number), (_, offset)), position) in entries.iter().zip(offsets).zip(told)
            {
                if let Some(position) = position {
                    groups[*group].tell(*number, *offset, position);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, cycle: Cycle, begun: Moment) {
        let Cycle { told, shared, uncommitted, views: groups, .. } = cycle;
        shared.finish();
        self.uncommitted.set(i64::try_from(uncommitted).unwrap_or(i64::MAX));
        let outcome = match &told {
            Ok(()) => {
                self.complete = Some(begun);
                Outcome::Ok
            }
            Err(error) => {
                tracing::warn!(%error, "lag could not be computed anew; what is known stays");
                Outcome::Error
            }
        };
        self.duration.of(outcome).record(begun.at.elapsed().as_secs_f64());
        self.lags.replace(LagView {
            computed_ms: self.complete.map(|moment| moment.clock_ms),
            complete_at: self.complete.map(|moment| moment.at),
            is_complete: told.is_ok(),
            groups,
        });
    }
}
