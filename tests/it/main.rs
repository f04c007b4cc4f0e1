//! Tests of the whole: the real binary, real clients, injected faults.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests fail and tell as tests do"
)]

mod alerts;
mod cleanup;
mod clients;
mod collector;
mod compose;
mod dashboards;
mod every_row;
mod group_lag;
mod foreign_headers;
mod group_churn;
mod group_client;
mod kill;
mod layers;
mod ledger;
mod parity;
mod store_faults;
mod whole_way;

/// The binary under test: `streamhouse`'s own `main`.
const BINARY: &str = env!("CARGO_BIN_EXE_streamhouse-under-test");
