//! Tests of the storage crate on its public interface.

mod batch;
mod commits;

mod conformance;
mod idempotence;
mod segment;
mod support;
mod writer_pool;
