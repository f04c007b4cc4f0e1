//! The metadata store, held to its trait.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod conformance;
mod crash;
mod expiry;
mod make;
mod metered;
mod statements;
