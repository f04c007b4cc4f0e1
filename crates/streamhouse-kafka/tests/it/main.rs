//! A broker in this process, driven over its socket: by raw frames and by librdkafka.

mod bad_input;
mod clients;
mod connection;
mod ledger;
mod server;
mod topics;
mod tracing;
mod versions;
mod wire;
