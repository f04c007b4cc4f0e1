//! The client instances that are known, and what each may do now.

use super::config::ClientTelemetryConfig;
use super::series::Series;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use streamhouse_observability::declare::GaugeCell;
use streamhouse_observability::labels::PushRefusal;
use tokio::time::Instant;
use uuid::Uuid;

/// For how many intervals an instance may be silent.
const SILENCE: u32 = 3;
/// Series of all instances together, eight bytes each: 64 MiB. More than the limits of instances and
/// of their series make unless they are raised.
const MOST_SERIES: usize = 8 << 20;
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// The client instances that have a subscription.
#[derive(Debug)]
pub(super) struct Instances {
    known: HashMap<Uuid, Instance>,
    /// When instances were met for the first time, within the last hour.
    met: VecDeque<Instant>,
    /// The shortest time between two pushes of an instance.
    apart: Duration,
    silence: Duration,
    most: usize,
    most_new: usize,
    most_series: usize,
    pub(super) most_series_of_all: usize,
    /// Series of all instances.
    series: usize,
    count: GaugeCell,
}

#[derive(Debug)]
struct Instance {
    seen: Instant,
    pushed: Option<Instant>,
    terminated: bool,
    /// What it has pushed so far.
    series: Series,
}

impl Instances {
    pub fn new(config: &ClientTelemetryConfig, count: GaugeCell) -> Self {
        Self {
            known: HashMap::new(),
            met: VecDeque::new(),
            // Clients' clocks and networks are not exact.
            apart: config.interval - config.interval / 10,
            silence: config.interval.saturating_mul(SILENCE),
            most: config.max_instances,
            most_new: config.new_instances_per_hour,
            most_series: config.max_series,
            most_series_of_all: MOST_SERIES,
            series: 0,
            count,
        }
    }

    /// Makes `id` known, or notes that it is alive.
    ///
    /// # Errors
    /// There are too many already; nobody is forgotten for a newcomer.
    pub fn meet(&mut self, id: Uuid, now: Instant) -> Result<(), PushRefusal> {
        self.instance(id, now).map(|_| ())
    }

    /// Lets `id` push now. An instance that was not known is met: it has its subscription from
    /// another agent, or from before a restart.
    ///
    /// # Errors
    /// It may not, or not yet. A last push may come at any time, once.
    pub fn push(&mut self, id: Uuid, last: bool, now: Instant) -> Result<(), PushRefusal> {
        let apart = self.apart;
        let instance = self.instance(id, now)?;
        if instance.terminated {
            return Err(PushRefusal::Terminated);
        }
        let early = instance.pushed.is_some_and(|at| now.duration_since(at) < apart);
        if early && !last {
            return Err(PushRefusal::TooEarly);
        }
        instance.pushed = Some(now);
        instance.terminated = last;
        Ok(())
    }

    /// Which of `series`, hashes of what `id` has pushed, may be passed on: those that it has had
    /// before, and new ones as long as there is room, for it and for all.
    ///
    /// # Errors
    /// The instance has been forgotten meanwhile.
    pub fn admit(&mut self, id: Uuid, series: &[u64]) -> Result<Vec<bool>, PushRefusal> {
        let instance = self.known.get_mut(&id).ok_or(PushRefusal::UnknownSubscription)?;
        let before = instance.series.len();
        let room = self.most_series.saturating_sub(before);
        let room = room.min(self.most_series_of_all.saturating_sub(self.series));
        let kept = instance.series.admit(series, room);
        self.series += instance.series.len() - before;
        Ok(kept)
    }

    /// Forgets those that have been silent for too long.
    pub fn sweep(&mut self, now: Instant) {
        let silence = self.silence;
        self.known.retain(|_, instance| now.duration_since(instance.seen) <= silence);
        self.series = self.known.values().map(|instance| instance.series.len()).sum();
        self.count();
    }

    fn instance(&mut self, id: Uuid, now: Instant) -> Result<&mut Instance, PushRefusal> {
        if !self.known.contains_key(&id) {
            while self.met.front().is_some_and(|at| now.duration_since(*at) >= HOUR) {
                self.met.pop_front();
            }
            if self.known.len() >= self.most || self.met.len() >= self.most_new {
                return Err(PushRefusal::TooManyInstances);
            }
            self.met.push_back(now);
            let (pushed, terminated, series) = (None, false, Series::default());
            self.known.insert(id, Instance { seen: now, pushed, terminated, series });
            self.count();
        }
        let instance = self.known.get_mut(&id).ok_or(PushRefusal::TooManyInstances)?;
        instance.seen = now;
        Ok(instance)
    }

    fn count(&self) {
        self.count.set(i64::try_from(self.known.len()).unwrap_or(i64::MAX));
    }
}
