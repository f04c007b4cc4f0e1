//! Telemetry for StreamHouse: what is measured, and how it leaves the process.
//!
//! Call [`Observability::start`] in `main` and keep what it returns: it flushes when dropped.
//! To add a metric see [`instruments`], a span [`spans`], a health check [`health`].
//!
//! Invariant: depends on no StreamHouse crate. Invariant: recording cannot fail its caller.
#![expect(
    clippy::disallowed_macros,
    reason = "spans::list makes spans; a test sees that only it does"
)]

pub mod instruments; // what: one table per area
pub mod labels; //      what: the values that labels have
pub mod spans; //       what: the closed list of spans
pub mod logging; //     what: events, as lines and as OTLP records
pub mod health; //      what: checks and their report
pub mod process; //     what: CPU, memory, disk, network, the runtime
pub mod declare; //     how: typed handles and registry rows
pub mod exposition; //  how: the text that /metrics serves
pub mod pipeline; //    how: configuration, providers, exporters, shutdown
pub mod relay; //       how: metrics of other programs, passed on with a ledger
pub mod testing; //     how: private pipelines for tests
mod clock; //           time as text

pub use pipeline::{Config, ConfigError, Observability, ShutdownReport, StartError};
