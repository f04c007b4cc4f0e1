//! The one reader that both exits share, and the one view on it.

use super::{MetricsError, Mode};
use crate::declare::Registry;
use opentelemetry_prometheus::PrometheusExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    Instrument, InstrumentKind, ManualReader, Pipeline, Stream, Temporality,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A reader that may be collected by anyone who holds a clone.
#[derive(Clone, Debug)]
pub(crate) struct SharedReader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    is_shut_down: AtomicBool,
}

#[derive(Debug)]
enum Source {
    Native(ManualReader),
    Bridge { exporter: PrometheusExporter, registry: prometheus::Registry },
}

impl SharedReader {
    pub(crate) fn new(mode: Mode) -> Result<Self, MetricsError> {
        let source = match mode {
            Mode::Native => Source::Native(ManualReader::builder().build()),
            Mode::Bridge => {
                let registry = prometheus::Registry::new();
                let exporter = opentelemetry_prometheus::exporter()
                    .with_registry(registry.clone())
                    .scope_info_enabled(false)
                    .build()
                    .map_err(|error| MetricsError::Bridge(error.to_string()))?;
                Source::Bridge { exporter, registry }
            }
        };
        Ok(Self(Arc::new(Inner { source, is_shut_down: AtomicBool::new(false) })))
    }

    /// The registry through which the bridge is scraped.
    pub(crate) fn bridge(&self) -> Option<&prometheus::Registry> {
        match &self.0.source {
            Source::Native(_) => None,
            Source::Bridge { registry, .. } => Some(registry),
        }
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.0.is_shut_down.load(Ordering::Acquire)
    }

    fn inner(&self) -> &dyn MetricReader {
        match &self.0.source {
            Source::Native(reader) => reader,
            Source::Bridge { exporter, .. } => exporter,
        }
    }
}

impl MetricReader for SharedReader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.inner().register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.inner().collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner().force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.is_shut_down.store(true, Ordering::Release);
        self.inner().shutdown_with_timeout(timeout)
    }

    fn temporality(&self, _: InstrumentKind) -> Temporality {
        Temporality::Cumulative
    }
}

/// The only view: every view that matches makes a stream of its own, so there must not be two.
///
/// It gives a declared instrument the room that its row states, because the SDK would fold series
/// from the 2000th on. For the bridge, which appends a unit's word even when the name ends in it,
/// it hides the unit `By` of such names.
pub(crate) fn view(
    registry: Registry,
    mode: Mode,
) -> impl Fn(&Instrument) -> Option<Stream> + Send + Sync + 'static {
    move |instrument| {
        let limit = (instrument.scope().name() == super::SCOPE)
            .then(|| registry.sdk_limit(instrument.name()))
            .flatten();
        let hides_unit = mode == Mode::Bridge
            && instrument.unit() == "By"
            && instrument.name().ends_with("bytes");
        if limit.is_none() && !hides_unit {
            return None;
        }
        let mut stream = Stream::builder();
        if let Some(limit) = limit {
            stream = stream.with_cardinality_limit(limit);
        }
        if hides_unit {
            stream = stream.with_unit("{byte}");
        }
        stream.build().ok()
    }
}
