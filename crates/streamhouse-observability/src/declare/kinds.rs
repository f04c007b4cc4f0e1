//! The kinds of instruments that a row can name.

use super::cell::{CounterCell, FloatCounterCell, FloatGaugeCell, GaugeCell, Handle, Share};
use super::family::Family;
use super::histogram::{ExemplarSeries, HistogramCell};
use super::label::{ClosedLabel, ClosedLabels, Labels, PerValue};
use super::registry::{Declare, Spec};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A counter of whole things.
pub type Counter<L> = CellFamily<L, CounterCell>;
/// A counter of fractions, such as seconds.
pub type FloatCounter<L> = CellFamily<L, FloatCounterCell>;
/// A gauge of whole things.
pub type Gauge<L> = CellFamily<L, GaugeCell>;
/// A gauge of fractions, such as seconds.
pub type FloatGauge<L> = CellFamily<L, FloatGaugeCell>;

/// What `declare` builds from a row.
pub trait Instrument {
    /// Builds the instrument and adds its row to the registry. The same row again is the same
    /// instrument.
    fn declare(declare: &Declare, spec: Spec) -> Self;
}

/// A counter or a gauge: cells of type `C`, one for each label set of type `L`.
pub struct CellFamily<L, C> {
    family: Arc<Family>,
    types: PhantomData<fn(&L) -> C>,
}

impl<L, C> Clone for CellFamily<L, C> {
    fn clone(&self) -> Self {
        Self { family: self.family.clone(), types: PhantomData }
    }
}

impl<L, C: Handle> fmt::Debug for CellFamily<L, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(C::NAME).field("series", &self.family.len()).finish()
    }
}

impl<L: Labels, C: Handle> Instrument for CellFamily<L, C> {
    fn declare(declare: &Declare, spec: Spec) -> Self {
        let family = declare.family::<L>(&spec, C::KIND, C::NUMBER);
        Self { family, types: PhantomData }
    }
}

impl<L: Labels, C: Handle> CellFamily<L, C> {
    /// The handle of `labels`; its series exists from now until the last owner drops it.
    ///
    /// Once the row's bound on series is reached, a new label set gets the handle of `<other>`.
    pub fn bind(&self, labels: &L) -> C {
        C::of(Share::new(self.family.own(labels)))
    }

    /// One handle for each value of a closed label.
    pub fn bind_each<E: ClosedLabel>(&self, labels: impl Fn(E) -> L) -> PerValue<E, C> {
        PerValue::bind(|value| self.bind(&labels(value)))
    }
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
        let (row, exemplars) = declare.histogram::<L>(&spec);
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
