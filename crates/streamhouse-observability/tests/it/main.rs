//! Tests of the crate as its users see it.

mod pipeline;
mod metrics;
mod spans;
