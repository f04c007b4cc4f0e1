//! What the tests that span crates share: the real binary as a child process, a raw Kafka
//! connection, a reader of `/metrics`, a load generator, the checks of queries, alerts and the
//! compose stack, the renderer of boards, and the stack itself on loopback.
#![allow(clippy::expect_used, reason = "helpers of tests fail as tests do")]

pub mod alerts;
pub mod compose;
pub mod dashboards;
pub mod fetch;
pub mod http;
pub mod load;
pub mod metrics;
pub mod process;
pub mod promql;
pub mod raw;
pub mod stack;
