//! The client against librdkafka's own in-process cluster, and against nobody.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clients;
mod commits;
mod consuming;
mod cost;
mod groups;
mod producing;
mod support;
mod wrapping;
