//! The cells of lag, in the detail that is wanted.
//!
//! A gauge of fractions belongs to whoever sets it last, so what is folded is folded here: one
//! cell for each label set, and one value for all that share the cell beyond the row's bound.

use super::LagDetail;
use streamhouse_metadata::{TopicId, TopicPartition};
use streamhouse_observability::declare::FloatGaugeCell;
use streamhouse_observability::instruments::LagCells;

/// What a series stands for; `None` is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub topic: Option<TopicId>,
    pub partition: Option<i32>,
}

impl Key {
    pub fn of(partition: TopicPartition, detail: LagDetail) -> Self {
        let TopicPartition { topic, partition } = partition;
        match detail {
            LagDetail::Partition => Self { topic: Some(topic), partition: Some(partition) },
            LagDetail::Topic => Self { topic: Some(topic), partition: None },
            LagDetail::Group => Self { topic: None, partition: None },
        }
    }
}

/// What one place in the log, or several together, are behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Behind {
    pub lag: i64,
    pub seconds: f64,
    pub margin: f64,
}

impl Behind {
    pub const NOTHING: Self = Self { lag: 0, seconds: 0.0, margin: 1.0 };

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            lag: self.lag.saturating_add(other.lag),
            seconds: self.seconds.max(other.seconds),
            margin: self.margin.min(other.margin),
        }
    }
}

/// The cells of one series.
#[derive(Debug)]
pub(super) struct Series {
    pub key: Key,
    pub cells: LagCells,
}

impl Series {
    /// Whether it shares its cells with others, for want of room.
    pub fn is_shared(&self) -> bool {
        self.cells.time.is_overflow() || self.cells.margin.is_overflow()
    }

    pub fn set(&self, behind: Behind, shared: &mut Shared) {
        self.cells.lag.set(behind.lag);
        shared.time.set(&self.cells.time, behind.seconds, f64::max);
        shared.margin.set(&self.cells.margin, behind.margin, f64::min);
    }
}

/// The values of the cells that stand for all beyond a row's bound, collected over a cycle.
#[derive(Debug, Default)]
pub(super) struct Shared {
    time: Fold,
    margin: Fold,
    pub commit_age: Fold,
}

impl Shared {
    /// Sets what was collected.
    pub fn finish(self) {
        for fold in [self.time, self.margin, self.commit_age] {
            if let Some((cell, value)) = fold.0 {
                cell.set(value);
            }
        }
    }
}

/// One shared cell, and its value so far.
#[derive(Debug, Default)]
pub(super) struct Fold(Option<(FloatGaugeCell, f64)>);

impl Fold {
    /// Sets `cell`, or remembers what to set it to if others share it.
    pub fn set(&mut self, cell: &FloatGaugeCell, value: f64, fold: fn(f64, f64) -> f64) {
        if !cell.is_overflow() {
            return cell.set(value);
        }
        match &mut self.0 {
            Some((_, so_far)) => *so_far = fold(*so_far, value),
            None => self.0 = Some((cell.clone(), value)),
        }
    }
}
