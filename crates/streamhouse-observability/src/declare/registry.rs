//! `Declare`: remembers every row, and alone builds what is behind it.

use super::family::{Family, Number};
use super::histogram::ExemplarSeries;
use super::label::{LabelRow, Labels};
use super::row::{Kind, Row, SECONDS};
use super::rules::{Exit, Rules};
use opentelemetry::metrics::{AsyncInstrumentBuilder, Meter};
use std::cell::Cell as ThreadCell;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

thread_local! {
    /// What the cells' callbacks do while this thread collects.
    static COLLECTING: ThreadCell<Collecting> = const { ThreadCell::new(Collecting::For(Exit::Push)) };
}

/// What the cells' callbacks do during a collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collecting {
    /// Report to the SDK, for this exit.
    For(Exit),
    /// Nothing: the renderer reads the cells from their owners.
    WithoutCells,
}

/// Runs `collect` with the cells' callbacks doing as `what` says, on this thread only.
pub(crate) fn collecting<T>(what: Collecting, collect: impl FnOnce() -> T) -> T {
    struct Restore(Collecting);
    impl Drop for Restore {
        fn drop(&mut self) {
            COLLECTING.set(self.0);
        }
    }
    let _restore = Restore(COLLECTING.replace(what));
    collect()
}

/// What a row of [`instruments!`](crate::instruments!) says.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The scope's name: the prefix of the metric's name.
    pub scope: &'static str,
    /// The field's name: the rest of the metric's name.
    pub field: &'static str,
    /// The unit.
    pub unit: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The whole name, where it is not scope and field.
    pub name: Option<&'static str>,
    /// The bounds of a histogram's buckets, where they are not those of seconds.
    pub bounds: Option<&'static [f64]>,
    /// The bound on series of a row with a free label.
    pub series: Option<usize>,
}

impl Spec {
    fn row<L: Labels>(&self, kind: Kind) -> Row {
        let labels = L::rows();
        Row {
            name: match self.name {
                Some(name) => name.into(),
                None => format!("{}.{}", self.scope, self.field).into(),
            },
            help: self.help,
            unit: self.unit,
            kind,
            bounds: if kind == Kind::Histogram { self.bounds.unwrap_or(SECONDS) } else { &[] },
            series: self.series.unwrap_or_else(|| closed_product(&labels)),
            labels,
        }
    }
}

/// How many label sets the closed labels alone can make.
pub(crate) fn closed_product(labels: &[LabelRow]) -> usize {
    labels.iter().map(|label| label.values.as_ref().map_or(1, Vec::len)).product()
}

/// One declared instrument, as the renderer sees it.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) row: Arc<Row>,
    pub(crate) source: Source,
}

/// Where an instrument's values are.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Cells(Arc<Family>),
    Sdk(Arc<ExemplarSeries>),
}

/// What became of a row.
enum Remembered {
    New,
    /// The same row is there already, with this source.
    Known(Source),
    /// Another row has its name.
    Conflict,
}

/// The rows of one meter provider, which its view reads.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<Shared>);

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("declared", &self.lock().len()).finish_non_exhaustive()
    }
}

type Hook = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Shared {
    declared: Mutex<Vec<Declared>>,
    before_collect: Mutex<Vec<Hook>>,
    rules: Arc<Rules>,
}

impl Registry {
    /// How many series the SDK must allow the instrument `name`: its bound, what its overflow
    /// cells add, and one, so that the SDK itself never folds series.
    pub(crate) fn sdk_limit(&self, name: &str) -> Option<usize> {
        let declared = self.lock();
        let row = &declared.iter().find(|declared| declared.row.name == name)?.row;
        Some(row.series.saturating_add(closed_product(&row.labels)).saturating_add(1))
    }

    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.0.rules.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Declared>> {
        self.0.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Builds instruments and remembers their rows. Cheap to clone; tests have one each.
#[derive(Clone)]
pub struct Declare {
    pub(super) meter: Meter,
    registry: Registry,
}

impl fmt::Debug for Declare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let declared = self.registry.lock().len();
        f.debug_struct("Declare").field("declared", &declared).finish_non_exhaustive()
    }
}

impl Declare {
    pub(crate) fn new(meter: Meter, registry: Registry) -> Self {
        Self { meter, registry }
    }

    /// Every row declared so far, in order.
    pub fn rows(&self) -> Vec<Arc<Row>> {
        self.registry.lock().iter().map(|declared| declared.row.clone()).collect()
    }

    /// Runs `refresh` before every collect, to bring cells up to date that nobody records into.
    /// It must not block; a panic in it is caught and counted.
    pub fn before_collect(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.hooks().push(Arc::new(refresh));
    }

    pub(crate) fn refresh(&self) {
        let hooks = self.hooks().clone();
        for hook in hooks {
            self.registry.0.rules.guarded(|| hook());
        }
    }

    pub(crate) fn declared(&self) -> Vec<Declared> {
        self.registry.lock().clone()
    }

    pub(crate) fn declared_count(&self) -> usize {
        self.registry.lock().len()
    }

    fn hooks(&self) -> MutexGuard<'_, Vec<Hook>> {
        self.registry.0.before_collect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that values also leave through `exit`.
    pub(crate) fn add_exit(&self, exit: Exit) {
        self.registry.0.rules.add_exit(exit);
    }

    pub(crate) fn skip(&self, time: Duration) {
        self.registry.0.rules.skip(time);
    }

    /// How often a counter's or gauge's handle was bound. It stands still while hot code runs.
    pub fn bound(&self) -> u64 {
        self.registry.0.rules.bound()
    }

    /// How often a label set was turned away by its row's bound on series.
    pub fn overflowed(&self) -> u64 {
        self.registry.0.rules.overflowed()
    }

    /// How many declared instruments have reached their bound on series.
    pub fn at_limit(&self) -> usize {
        let at_limit = |declared: &&Declared| match &declared.source {
            Source::Cells(family) => {
                declared.row.labels.iter().any(|label| label.values.is_none()) && family.is_full()
            }
            Source::Sdk(_) => false,
        };
        self.registry.lock().iter().filter(at_limit).count()
    }

    /// How many hooks and callbacks have panicked.
    pub fn panics(&self) -> u64 {
        self.registry.0.rules.panics()
    }

    /// The family of `spec`'s row: a new one, or the one that the same row has already.
    pub(super) fn family<L: Labels>(&self, spec: &Spec, kind: Kind, number: Number) -> Arc<Family> {
        let row = Arc::new(spec.row::<L>(kind));
        let family = Family::new(number, kind == Kind::Counter, row.series, self.registry.rules());
        match self.remember(&row, Source::Cells(family.clone())) {
            Remembered::New => self.observe(&row, number, &family),
            Remembered::Known(Source::Cells(known)) if known.number == number => return known,
            Remembered::Known(_) | Remembered::Conflict => report_conflict(&row),
        }
        family
    }

    /// The row of `spec`'s histogram, and its exemplars.
    pub(super) fn histogram<L: Labels>(&self, spec: &Spec) -> (Arc<Row>, Arc<ExemplarSeries>) {
        let row = Arc::new(spec.row::<L>(Kind::Histogram));
        let exemplars = Arc::<ExemplarSeries>::default();
        match self.remember(&row, Source::Sdk(exemplars.clone())) {
            Remembered::New => {}
            Remembered::Known(Source::Sdk(known)) => return (row, known),
            Remembered::Known(_) | Remembered::Conflict => report_conflict(&row),
        }
        (row, exemplars)
    }

    fn remember(&self, row: &Arc<Row>, source: Source) -> Remembered {
        let mut declared = self.registry.lock();
        match declared.iter().find(|known| known.row.name == row.name) {
            Some(known) if known.row == *row => Remembered::Known(known.source.clone()),
            Some(_) => Remembered::Conflict,
            None => {
                declared.push(Declared { row: row.clone(), source });
                Remembered::New
            }
        }
    }

    fn observe(&self, row: &Row, number: Number, family: &Arc<Family>) {
        let (meter, name, rules) = (&self.meter, row.name.clone(), self.registry.rules());
        let cells = Cells { row, family, rules };
        match (row.kind, number) {
            (Kind::Counter, Number::Float) => {
                cells.report(meter.f64_observable_counter(name), f64::from_bits).build();
            }
            (Kind::Counter, _) => {
                cells.report(meter.u64_observable_counter(name), |bits| bits).build();
            }
            (_, Number::Float) => {
                cells.report(meter.f64_observable_gauge(name), f64::from_bits).build();
            }
            (_, _) => {
                cells.report(meter.i64_observable_gauge(name), |bits| bits as i64).build();
            }
        }
    }
}

/// A family on its way to an observable instrument of the SDK.
struct Cells<'a> {
    row: &'a Row,
    family: &'a Arc<Family>,
    rules: Arc<Rules>,
}

impl Cells<'_> {
    fn report<'m, I, M: 'static>(
        self,
        builder: AsyncInstrumentBuilder<'m, I, M>,
        value: fn(u64) -> M,
    ) -> AsyncInstrumentBuilder<'m, I, M> {
        let (family, rules) = (self.family.clone(), self.rules);
        let builder = builder.with_unit(self.row.unit).with_description(self.row.help);
        builder.with_callback(move |observer| {
            if let Collecting::For(exit) = COLLECTING.get() {
                rules.guarded(|| {
                    family.read(exit, |cell, bits| observer.observe(value(bits), &cell.pairs));
                });
            }
        })
    }
}

/// Two different rows of one name are a mistake in a program: what the second one counts stays in
/// the process.
fn report_conflict(row: &Row) {
    tracing::error!(
        metric = row.name.as_ref(),
        "metric declared twice with different rows; the second is not exported"
    );
}
