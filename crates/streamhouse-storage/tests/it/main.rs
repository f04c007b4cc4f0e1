//! Tests of the storage crate on its public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod batch;
mod commits;
mod conformance;
mod gc;
mod idempotence;
mod local;
mod metered;
mod model;
mod opening;
mod reader;
mod resilient;
mod s3;
mod segment;
mod support;
mod tracing;
mod writer_pool;
