//! The whole pipeline, from start to shutdown.

use super::config::Config;
use super::destination::{self, Destination};
use super::error::{ConfigError, StartError};
use super::export::Sender;
use super::ledger::SignalReport;
use super::providers::{Providers, propagator};
use super::resource::{self, About};
use super::running::{Running, ShutdownReport};
use crate::declare::Declare;
use crate::exposition::{Exposition, Metrics, Mode};
use crate::instruments::TelemetryMetrics;
use crate::labels::Signal;
use crate::logging::{self, LogCells, LogConfig, LogControl, LogError, LogGuard, Logging};
use crate::relay::{self, Relay, RelayLimits};
use crate::spans::Requests;
use opentelemetry::global;
use std::io::Write;
use std::time::{Duration, Instant};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// How long dropping waits for what is still to be sent.
const ON_DROP: Duration = Duration::from_secs(2);

pub(crate) type Layers<S> = Vec<Box<dyn Layer<S> + Send + Sync>>;

/// How long the last log lines have at least, when the deadline has passed.
const LAST_LINES: Duration = Duration::from_millis(50);

/// Whether a pipeline is the process' own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Install {
    /// Its providers become the global ones.
    Globally,
    /// They stay private: for tests, which run in parallel.
    Nowhere,
}

/// The process' telemetry. Keep it: dropping it flushes, within 2 s.
#[derive(Debug)]
pub struct Observability {
    metrics: Metrics,
    exposition: Exposition,
    requests: Requests,
    control: LogControl,
    lines: Option<LogGuard>,
    running: Option<Running>,
    /// Where metrics go, if they are exported.
    destination: Option<Destination>,
    problems: Vec<String>,
}

impl Observability {
    /// Starts telemetry and installs it for the whole process: the global meter and tracer
    /// providers, the propagator, the `tracing` subscriber, and a hook that logs panics.
    ///
    /// What cannot be exported for want of a file or a thread is left out with a warning; the rest
    /// works. Instruments made before this call stay silent for ever.
    /// # Errors
    /// [`StartError::Config`]: a setting cannot be meant; the error says which and why.
    /// [`StartError::SubscriberInstalled`]: use [`layers`](Self::layers).
    pub fn start(config: Config) -> Result<Self, StartError> {
        if tracing::dispatcher::has_been_set() {
            return Err(StartError::SubscriberInstalled);
        }
        let (observability, layers) = Self::build(config, Install::Globally)?;
        // A registry without a filter would build every span for nobody.
        let installed = match layers.is_empty() {
            true => tracing_subscriber::registry().with(LevelFilter::OFF).try_init(),
            false => tracing_subscriber::registry().with(layers).try_init(),
        };
        installed.map_err(|_| StartError::SubscriberInstalled)?;
        logging::log_panics();
        for problem in &observability.problems {
            tracing::warn!(problem, "telemetry works in this process only");
        }
        Ok(observability)
    }

    /// Starts telemetry as [`start`](Self::start) does, but leaves the subscriber to the caller,
    /// who adds the layers to it. Each layer has its own filter.
    /// # Errors
    /// [`StartError::Config`]: a setting cannot be meant; the error says which and why.
    pub fn layers<S>(
        config: Config,
    ) -> Result<(Self, impl Layer<S> + Send + Sync + use<S>), StartError>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        Self::build(config, Install::Globally)
    }

    pub(crate) fn build<S>(
        config: Config,
        install: Install,
    ) -> Result<(Self, Layers<S>), StartError>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        destination::check(&config)?;
        let About { resource: about, instance } = resource::build(&config.service);
        let mut problems = Vec::new();
        let metrics =
            Metrics::build(about.clone(), config.metrics.exposition).or_else(|error| {
                problems.push(error.to_string());
                Metrics::build(about.clone(), Mode::Native)
            })?;
        if install == Install::Globally {
            // First of all: instruments of later parts are silent for ever otherwise.
            global::set_meter_provider(metrics.global_provider());
            global::set_text_map_propagator(propagator(&config.propagators));
        }
        let mut providers = Providers {
            config: &config,
            resource: &about,
            metrics: &metrics,
            running: None,
            problems,
        };
        let tracing = providers.traces()?;
        let logger = providers.logs()?;
        providers.push_metrics()?;
        let Providers { running, mut problems, .. } = providers;

        let mut layers: Layers<S> = Vec::new();
        if let Some(tracing) = &tracing {
            if install == Install::Globally {
                global::set_tracer_provider(tracing.provider.clone());
            }
            layers.push(Box::new(tracing.layer()));
        }
        let (control, lines) = lines(&config, instance, metrics.telemetry(), &mut problems)?;
        if let Some(logging) = &lines {
            if config.log_lines {
                layers.push(Box::new(logging.layer()));
            }
            if let Some(logger) = &logger {
                layers.push(Box::new(logging.records(logger)));
            }
        }
        let observability = Self {
            exposition: metrics.exposition(),
            metrics,
            requests: tracing.map_or_else(Requests::untraced, |tracing| tracing.requests),
            control,
            lines: lines.map(|logging| logging.guard),
            running,
            destination: Destination::of(&config, Signal::Metrics)?,
            problems,
        };
        Ok((observability, layers))
    }

    /// Where instruments are declared.
    pub fn declare(&self) -> &Declare {
        self.metrics.declare()
    }

    /// What serves `/metrics`.
    pub fn exposition(&self) -> Exposition {
        self.exposition.clone()
    }

    /// Shows and changes the filter of log lines and records.
    pub fn log_control(&self) -> LogControl {
        self.control.clone()
    }

    /// The gate of requests: ids for each, spans for the sampled.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// The telemetry about telemetry.
    pub fn telemetry(&self) -> &TelemetryMetrics {
        self.metrics.telemetry()
    }

    /// What could not be started, and why; [`start`](Self::start) has already warned of it.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Where the items of `signal` went so far; all zero for what is not exported.
    pub fn report(&self, signal: Signal) -> SignalReport {
        self.running.as_ref().map(|running| running.report(signal)).unwrap_or_default()
    }

    /// Starts what passes on metrics of other programs to where our own go, over a connection of
    /// its own; `None` if metrics are not exported. The shutdown waits for it as for the signals.
    pub fn relay(&mut self, limits: RelayLimits) -> Option<Relay> {
        let (running, destination) = (self.running.as_mut()?, self.destination.as_ref()?);
        let sender = {
            let _inside = running.handle().enter();
            Sender::new(destination, running.closing())
        };
        match sender {
            Ok(sender) => {
                let (relay, passing_on) =
                    relay::start(limits, sender, destination.shown(), running.closing());
                running.relay(passing_on);
                Some(relay)
            }
            Err(error) => {
                let endpoint = destination.shown();
                tracing::warn!(%error, endpoint, "metrics of other programs are not passed on");
                None
            }
        }
    }

    /// Sends what waits, all signals at once, and returns when that is done or `deadline` has
    /// passed, whatever the receiver does. Blocks the calling thread, which may belong to any
    /// runtime: exports have a runtime of their own.
    pub fn shutdown(mut self, deadline: Duration) -> ShutdownReport {
        self.stop(deadline)
    }

    fn stop(&mut self, deadline: Duration) -> ShutdownReport {
        let start = Instant::now();
        let mut report = match self.running.take() {
            Some(running) => running.shutdown(deadline),
            None => ShutdownReport { in_time: true, ..ShutdownReport::default() },
        };
        if let Some(lines) = self.lines.take() {
            // Lines were written meanwhile; only those about the shutdown itself are new.
            let left = deadline.saturating_sub(start.elapsed()).max(LAST_LINES);
            report.in_time &= lines.shutdown(left);
        }
        report.took = start.elapsed();
        report
    }
}

impl Drop for Observability {
    fn drop(&mut self) {
        self.stop(ON_DROP);
    }
}

/// Logging, and the control of its filter. Without a thread to write lines there is the control
/// alone.
fn lines(
    config: &Config,
    instance: String,
    telemetry: &TelemetryMetrics,
    problems: &mut Vec<String>,
) -> Result<(LogControl, Option<Logging>), ConfigError> {
    let (sink, terminal) = match config.log_lines {
        true => logging::standard_error(),
        false => (Box::new(std::io::sink()) as Box<dyn Write + Send>, false),
    };
    let service = config.service.name.clone();
    let about = LogConfig { service, instance, terminal, ..config.log.clone() };
    match logging::build(&about, sink, LogCells::new(telemetry)) {
        Ok(logging) => Ok((logging.control.clone(), Some(logging))),
        Err(LogError::Filter(error)) => Err(error.into()),
        Err(error) => {
            problems.push(error.to_string());
            Ok((LogControl::new(&config.log.filter)?, None))
        }
    }
}
