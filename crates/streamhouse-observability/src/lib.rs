//! Telemetry for StreamHouse: what is measured, and how it leaves the process.
//!
//! Invariant: depends on no StreamHouse crate. Invariant: recording cannot fail its caller.
#![expect(
    clippy::disallowed_macros,
    reason = "spans::list makes spans; a test sees that only it does"
)]

mod clock; //           time as text
pub mod declare;
pub mod exposition; //  how: metrics leave the process
pub mod health; //      what: checks and their report
pub mod instruments; // what: one table per area
pub mod labels; //      what: the values that labels have //     how: typed handles and registry rows
pub mod logging; //     how: events become lines and OTLP records
pub mod pipeline; //    how: providers, exporters, shutdown
pub mod process; //     what: CPU, memory, disk, network, the runtime
pub mod spans; //       what: the closed list of spans
pub mod testing; //     private pipelines for tests

pub use pipeline::{Config, ConfigError, Observability, ShutdownReport, StartError};
