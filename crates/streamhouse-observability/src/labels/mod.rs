//! The labels of StreamHouse's own metrics: closed enums, and the names that users choose.

mod component;
mod errors;
mod free;
mod operation;
mod outcome;
mod telemetry;

pub use component::Component;
pub use errors::{ConsumeError, MetadataError, ProduceError, StoreError};
pub use free::{OTHER, Topic, UNKNOWN};
pub use operation::{Api, Direction, MetadataOperation, Operation, RequestOutcome, TraceSearch};
pub use outcome::Outcome;
pub use telemetry::{
    CpuMode, DiskDirection, DropReason, LogDrop, NetworkDirection, ScrapeOutcome, Signal,
};
