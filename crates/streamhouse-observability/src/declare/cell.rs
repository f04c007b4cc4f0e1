//! Cells: where counters and gauges live.
//!
//! Whoever describes a thing holds the thing's cells; recording is one atomic add. How long a
//! series lasts is told in [`family`](super::family).
//!
//! Invariant: recording takes no lock and cannot fail.

use super::family::{Family, Number};
use super::row::Kind;
use opentelemetry::KeyValue;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// One series.
#[derive(Debug)]
pub struct Cell {
    bits: AtomicU64,
    owners: AtomicUsize,
    /// The labels as OpenTelemetry takes them, sorted by key.
    pub(crate) pairs: Box<[KeyValue]>,
    /// The labels as they stand in the exposition, braces included; empty without labels.
    pub(crate) text: Arc<str>,
    /// Whether it stands for every label set beyond the row's bound on series.
    is_overflow: bool,
    family: Weak<Family>,
}

impl Cell {
    pub(crate) fn new(
        text: Arc<str>,
        pairs: &[KeyValue],
        is_overflow: bool,
        family: Weak<Family>,
    ) -> Self {
        let mut pairs: Box<[KeyValue]> = pairs.into();
        pairs.sort_by(|a, b| a.key.cmp(&b.key));
        let (bits, owners) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { bits, owners, pairs, text, is_overflow, family }
    }

    pub(crate) fn bits(&self) -> u64 {
        self.bits.load(Ordering::Relaxed)
    }

    pub(crate) fn add_owner(&self) {
        self.owners.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes an owner; true if it was the last one.
    pub(crate) fn remove_owner(&self) -> bool {
        self.owners.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Takes an owner unless it might be the last one.
    fn remove_owner_of_many(&self) -> bool {
        let one_less = |owners: usize| (owners > 1).then(|| owners - 1);
        self.owners.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_less).is_ok()
    }
}

/// A handle that [`CellFamily::bind`](super::CellFamily::bind) gives out.
pub trait Handle: Sized {
    /// What its instrument is called in an error message or a debug print.
    const NAME: &'static str;
    /// How its instrument behaves.
    const KIND: Kind;
    /// How its cell is read.
    const NUMBER: Number;
    /// Wraps a share in a cell.
    fn of(share: Share) -> Self;
}

/// An owner's share in a cell.
#[derive(Debug)]
pub struct Share(Arc<Cell>);

impl Share {
    /// Wraps a cell that has already been given this owner.
    pub(crate) fn new(owned: Arc<Cell>) -> Self {
        Self(owned)
    }
}

impl Clone for Share {
    fn clone(&self) -> Self {
        self.0.add_owner();
        Self(self.0.clone())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Only what may be the last owner takes the family's lock.
        if !self.0.remove_owner_of_many()
            && let Some(family) = self.0.family.upgrade()
        {
            family.release(&self.0);
        }
    }
}

/// A counter's handle for one label set: keep it where the counted thing is kept.
#[derive(Clone, Debug)]
pub struct CounterCell(Share);

impl Handle for CounterCell {
    const NAME: &'static str = "Counter";
    const KIND: Kind = Kind::Counter;
    const NUMBER: Number = Number::Unsigned;

    fn of(share: Share) -> Self {
        Self(share)
    }
}

impl CounterCell {
    /// Adds `n`: one relaxed atomic add.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.0.bits.fetch_add(n, Ordering::Relaxed);
    }

    /// Raises the total to `total` if it is below: for totals that somebody else counts.
    pub fn advance_to(&self, total: u64) {
        self.0.0.bits.fetch_max(total, Ordering::Relaxed);
    }

    /// The total so far.
    pub fn get(&self) -> u64 {
        self.0.0.bits.load(Ordering::Relaxed)
    }
}

/// A counter of fractions, such as seconds; otherwise as [`CounterCell`].
#[derive(Clone, Debug)]
pub struct FloatCounterCell(Share);

impl Handle for FloatCounterCell {
    const NAME: &'static str = "FloatCounter";
    const KIND: Kind = Kind::Counter;
    const NUMBER: Number = Number::Float;

    fn of(share: Share) -> Self {
        Self(share)
    }
}

impl FloatCounterCell {
    /// Raises the total to `total` if it is below; what is not finite is ignored.
    pub fn advance_to(&self, total: f64) {
        if total.is_finite() {
            let _ = self.0.0.bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
                (f64::from_bits(bits) < total).then_some(total.to_bits())
            });
        }
    }
}

/// A gauge's handle for one label set. Several owners of one set add up.
#[derive(Debug)]
pub struct GaugeCell {
    share: Share,
    own: AtomicU64,
}

impl Handle for GaugeCell {
    const NAME: &'static str = "Gauge";
    const KIND: Kind = Kind::Gauge;
    const NUMBER: Number = Number::Signed;

    fn of(share: Share) -> Self {
        Self { share, own: AtomicU64::new(0) }
    }
}

impl GaugeCell {
    /// Sets this owner's part to `value`.
    pub fn set(&self, value: i64) {
        let before = self.own.swap(value as u64, Ordering::Relaxed);
        self.share.0.bits.fetch_add((value as u64).wrapping_sub(before), Ordering::Relaxed);
    }

    /// Adds `n`, which may be negative, to this owner's part.
    pub fn add(&self, n: i64) {
        self.own.fetch_add(n as u64, Ordering::Relaxed);
        self.share.0.bits.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// This owner's part.
    pub fn get(&self) -> i64 {
        self.own.load(Ordering::Relaxed) as i64
    }
}

impl Drop for GaugeCell {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A gauge of fractions, such as an age in seconds. The last owner to set it wins.
#[derive(Clone, Debug)]
pub struct FloatGaugeCell(Share);

impl Handle for FloatGaugeCell {
    const NAME: &'static str = "FloatGauge";
    const KIND: Kind = Kind::Gauge;
    const NUMBER: Number = Number::Float;

    fn of(share: Share) -> Self {
        Self(share)
    }
}

impl FloatGaugeCell {
    /// Sets the value; what is not finite is ignored.
    pub fn set(&self, value: f64) {
        if value.is_finite() {
            self.0.0.bits.store(value.to_bits(), Ordering::Relaxed);
        }
    }

    /// Whether this is the cell that all label sets beyond the row's bound on series share: their
    /// owners must agree on one value, such as the greatest.
    pub fn is_overflow(&self) -> bool {
        self.0.0.is_overflow
    }
}
