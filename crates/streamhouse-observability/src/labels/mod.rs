//! The labels of StreamHouse's own metrics: closed enums, and the names that users choose.

mod cleanup;
mod client_telemetry;
mod component;
mod errors;
mod free;
mod group;
mod operation;
mod outcome;
mod telemetry;

pub use cleanup::{Garbage, RetentionReason};
pub use client_telemetry::{LeftOut, PushRefusal};
pub use component::Component;
pub use errors::{ConsumeError, MetadataError, ProduceError, StoreError};
pub use free::{ALL, Group, OTHER, Partition, Topic, UNKNOWN};
pub use group::{GroupState, RebalanceReason};
pub use operation::{Api, Direction, MetadataOperation, Operation, RequestOutcome, TraceSearch};
pub use outcome::Outcome;
pub use telemetry::{
    CpuMode, DiskDirection, DropReason, LogDrop, NetworkDirection, ScrapeOutcome, Signal,
};
