//! For tests, behind the feature `testing`: faults on demand and made-up batches.

mod batch;
mod fault_store;
mod faults;

pub use batch::BatchSpec;
pub use fault_store::FaultStore;
pub use faults::{Fault, Faults};
