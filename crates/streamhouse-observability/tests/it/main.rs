//! Tests of the crate as its users see it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_macros, reason = "spans of other libraries are part of the tests")]

mod child;
mod health;
mod log_sinks;
mod logs;
mod metrics;
mod pipeline;
mod process;
mod propagation;
mod relay;
mod spans;
