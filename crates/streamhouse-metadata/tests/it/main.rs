//! The metadata store, held to its trait.

mod conformance;
mod crash;
mod make;
mod statements;
