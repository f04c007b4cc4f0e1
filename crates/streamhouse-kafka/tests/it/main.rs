//! A broker in this process, driven over its socket: by raw frames and by librdkafka.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod bad_input;
mod client_telemetry;
mod clients;
mod connection;
mod consumers;
mod group_wire;
mod groups;
mod hot_path;
mod ledger;
mod memory;
mod outages;
mod patience;
mod retention;
mod server;
mod strategies;
mod topics;
mod tracing;
mod versions;
mod wire;
