//! What others may see of lag: prepared, and replaced as a whole.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use streamhouse_observability::declare::Declare;
use streamhouse_observability::instruments::LagMetrics;
use streamhouse_observability::labels::GroupState;
use tokio::time::Instant;

/// The lag of all groups that this agent coordinates, as last computed. Cheap to clone; clones
/// share. Reading never waits for a computation.
#[derive(Clone, Debug)]
pub struct Lags(Arc<Shown>);

#[derive(Debug)]
struct Shown {
    begun: Instant,
    view: RwLock<Arc<LagView>>,
}

impl Default for Lags {
    fn default() -> Self {
        Self(Arc::new(Shown { begun: Instant::now(), view: RwLock::default() }))
    }
}

impl Lags {
    /// The last view.
    pub fn view(&self) -> Arc<LagView> {
        self.0.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long ago all lags were last computed whole; before the first time, how long that has
    /// been waited for.
    pub fn age(&self) -> Duration {
        self.view().age().unwrap_or_else(|| self.0.begun.elapsed())
    }

    /// Shows the age from now on, whatever becomes of those who compute lag: whoever collects
    /// metrics has it brought up to date.
    ///
    /// Recorded as `streamhouse_consumer_lag_age_seconds`.
    pub fn show_age(&self, metrics: &LagMetrics, declare: &Declare) {
        let (lags, age) = (self.clone(), metrics.lag_age.bind(&()));
        declare.before_collect(move || age.set(lags.age().as_secs_f64()));
    }

    pub(super) fn replace(&self, view: LagView) {
        let view = Arc::new(view);
        let mut current = self.0.view.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, view);
        drop(current);
        drop(before); // it may be large, and readers need not wait for that
    }
}

/// The lag of all groups at one moment.
#[derive(Debug, Default)]
pub struct LagView {
    /// When all lags were last computed whole, in milliseconds since the epoch; `None` before the
    /// first time.
    pub computed_ms: Option<i64>,
    /// When that was by the clock that nobody sets.
    pub(super) complete_at: Option<Instant>,
    /// False when the metadata store could not be asked since then, and before the first time: then
    /// lags are at least these.
    pub is_complete: bool,
    /// The groups, by name.
    pub groups: Vec<GroupLag>,
}

impl LagView {
    /// How long ago all lags were last computed whole; `None` before the first time.
    pub fn age(&self) -> Option<Duration> {
        self.complete_at.map(|at| at.elapsed())
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&GroupLag> {
        let found = self.groups.binary_search_by(|group| (*group.name).cmp(name));
        found.ok().map(|place| &self.groups[place])
    }
}

/// How far one group is behind.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupLag {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands.
    pub state: GroupState,
    /// How many members it has.
    pub members: usize,
    /// What its members are, `consumer` for consumers; empty while there were none.
    pub protocol_type: Arc<str>,
    /// Seconds since it last committed an offset; `None`: it never has.
    pub commit_age: Option<f64>,
    /// Partitions without a committed offset, of topics that its members subscribe to or did when
    /// it last had some; if that is not known, of topics in which it has committed.
    pub uncommitted: usize,
    /// Records to consume, of all partitions.
    pub lag: i64,
    /// The greatest age of a record to consume, in seconds.
    pub seconds: f64,
    /// The least share of a retention that is left.
    pub margin: f64,
    /// Its places in the log, by topic and partition.
    pub partitions: Vec<PartitionLag>,
}

/// How far a group is behind in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionLag {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The offset of the next record to consume.
    pub committed: i64,
    /// Where the log starts.
    pub log_start: i64,
    /// Where it ends.
    pub end: i64,
    /// Records to consume.
    pub lag: i64,
    /// The age of the first of them in seconds, 0 when there is none.
    pub seconds: f64,
    /// The share of the retention that is left before it is removed.
    pub margin: f64,
}
