//! Instrumented producer and consumers for any Kafka-compatible broker, over librdkafka.
//!
//! Start at [`Producer`] to write, [`GroupConsumer`] to share the reading of topics, [`Consumer`]
//! to read partitions that you choose, [`Admin`] to create and look at topics. What they record
//! goes where [`Telemetry`] says, by the names of [`semconv`]. Every error says what to do about
//! it; see [`ClientError`].
//!
//! Invariant: depends on no part of the server. Invariant: no signal carries a record's key or
//! value. Invariant: a record that is not sampled costs two reads of the clock and two counters.
#![warn(missing_docs)]
mod admin;
mod connection;
mod consumer;
mod error;
mod producer;
mod record;
pub mod semconv;
mod telemetry;

pub use admin::{Admin, PartitionDetail, TopicDetail, TopicSetting};
pub use connection::{Connection, Events};
pub use consumer::{
    Assigned, Begin, Consumer, GroupConsumer, GroupOptions, Start, WrappedConsumer,
};
pub use error::ClientError;
pub use producer::{Acks, Compression, Delivering, Producer, ProducerOptions};
pub use record::{Delivery, Header, Received, Record};
pub use telemetry::{ErrorType, TOPICS, Telemetry};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
