//! Tests of the crate as its users see it.

mod child;
mod health;
mod log_sinks;
mod logs;
mod metrics;
mod pipeline;
mod process;
mod propagation;
mod spans;
