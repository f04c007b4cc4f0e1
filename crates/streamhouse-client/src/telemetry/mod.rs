//! What producers and consumers record, and where it goes.
//!
//! [`Telemetry`] is the handle. Counters are atomics of our own ([`cells`]) behind observable
//! instruments, histograms are bound; both are found by the topic's place ([`topics`]). Whether
//! there is a span is decided before anything of it is built ([`spans`]).

mod cells;
mod error_type;
mod headers;
mod reading;
mod spans;
mod topics;

pub use error_type::ErrorType;
pub use topics::TOPICS;

pub(crate) use cells::Instruments;
pub(crate) use headers::readable;
pub(crate) use reading::{Committing, Polling, Reading};
pub(crate) use spans::{LINKS, SendSpan, Traces, end};
pub(crate) use topics::Place;

use crate::semconv;
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Where producers and consumers record. Cheap to clone; clones share their series.
///
/// One value for one meter provider: two made from the same provider would report the same series
/// twice.
#[derive(Clone)]
pub struct Telemetry {
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) traces: Traces,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("traces", &self.traces).finish_non_exhaustive()
    }
}

/// The instruments of the global meter provider, and that provider, to see when it is replaced.
type OfGlobal = (Arc<dyn MeterProvider + Send + Sync>, Arc<Instruments>);
static GLOBAL: Mutex<Option<OfGlobal>> = Mutex::new(None);

impl Telemetry {
    /// The process' own: the global meter and tracer providers. Install them first: metrics go to
    /// the meter provider that is the global one now.
    pub fn global() -> Self {
        let provider = global::meter_provider();
        let mut known = GLOBAL.lock().unwrap_or_else(PoisonError::into_inner);
        let instruments = match known.as_ref() {
            Some((of, instruments)) if Arc::ptr_eq(of, &provider) => instruments.clone(),
            _ => {
                let instruments = Instruments::build(&provider.meter_with_scope(scope()));
                *known = Some((provider, instruments.clone()));
                instruments
            }
        };
        Self { instruments, traces: Traces::global() }
    }

    /// Records with these providers.
    pub fn new<P, T>(meters: &(impl MeterProvider + ?Sized), tracers: &P) -> Self
    where
        P: TracerProvider<Tracer = T>,
        T: Tracer<Span: Send + Sync + 'static> + Send + Sync + 'static,
    {
        let tracer = BoxedTracer::new(Box::new(tracers.tracer_with_scope(scope())));
        let instruments = Instruments::build(&meters.meter_with_scope(scope()));
        Self { instruments, traces: Traces::given(tracer) }
    }

    /// Records nothing.
    pub fn off() -> Self {
        Self { instruments: silent(), traces: Traces::off() }
    }

    /// Records spans with the global tracer provider, and no metrics: for a client inside a process
    /// whose metrics are about something else.
    pub fn spans_only() -> Self {
        Self { instruments: silent(), traces: Traces::global() }
    }

    /// Lets `send`, `poll`, `process` and `commit` begin traces where the work at hand belongs to
    /// none; the provider's sampler decides on each. Without it they are traced only inside a
    /// sampled span; `process` also for a record that brings a sampled context, and `commit` where
    /// it settles such records.
    #[must_use]
    pub fn with_roots(mut self) -> Self {
        self.traces.begin_roots();
        self
    }
}

/// An instrument provider without instruments.
struct Silent;

impl opentelemetry::metrics::InstrumentProvider for Silent {}

fn silent() -> Arc<Instruments> {
    Instruments::build(&Meter::new(Arc::new(Silent)))
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("streamhouse-client")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(semconv::SCHEMA_URL)
        .build()
}

/// The attributes that every series and span has.
fn common(operation: semconv::Operation) -> [KeyValue; 2] {
    [
        KeyValue::new(semconv::SYSTEM, semconv::KAFKA),
        KeyValue::new(semconv::OPERATION_NAME, operation.name()),
    ]
}
