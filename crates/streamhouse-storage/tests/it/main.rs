//! Tests of the storage crate on its public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod batch;
mod commits;

mod conformance;
mod idempotence;
mod model;
mod reader;
mod segment;
mod support;
mod tracing;
mod writer_pool;
