//! The Kafka protocol: framing, request handlers, errors.
//!
//! Start at [`Broker`], which answers requests, and [`serve`], which puts it on a socket. The APIs
//! offered, their versions and the shapes of their requests stand in one table, `api`.
//!
//! Invariant: no frame is decoded before it was walked. Invariant: what a client can make the
//! process hold is bounded by [`BrokerConfig`]. Invariant: an acknowledged batch went through the
//! writer pool, whatever `acks` says. Invariant: what a group's member is told was stored before.
mod api; //        which APIs and versions there are
mod attempt; //    what a request leaves in the metrics
mod broker; //     what every request needs
mod bulk; //       memory for large answers without records
mod client_telemetry; // metrics that clients push about themselves
mod config; //     limits and identity
mod connection; // requests in, answers out in order
mod error;
mod framing; //    admission, and bodies under a deadline
mod groups; //     consumer groups: who coordinates what, and what is known of them
mod handlers; //   one file per API
mod listener; //   accepts connections
mod placement; //  which agent a partition prefers
mod records; //    record headers and timestamps, inside compressed blocks
mod reply; //      answers on their way to the socket
mod retention; //  the starts of logs, and what moves them
mod shape; //      the walker that bounds lengths before decoding
mod topics; //     open topics with their handles

pub use broker::Broker;
pub use client_telemetry::{ClientTelemetryConfig, Pattern};
pub use config::{BrokerConfig, GroupConfig};
pub use error::KafkaError;
pub use groups::lag::{GroupLag, LagDetail, LagTracker, LagView, Lags, PartitionLag, follow_lag};
pub use groups::table::{GroupFacts, GroupTable, GroupView};
pub use listener::serve;
