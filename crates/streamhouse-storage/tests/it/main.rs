//! Tests of the storage crate on its public interface.

mod batch;
mod segment;
