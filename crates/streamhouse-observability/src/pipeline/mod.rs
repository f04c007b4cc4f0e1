//! How telemetry leaves the process: configuration, providers, exporters, ledger, shutdown.

mod config;
mod destination;
mod env;
mod error;
mod export;
mod ledger;
mod observability;
mod processors;
mod providers;
mod push;
mod queue;
mod resource;
mod running;
mod secret;

pub use config::{
    Batch, Compression, Config, Exporter, Logs, Metrics, Otlp, Propagator, Protocol, Service,
    Traces,
};
pub use error::{ConfigError, StartError};
pub(crate) use export::{Sender, Warning};
pub use ledger::SignalReport;
pub(crate) use observability::Install;
pub use observability::Observability;
pub use running::ShutdownReport;
pub use secret::Headers;

#[cfg(feature = "testing")]
pub(crate) use {
    processors::{LogItem, QueueLogs, QueueSpans},
    providers::Providers,
    queue::Queue,
    running::Running,
};
