//! How metrics leave the process: one provider, one reader, two exits.

mod buffers;
mod families;
mod guard;
mod head;
mod http;
mod lines;
mod negotiate;
mod points;
mod reader;
mod render;

pub use self::http::Exposition;
pub use guard::GuardedProvider;

use crate::declare::{Collecting, CounterCell, Declare, Exit, GaugeCell, Registry, collecting};
use crate::instruments::TelemetryMetrics;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use reader::SharedReader;
use render::Gathered;
use std::sync::Arc;

/// The scope of every declared instrument: with one scope no name can occur twice.
const SCOPE: &str = env!("CARGO_PKG_NAME");

/// Who renders `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Our own renderer: text and OpenMetrics, exemplars, a fraction of the bridge's cost.
    #[default]
    Native,
    /// `opentelemetry-prometheus`: text only. The names are the same.
    Bridge,
}

/// Why metrics could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The exporter of `opentelemetry-prometheus` refused its registry.
    #[error("the prometheus bridge could not be built: {0}; use the native exposition")]
    Bridge(String),
}

/// The process' metrics: meter provider, registry of rows, and both exits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    provider: SdkMeterProvider,
    registry: Registry,
    reader: SharedReader,
    declare: Declare,
    telemetry: TelemetryMetrics,
    about: About,
    resource: Resource,
}

impl Metrics {
    /// Builds the meter provider of `resource` with its one reader.
    ///
    /// # Errors
    /// [`MetricsError::Bridge`]: the bridge cannot be built; [`Mode::Native`] always can.
    pub fn build(resource: Resource, mode: Mode) -> Result<Self, MetricsError> {
        let registry = Registry::default();
        let reader = SharedReader::new(mode)?;
        let provider = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_reader(reader.clone())
            .with_view(reader::view(registry.clone(), mode))
            .build();
        let declare = Declare::new(provider.meter(SCOPE), registry.clone());
        let telemetry = TelemetryMetrics::declare(&declare);
        let about = About::new(&telemetry);
        Ok(Self(Arc::new(Inner {
            provider,
            registry,
            reader,
            declare,
            telemetry,
            about,
            resource,
        })))
    }

    /// The SDK's provider, for shutdown. Shut down, it serves no scrape any more.
    pub fn provider(&self) -> &SdkMeterProvider {
        &self.0.provider
    }

    /// The provider for `opentelemetry::global::set_meter_provider`: with it the callbacks of
    /// other libraries' instruments cannot hurt ours.
    pub fn global_provider(&self) -> GuardedProvider {
        GuardedProvider::new(self.0.provider.clone(), self.0.registry.rules())
    }

    /// Where instruments are declared.
    pub fn declare(&self) -> &Declare {
        &self.0.declare
    }

    /// The telemetry about telemetry, declared once, here.
    pub fn telemetry(&self) -> &TelemetryMetrics {
        &self.0.telemetry
    }

    /// Says that [`collect_for_push`](Self::collect_for_push) is going to be called: from now on
    /// an ended counter also waits for a push.
    pub fn expect_pushes(&self) {
        self.0.declare.add_exit(Exit::Push);
    }

    /// Collects everything into `metrics`, for the export over OTLP. Blocks while a scrape
    /// collects, and is to be called on a thread of its own.
    ///
    /// # Errors
    /// After the provider's shutdown.
    pub fn collect_for_push(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.expect_pushes();
        self.refresh();
        collecting(Collecting::For(Exit::Push), || self.0.reader.collect(metrics))
    }

    /// Collects what only the SDK holds: histograms and other libraries' instruments.
    pub(crate) fn collect_sdk(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        collecting(Collecting::WithoutCells, || self.0.reader.collect(metrics))
    }

    /// What serves `/metrics`: make one and clone it, for clones share the limit on scrapes.
    pub fn exposition(&self) -> Exposition {
        Exposition::new(self.clone())
    }

    fn resource(&self) -> &Resource {
        &self.0.resource
    }

    fn bridge(&self) -> Option<&prometheus::Registry> {
        self.0.reader.bridge()
    }

    fn is_shut_down(&self) -> bool {
        self.0.reader.is_shut_down()
    }

    /// Brings up to date what nobody records into.
    fn refresh(&self) {
        self.0.declare.refresh();
        self.0.about.refresh(&self.0.declare);
    }

    fn note_scrape(&self, bytes: usize, gathered: Gathered) {
        self.0.about.note_scrape(bytes, gathered);
    }
}

/// The handles of what is told about the metrics themselves.
#[derive(Debug)]
struct About {
    scrape_size: GaugeCell,
    series: GaugeCell,
    name_conflicts: GaugeCell,
    series_at_limit: GaugeCell,
    series_overflows: CounterCell,
    callback_panics: CounterCell,
}

impl About {
    fn new(telemetry: &TelemetryMetrics) -> Self {
        Self {
            scrape_size: telemetry.scrape_size.bind(&()),
            series: telemetry.series.bind(&()),
            name_conflicts: telemetry.name_conflicts.bind(&()),
            series_at_limit: telemetry.series_at_limit.bind(&()),
            series_overflows: telemetry.series_overflows.bind(&()),
            callback_panics: telemetry.callback_panics.bind(&()),
        }
    }

    fn refresh(&self, declare: &Declare) {
        self.series_at_limit.set(declare.at_limit() as i64);
        self.series_overflows.advance_to(declare.overflowed());
        self.callback_panics.advance_to(declare.panics());
    }

    fn note_scrape(&self, bytes: usize, gathered: Gathered) {
        self.scrape_size.set(bytes as i64);
        self.series.set(gathered.series as i64);
        self.name_conflicts.set(gathered.conflicts as i64);
    }
}
