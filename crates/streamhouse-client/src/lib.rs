//! Producer and consumer for any Kafka-compatible broker, over librdkafka.
//!
//! Start at [`Producer`] to write, [`Consumer`] to read, [`Admin`] to create and look at topics.
//! Every error says what to do about it; see [`ClientError`].
//!
//! Invariant: depends on no part of the server.
#![warn(missing_docs)]
mod admin;
mod connection;
mod consumer;
mod error;
mod producer;
mod record;

pub use admin::{Admin, PartitionDetail, TopicDetail};
pub use connection::Connection;
pub use consumer::{Assigned, Consumer, Start};
pub use error::ClientError;
pub use producer::{Acks, Compression, Delivering, Producer, ProducerOptions};
pub use record::{Delivery, Header, Received, Record};
