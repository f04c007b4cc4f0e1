//! Histograms: bound instruments of the SDK, with the exemplars that the SDK does not keep.

use super::labels_text::label_text;
use opentelemetry::metrics::BoundHistogram;
use opentelemetry::trace::SpanContext;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// A traced measurement, shown on the bucket that it fell into.
#[derive(Clone, Debug)]
pub struct Exemplar {
    /// The span that was measured. It has been, or will be, exported.
    pub context: SpanContext,
    /// What was measured.
    pub value: f64,
    /// When.
    pub at: SystemTime,
}

/// The latest exemplar of each bucket of one series.
#[derive(Debug)]
pub struct Exemplars {
    bounds: &'static [f64],
    latest: Mutex<Box<[Option<Exemplar>]>>,
}

impl Exemplars {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, latest: Mutex::new(vec![None; bounds.len() + 1].into()) }
    }

    fn keep(&self, value: f64, context: &SpanContext) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        let exemplar = Exemplar { context: context.clone(), value, at: SystemTime::now() };
        if let Ok(mut latest) = self.latest.try_lock()
            && let Some(slot) = latest.get_mut(bucket)
        {
            *slot = Some(exemplar);
        }
    }

    /// A copy of the latest exemplar of each bucket.
    pub fn snapshot(&self) -> Box<[Option<Exemplar>]> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The exemplars of one histogram: label text to buckets.
pub(crate) type ExemplarSeries = Mutex<HashMap<String, Arc<Exemplars>>>;

/// A histogram's handle for one label set.
#[derive(Clone)]
pub struct HistogramCell {
    bound: BoundHistogram<f64>,
    exemplars: Arc<Exemplars>,
}

impl std::fmt::Debug for HistogramCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistogramCell").field("exemplars", &self.exemplars).finish_non_exhaustive()
    }
}

impl HistogramCell {
    pub(crate) fn bind(
        histogram: &opentelemetry::metrics::Histogram<f64>,
        pairs: &[opentelemetry::KeyValue],
        bounds: &'static [f64],
        series: &ExemplarSeries,
    ) -> Self {
        let exemplars = series
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(label_text(pairs))
            .or_insert_with(|| Arc::new(Exemplars::new(bounds)))
            .clone();
        Self { bound: histogram.bind(pairs), exemplars }
    }

    /// Records `value`; what is not finite or is negative is ignored.
    pub fn record(&self, value: f64) {
        if value.is_finite() && value >= 0.0 {
            self.bound.record(value);
        }
    }

    /// Records `value` with the span that shows it, if that span is exported.
    pub fn record_traced(&self, value: f64, span: Option<&SpanContext>) {
        self.record(value);
        if let Some(context) = span.filter(|context| context.is_sampled()) {
            self.exemplars.keep(value, context);
        }
    }
}
