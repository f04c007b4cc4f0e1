//! Families by kind, and `Declare`, which alone can build them.

use super::cell::{CounterCell, Exit, Family, FloatCounterCell, FloatGaugeCell, GaugeCell, Number};
use super::histogram::{ExemplarSeries, HistogramCell};
use super::label::{ClosedLabel, ClosedLabels, LabelRow, Labels, PerValue};
use super::row::{Kind, Row, SECONDS};
use opentelemetry::metrics::Meter;
use std::cell::Cell as ThreadCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

thread_local! {
    /// True while this thread collects for a scrape: cells are then read from their owners.
    static SCRAPING: ThreadCell<bool> = const { ThreadCell::new(false) };
}

/// Runs `collect` with the cells' callbacks silent, because the renderer reads cells itself.
pub(crate) fn without_cells<T>(collect: impl FnOnce() -> T) -> T {
    SCRAPING.set(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(collect));
    SCRAPING.set(false);
    match result {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
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

fn closed_product(labels: &[LabelRow]) -> usize {
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

/// Builds instruments and remembers their rows. Cheap to clone; tests have one each.
#[derive(Clone)]
pub struct Declare {
    meter: Meter,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    declared: Mutex<Vec<Declared>>,
    before_collect: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
    exits: Arc<AtomicU8>,
    overflowed: Arc<AtomicU64>,
    panics: AtomicU64,
}

impl fmt::Debug for Declare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Declare").field("declared", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Declare {
    /// A registry whose instruments belong to `meter`.
    pub fn new(meter: Meter) -> Self {
        let shared = Arc::<Shared>::default();
        shared.exits.store(Exit::Scrape as u8, Ordering::Relaxed);
        Self { meter, shared }
    }

    /// Every row declared so far, in order.
    pub fn rows(&self) -> Vec<Arc<Row>> {
        self.lock().iter().map(|declared| declared.row.clone()).collect()
    }

    /// Runs `refresh` before every collect, to bring cells up to date that nobody records into.
    /// It must not block; a panic in it is caught and counted.
    pub fn before_collect(&self, refresh: impl Fn() + Send + Sync + 'static) {
        let mut hooks = self.shared.before_collect.lock().unwrap_or_else(PoisonError::into_inner);
        hooks.push(Box::new(refresh));
    }

    pub(crate) fn refresh(&self) {
        let hooks = self.shared.before_collect.lock().unwrap_or_else(PoisonError::into_inner);
        for hook in hooks.iter() {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(hook)).is_err() {
                self.shared.panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn declared(&self) -> Vec<Declared> {
        self.lock().clone()
    }

    /// Says that values also leave through `exit`.
    pub(crate) fn add_exit(&self, exit: Exit) {
        self.shared.exits.fetch_or(exit as u8, Ordering::Relaxed);
    }

    /// How often a label set was turned away by its row's bound on series.
    pub fn overflowed(&self) -> u64 {
        self.shared.overflowed.load(Ordering::Relaxed)
    }

    /// How many declared instruments have reached their bound on series.
    pub fn at_limit(&self) -> usize {
        let at_limit = |declared: &&Declared| match &declared.source {
            Source::Cells(family) => {
                declared.row.labels.iter().any(|label| label.values.is_none())
                    && family.len() >= declared.row.series
            }
            Source::Sdk(_) => false,
        };
        self.lock().iter().filter(at_limit).count()
    }

    /// How many hooks and callbacks have panicked.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Declared>> {
        self.shared.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, row: Row, source: Source) -> Arc<Row> {
        let row = Arc::new(row);
        self.lock().push(Declared { row: row.clone(), source });
        row
    }

    fn family<L: Labels>(&self, spec: &Spec, kind: Kind, number: Number) -> Arc<Family> {
        let row = spec.row::<L>(kind);
        let family = Family::new(
            number,
            kind == Kind::Counter,
            row.series,
            self.shared.exits.clone(),
            self.shared.overflowed.clone(),
        );
        let row = self.remember(row, Source::Cells(family.clone()));
        self.observe(&row, number, family.clone());
        family
    }

    fn observe(&self, row: &Row, number: Number, family: Arc<Family>) {
        macro_rules! register {
            ($build:ident, $convert:expr) => {{
                let _ = self
                    .meter
                    .$build(row.name.clone())
                    .with_unit(row.unit)
                    .with_description(row.help)
                    .with_callback(move |observer| {
                        if !SCRAPING.get() {
                            family.read(Exit::Push, |cell, bits| {
                                observer.observe($convert(bits), &cell.pairs)
                            });
                        }
                    })
                    .build();
            }};
        }
        match (row.kind, number) {
            (Kind::Counter, Number::Float) => {
                register!(f64_observable_counter, f64::from_bits)
            }
            (Kind::Counter, _) => register!(u64_observable_counter, |bits| bits),
            (_, Number::Float) => register!(f64_observable_gauge, f64::from_bits),
            (_, _) => register!(i64_observable_gauge, |bits| bits as i64),
        }
    }
}

/// What `declare` builds from a row.
pub trait Instrument {
    /// Builds the instrument and adds its row to the registry.
    fn declare(declare: &Declare, spec: Spec) -> Self;
}

/// Defines one kind of family over cells.
macro_rules! family {
    ($(#[$doc:meta])+ $name:ident, $kind:expr, $number:expr, $cell:ident) => {
        $(#[$doc])+
        pub struct $name<L> {
            family: Arc<Family>,
            labels: PhantomData<fn(&L)>,
        }

        impl<L> Clone for $name<L> {
            fn clone(&self) -> Self {
                Self { family: self.family.clone(), labels: PhantomData }
            }
        }

        impl<L> fmt::Debug for $name<L> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("series", &self.family.len()).finish()
            }
        }

        impl<L: Labels> Instrument for $name<L> {
            fn declare(declare: &Declare, spec: Spec) -> Self {
                let family = declare.family::<L>(&spec, $kind, $number);
                Self { family, labels: PhantomData }
            }
        }

        impl<L: Labels> $name<L> {
            /// The handle of `labels`; its series exists from now until the last owner drops it.
            pub fn bind(&self, labels: &L) -> $cell {
                $cell::own(&self.family, labels)
            }

            /// One handle for each value of a closed label.
            pub fn bind_each<E: ClosedLabel>(&self, labels: impl Fn(E) -> L) -> PerValue<E, $cell> {
                PerValue::bind(|value| self.bind(&labels(value)))
            }
        }
    };
}

family! {
    /// A counter of whole things.
    Counter, Kind::Counter, Number::Unsigned, CounterCell
}
family! {
    /// A counter of fractions, such as seconds.
    FloatCounter, Kind::Counter, Number::Float, FloatCounterCell
}
family! {
    /// A gauge of whole things.
    Gauge, Kind::Gauge, Number::Signed, GaugeCell
}
family! {
    /// A gauge of fractions, such as seconds.
    FloatGauge, Kind::Gauge, Number::Float, FloatGaugeCell
}

/// A histogram. Its labels are closed: a series of the SDK never ends.
pub struct Histogram<L> {
    histogram: opentelemetry::metrics::Histogram<f64>,
    bounds: &'static [f64],
    exemplars: Arc<ExemplarSeries>,
    labels: PhantomData<fn(&L)>,
}

impl<L> Clone for Histogram<L> {
    fn clone(&self) -> Self {
        Self {
            histogram: self.histogram.clone(),
            bounds: self.bounds,
            exemplars: self.exemplars.clone(),
            labels: PhantomData,
        }
    }
}

impl<L> fmt::Debug for Histogram<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl<L: ClosedLabels> Instrument for Histogram<L> {
    fn declare(declare: &Declare, spec: Spec) -> Self {
        let exemplars = Arc::<ExemplarSeries>::default();
        let row = declare.remember(spec.row::<L>(Kind::Histogram), Source::Sdk(exemplars.clone()));
        let histogram = declare
            .meter
            .f64_histogram(row.name.clone())
            .with_unit(row.unit)
            .with_description(row.help)
            .with_boundaries(row.bounds.to_vec())
            .build();
        Self { histogram, bounds: row.bounds, exemplars, labels: PhantomData }
    }
}

impl<L: ClosedLabels> Histogram<L> {
    /// The handle of `labels`; its series exists at 0 from now on.
    pub fn bind(&self, labels: &L) -> HistogramCell {
        let pairs = labels.pairs();
        HistogramCell::bind(&self.histogram, pairs.as_ref(), self.bounds, &self.exemplars)
    }

    /// One handle for each value of a closed label.
    pub fn bind_each<E: ClosedLabel>(&self, labels: impl Fn(E) -> L) -> PerValue<E, HistogramCell> {
        PerValue::bind(|value| self.bind(&labels(value)))
    }
}
