//! For tests, behind the feature `testing`: faults on demand, an S3 server in
//! process, made-up batches.

mod batch;
mod fault_store;
mod faults;
pub mod s3;

pub use batch::BatchSpec;
pub use fault_store::FaultStore;
pub use faults::{Fault, Faults};
