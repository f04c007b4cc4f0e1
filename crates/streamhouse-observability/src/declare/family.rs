//! Families: all series of one counter or gauge, and how long each of them lasts.
//!
//! A family maps a label set to one cell. A gauge's series ends with its last owner. A counter's
//! is then read once more by every exit, so that its last increments are not lost, and after that
//! each exit must see it missing once before it may begin anew at 0: an owner that returns before
//! goes on where the last one stopped. So no exit sees a counter fall. An exit that does not read
//! is waited for a minute.

use super::cell::Cell;
use super::label::Labels;
use super::labels_text::label_text;
use super::rules::{Exit, Rules};
use opentelemetry::KeyValue;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an ended counter waits for exits that do not read.
pub(crate) const ENDED_LIMIT: Duration = Duration::from_secs(60);
/// How many series are read under one hold of the family's lock.
const CHUNK: usize = 512;

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

/// All series of one counter or gauge.
#[derive(Debug)]
pub struct Family {
    pub(crate) number: Number,
    keep_ended: bool,
    limit: usize,
    rules: Arc<Rules>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    series: BTreeMap<Arc<str>, Series>,
    /// No series has ended before this time: spares the search for expired ones.
    first_end: Option<Duration>,
}

#[derive(Debug)]
struct Series {
    cell: Arc<Cell>,
    state: State,
    /// The exits that have read it in this state.
    read_by: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Somebody owns it.
    Live,
    /// Nobody owns it since then; its last value is still shown.
    Ended(Duration),
    /// Nobody owns it since then, every exit has its last value; it is no longer shown.
    Hidden(Duration),
}

impl Family {
    pub(crate) fn new(
        number: Number,
        keep_ended: bool,
        limit: usize,
        rules: Arc<Rules>,
    ) -> Arc<Self> {
        Arc::new(Self { number, keep_ended, limit, rules, table: Mutex::default() })
    }

    /// The cell of `labels`, with one owner more; the overflow cell once the bound is reached.
    pub(crate) fn own<L: Labels>(self: &Arc<Self>, labels: &L) -> Arc<Cell> {
        self.rules.count_bound();
        let text = label_text(labels.pairs().as_ref());
        let mut table = self.lock();
        if !table.series.contains_key(text.as_str()) && table.series.len() >= self.limit {
            table.forget_expired(self.rules.now());
            if table.series.len() >= self.limit {
                self.rules.count_overflow();
                let other = labels.overflow();
                let text = label_text(other.pairs().as_ref());
                return self.join(&mut table, text, other.pairs().as_ref(), true);
            }
        }
        self.join(&mut table, text, labels.pairs().as_ref(), false)
    }

    fn join(
        self: &Arc<Self>,
        table: &mut Table,
        text: String,
        pairs: &[KeyValue],
        is_overflow: bool,
    ) -> Arc<Cell> {
        let text: Arc<str> = text.into();
        let one = table.series.entry(text.clone()).or_insert_with(|| Series {
            cell: Arc::new(Cell::new(text, pairs, is_overflow, Arc::downgrade(self))),
            state: State::Live,
            read_by: 0,
        });
        one.state = State::Live;
        one.cell.add_owner();
        one.cell.clone()
    }

    /// Takes one owner from `cell`; called only when it may be the last one.
    ///
    /// Owners are added to a cell without any only under the family's lock, so the count that is
    /// seen here is final.
    pub(crate) fn release(&self, cell: &Cell) {
        let mut table = self.lock();
        if !cell.remove_owner() {
            return;
        }
        if !self.keep_ended {
            table.series.remove(&*cell.text);
            return;
        }
        let now = self.rules.now();
        table.first_end.get_or_insert(now);
        if let Some(one) = table.series.get_mut(&*cell.text) {
            one.state = State::Ended(now);
            one.read_by = 0;
        }
    }

    /// Shows every series to `visit` for `exit`, in the order of their label texts, and moves on
    /// those that have ended.
    ///
    /// The lock is held for a few hundred series at a time, so that a new series never waits long.
    /// `visit` must not bind or drop handles of this family.
    pub(crate) fn read(&self, exit: Exit, mut visit: impl FnMut(&Cell, u64)) {
        let now = self.rules.now();
        let mut after: Option<Arc<str>> = None;
        loop {
            let mut last = None;
            let mut gone: Vec<Arc<str>> = Vec::new();
            let mut table = self.lock();
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let chunk = table.series.range_mut::<str, _>((from, Bound::Unbounded));
            for (seen, (key, one)) in chunk.enumerate() {
                if one.is_shown(now) {
                    visit(&one.cell, one.cell.bits());
                }
                if one.is_gone_after(exit, now, &self.rules) {
                    gone.push(key.clone());
                }
                if seen + 1 == CHUNK {
                    last = Some(key.clone());
                    break;
                }
            }
            for key in gone {
                table.series.remove(&key);
            }
            drop(table);
            // The lock is not fair: whoever waits for it needs a moment to get it.
            std::thread::yield_now();
            match last {
                Some(key) => after = Some(key),
                None => return,
            }
        }
    }

    /// Shows every series that a scrape would show, and changes nothing.
    pub(crate) fn peek(&self, mut visit: impl FnMut(&Cell, u64)) {
        let now = self.rules.now();
        for one in self.lock().series.values() {
            if one.is_shown(now) {
                visit(&one.cell, one.cell.bits());
            }
        }
    }

    /// Whether the bound on series has been reached.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().series.len() >= self.limit
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().series.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Makes room: forgets the series that ended more than a minute ago.
    fn forget_expired(&mut self, now: Duration) {
        if self.first_end.is_none_or(|end| now.saturating_sub(end) < ENDED_LIMIT) {
            return;
        }
        self.series.retain(|_, one| one.ended_at().is_none_or(|at| now - at < ENDED_LIMIT));
        self.first_end = self.series.values().filter_map(Series::ended_at).min();
    }
}

impl Series {
    fn ended_at(&self) -> Option<Duration> {
        match self.state {
            State::Live => None,
            State::Ended(at) | State::Hidden(at) => Some(at),
        }
    }

    /// Whether readers see it: an ended one no longer than its minute, however rarely they come.
    fn is_shown(&self, now: Duration) -> bool {
        match self.state {
            State::Live => true,
            State::Ended(at) => now.saturating_sub(at) < ENDED_LIMIT,
            State::Hidden(_) => false,
        }
    }

    /// Notes that `exit` has passed by; true once the series is over.
    fn is_gone_after(&mut self, exit: Exit, now: Duration, rules: &Rules) -> bool {
        let Some(at) = self.ended_at() else { return false };
        self.read_by |= exit as u8;
        if now.saturating_sub(at) >= ENDED_LIMIT {
            return true;
        }
        if !rules.all_read(self.read_by) {
            return false;
        }
        self.read_by = 0;
        match self.state {
            State::Ended(at) => {
                self.state = State::Hidden(at);
                false
            }
            _ => true,
        }
    }
}
