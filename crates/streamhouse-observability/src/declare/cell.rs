//! Cells: where counters and gauges live.
//!
//! A family maps a label set to one reference-counted cell. Whoever describes a thing holds the
//! thing's cell; recording is one atomic add. A gauge's series ends with its last owner; a
//! counter's stays until every exit has read its last value, or a minute at most.
//!
//! Invariant: recording takes no lock and cannot fail.

use super::label::Labels;
use opentelemetry::KeyValue;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long an ended counter waits for exits that do not read.
const ENDED_LIMIT: Duration = Duration::from_secs(60);
/// How many series are read under one hold of the family's lock.
const CHUNK: usize = 512;

/// Which reader is at work: bit flags, so that a cell can note who has seen its last value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A scrape of `/metrics`.
    Scrape = 1,
    /// The export over OTLP.
    Push = 2,
}

/// How a cell's 64 bits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// `u64`, for counters.
    Unsigned,
    /// `i64`, for gauges.
    Signed,
    /// `f64`.
    Float,
}

/// One series.
#[derive(Debug)]
pub struct Cell {
    pub(crate) bits: AtomicU64,
    owners: AtomicUsize,
    read_by: AtomicU8,
    pub(crate) pairs: Box<[KeyValue]>,
    /// The labels as they stand in the exposition, braces included; empty without labels.
    pub(crate) text: Box<str>,
    family: Weak<Family>,
}

#[derive(Debug)]
struct Series {
    cell: Arc<Cell>,
    ended: Option<Instant>,
}

/// All series of one counter or gauge.
#[derive(Debug)]
pub struct Family {
    pub(crate) number: Number,
    keep_ended: bool,
    limit: usize,
    exits: Arc<AtomicU8>,
    overflowed: Arc<AtomicU64>,
    series: Mutex<BTreeMap<Box<str>, Series>>,
}

impl Family {
    pub(crate) fn new(
        number: Number,
        keep_ended: bool,
        limit: usize,
        exits: Arc<AtomicU8>,
        overflowed: Arc<AtomicU64>,
    ) -> Arc<Self> {
        let series = Mutex::default();
        Arc::new(Self { number, keep_ended, limit, exits, overflowed, series })
    }

    /// The cell of `labels`, with one owner more; the overflow cell once the bound is reached.
    pub(crate) fn own<L: Labels>(self: &Arc<Self>, labels: &L) -> Arc<Cell> {
        let text = label_text(labels.pairs().as_ref());
        let mut series = self.lock();
        if !series.contains_key(text.as_str()) {
            series.retain(|_, one| one.ended.is_none_or(|at| at.elapsed() < ENDED_LIMIT));
            if series.len() >= self.limit {
                self.overflowed.fetch_add(1, Ordering::Relaxed);
                let other = labels.overflow();
                let text = label_text(other.pairs().as_ref());
                return self.join(&mut series, text, other.pairs().as_ref());
            }
        }
        self.join(&mut series, text, labels.pairs().as_ref())
    }

    fn join(
        self: &Arc<Self>,
        series: &mut BTreeMap<Box<str>, Series>,
        text: String,
        pairs: &[KeyValue],
    ) -> Arc<Cell> {
        let text: Box<str> = text.into();
        let one = series.entry(text.clone()).or_insert_with(|| Series {
            cell: Arc::new(Cell {
                bits: AtomicU64::new(0),
                owners: AtomicUsize::new(0),
                read_by: AtomicU8::new(0),
                pairs: pairs.into(),
                text,
                family: Arc::downgrade(self),
            }),
            ended: None,
        });
        one.ended = None;
        one.cell.owners.fetch_add(1, Ordering::Relaxed);
        one.cell.clone()
    }

    fn release(&self, cell: &Cell) {
        let mut series = self.lock();
        if cell.owners.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        if !self.keep_ended {
            series.remove(&cell.text);
        } else if let Some(one) = series.get_mut(&cell.text) {
            cell.read_by.store(0, Ordering::Relaxed);
            one.ended = Some(Instant::now());
        }
    }

    /// Shows every series to `visit`, and forgets the ended ones that every exit has now read.
    ///
    /// The lock is held for a few hundred series at a time, so that a new series never waits long.
    pub(crate) fn read(&self, exit: Exit, mut visit: impl FnMut(&Cell, u64)) {
        let mut after: Option<Box<str>> = None;
        loop {
            let mut last = None;
            let mut gone = Vec::new();
            let mut series = self.lock();
            let from = match &after {
                Some(key) => (Bound::Excluded(key.clone()), Bound::Unbounded),
                None => (Bound::Unbounded, Bound::Unbounded),
            };
            for (seen, (key, one)) in series.range::<Box<str>, _>(from).enumerate() {
                visit(&one.cell, one.cell.bits.load(Ordering::Relaxed));
                if let Some(at) = one.ended {
                    let seen_by =
                        one.cell.read_by.fetch_or(exit as u8, Ordering::Relaxed) | exit as u8;
                    let exits = self.exits.load(Ordering::Relaxed);
                    if seen_by & exits == exits || at.elapsed() >= ENDED_LIMIT {
                        gone.push(key.clone());
                    }
                }
                if seen + 1 == CHUNK {
                    last = Some(key.clone());
                    break;
                }
            }
            for key in gone {
                series.remove(&key);
            }
            drop(series);
            match last {
                Some(key) => after = Some(key),
                None => return,
            }
        }
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An owner's share in a cell.
#[derive(Debug)]
struct Share(Arc<Cell>);

impl Clone for Share {
    fn clone(&self) -> Self {
        self.0.owners.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(family) = self.0.family.upgrade() {
            family.release(&self.0);
        }
    }
}

/// A counter's handle for one label set: keep it where the counted thing is kept.
#[derive(Clone, Debug)]
pub struct CounterCell(Share);

impl CounterCell {
    pub(crate) fn own<L: Labels>(family: &Arc<Family>, labels: &L) -> Self {
        Self(Share(family.own(labels)))
    }

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

impl FloatCounterCell {
    pub(crate) fn own<L: Labels>(family: &Arc<Family>, labels: &L) -> Self {
        Self(Share(family.own(labels)))
    }

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

impl GaugeCell {
    pub(crate) fn own<L: Labels>(family: &Arc<Family>, labels: &L) -> Self {
        Self { share: Share(family.own(labels)), own: AtomicU64::new(0) }
    }

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

impl FloatGaugeCell {
    pub(crate) fn own<L: Labels>(family: &Arc<Family>, labels: &L) -> Self {
        Self(Share(family.own(labels)))
    }

    /// Sets the value; what is not finite is ignored.
    pub fn set(&self, value: f64) {
        if value.is_finite() {
            self.0.0.bits.store(value.to_bits(), Ordering::Relaxed);
        }
    }
}

/// Renders labels as the exposition shows them: `{key="value",…}`, or nothing.
pub(crate) fn label_text(pairs: &[KeyValue]) -> String {
    let mut text = String::new();
    for (place, pair) in pairs.iter().enumerate() {
        text.push(if place == 0 { '{' } else { ',' });
        text.extend(
            pair.key.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }),
        );
        text.push_str("=\"");
        for c in pair.value.as_str().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    if !pairs.is_empty() {
        text.push('}');
    }
    text
}
