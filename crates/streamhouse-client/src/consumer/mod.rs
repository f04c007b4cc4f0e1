//! Consumers.

mod alone;
mod commits;
mod group;
mod progress;
mod received;
mod wrapped;

pub use alone::{Assigned, Consumer, Start};
pub use group::{Begin, GroupConsumer, GroupOptions};
pub use wrapped::WrappedConsumer;
