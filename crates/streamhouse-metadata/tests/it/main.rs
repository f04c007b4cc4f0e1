//! The metadata store, held to its trait.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[macro_use]
mod conformance;
mod crash;
mod expiry;
mod garbage;
mod groups;
mod make;
mod metered;
mod migration;
mod retention;
mod statements;
mod trims;
