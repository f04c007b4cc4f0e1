//! Private pipelines in memory, so that tests run in parallel and see only themselves.
//!
//! What is wrong in a test's own question (a name or a label that no row has) panics.

#[cfg(feature = "testing")]
mod exporters;
mod metrics;
#[cfg(feature = "testing")]
pub mod otlp;
mod pipeline;
mod traces;

#[cfg(feature = "testing")]
pub use exporters::Exporters;
pub use metrics::{Seen, Series, in_memory};
pub use pipeline::pipeline;
pub use traces::{Traces, telemetry, traces, traces_with};
