//! The global meter provider: other libraries' instruments, with their callbacks guarded.
//!
//! In the SDK a panic in one observable callback poisons the pipeline: no metric would ever leave
//! the process again.

use crate::declare::Rules;
use opentelemetry::InstrumentationScope;
use opentelemetry::metrics::{
    AsyncInstrument, AsyncInstrumentBuilder, Callback, Counter, Gauge, Histogram, HistogramBuilder,
    InstrumentBuilder, InstrumentProvider, Meter, MeterProvider, ObservableCounter,
    ObservableGauge, ObservableUpDownCounter, UpDownCounter,
};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use std::sync::Arc;

/// A meter provider in which a panicking callback silences only itself, and is counted.
#[derive(Clone, Debug)]
pub struct GuardedProvider {
    provider: SdkMeterProvider,
    rules: Arc<Rules>,
}

impl GuardedProvider {
    pub(crate) fn new(provider: SdkMeterProvider, rules: Arc<Rules>) -> Self {
        Self { provider, rules }
    }
}

impl MeterProvider for GuardedProvider {
    fn meter_with_scope(&self, scope: InstrumentationScope) -> Meter {
        let meter = self.provider.meter_with_scope(scope);
        Meter::new(Arc::new(GuardedMeter { meter, rules: self.rules.clone() }))
    }
}

struct GuardedMeter {
    meter: Meter,
    rules: Arc<Rules>,
}

impl GuardedMeter {
    /// The SDK's own side of the meter: a builder is the only place that shows it.
    fn inner(&self) -> &dyn InstrumentProvider {
        self.meter.u64_counter("").instrument_provider
    }

    fn guard<'a, I, M: 'static>(
        &self,
        mut builder: AsyncInstrumentBuilder<'a, I, M>,
    ) -> AsyncInstrumentBuilder<'a, I, M> {
        let callbacks = builder.callbacks.drain(..).collect::<Vec<_>>();
        builder.callbacks = callbacks.into_iter().map(|one| self.guard_callback(one)).collect();
        builder
    }

    fn guard_callback<M: 'static>(&self, callback: Callback<M>) -> Callback<M> {
        let rules = self.rules.clone();
        Box::new(move |observer: &dyn AsyncInstrument<M>| rules.guarded(|| callback(observer)))
    }
}

impl InstrumentProvider for GuardedMeter {
    fn u64_counter(&self, builder: InstrumentBuilder<'_, Counter<u64>>) -> Counter<u64> {
        self.inner().u64_counter(builder)
    }

    fn f64_counter(&self, builder: InstrumentBuilder<'_, Counter<f64>>) -> Counter<f64> {
        self.inner().f64_counter(builder)
    }

    fn u64_observable_counter(
        &self,
        builder: AsyncInstrumentBuilder<'_, ObservableCounter<u64>, u64>,
    ) -> ObservableCounter<u64> {
        self.inner().u64_observable_counter(self.guard(builder))
    }

    fn f64_observable_counter(
        &self,
        builder: AsyncInstrumentBuilder<'_, ObservableCounter<f64>, f64>,
    ) -> ObservableCounter<f64> {
        self.inner().f64_observable_counter(self.guard(builder))
    }

    fn i64_up_down_counter(
        &self,
        builder: InstrumentBuilder<'_, UpDownCounter<i64>>,
    ) -> UpDownCounter<i64> {
        self.inner().i64_up_down_counter(builder)
    }

    fn f64_up_down_counter(
        &self,
        builder: InstrumentBuilder<'_, UpDownCounter<f64>>,
    ) -> UpDownCounter<f64> {
        self.inner().f64_up_down_counter(builder)
    }

    fn i64_observable_up_down_counter(
        &self,
        builder: AsyncInstrumentBuilder<'_, ObservableUpDownCounter<i64>, i64>,
    ) -> ObservableUpDownCounter<i64> {
        self.inner().i64_observable_up_down_counter(self.guard(builder))
    }

    fn f64_observable_up_down_counter(
        &self,
        builder: AsyncInstrumentBuilder<'_, ObservableUpDownCounter<f64>, f64>,
    ) -> ObservableUpDownCounter<f64> {
        self.inner().f64_observable_up_down_counter(self.guard(builder))
    }

    fn u64_gauge(&self, builder: InstrumentBuilder<'_, Gauge<u64>>) -> Gauge<u64> {
        self.inner().u64_gauge(builder)
    }

    fn f64_gauge(&self, builder: InstrumentBuilder<'_, Gauge<f64>>) -> Gauge<f64> {
        self.inner().f64_gauge(builder)
    }

    fn i64_gauge(&self, builder: InstrumentBuilder<'_, Gauge<i64>>) -> Gauge<i64> {
        self.inner().i64_gauge(builder)
    }

    fn u64_observable_gauge(
        &self,
        builder: AsyncInstrumentBuilder<'_, ObservableGauge<u64>, u64>,
    ) -> ObservableGauge<u64> {
        self.inner().u64_observable_gauge(self.guard(builder))
    }

    fn i64_observable_gauge(
        &self,
        builder: AsyncInstrumentBuilder<'_, ObservableGauge<i64>, i64>,
    ) -> ObservableGauge<i64> {
        self.inner().i64_observable_gauge(self.guard(builder))
    }

    fn f64_observable_gauge(
        &self,
        builder: AsyncInstrumentBuilder<'_, ObservableGauge<f64>, f64>,
    ) -> ObservableGauge<f64> {
        self.inner().f64_observable_gauge(self.guard(builder))
    }

    fn f64_histogram(&self, builder: HistogramBuilder<'_, Histogram<f64>>) -> Histogram<f64> {
        self.inner().f64_histogram(builder)
    }

    fn u64_histogram(&self, builder: HistogramBuilder<'_, Histogram<u64>>) -> Histogram<u64> {
        self.inner().u64_histogram(builder)
    }
}
