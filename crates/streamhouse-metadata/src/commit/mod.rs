//! What a commit decides, apart from any database: read state, decide, write the decision.

mod decide;
#[cfg(test)]
mod model;
mod outcomes;
mod sequence;

pub(crate) use decide::{Decision, Known, PartitionState, State, decide};
pub(crate) use outcomes::{decode, encode};
pub(crate) use sequence::{ProducerState, Remembered};
