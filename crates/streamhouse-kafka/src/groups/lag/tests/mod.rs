//! Lag as it is shown, over a log that is made up and a clock that is told.

mod begin; //  before the groups are known
mod ends; //   of groups, topics, series
mod detail; // folding, and the bound on series
mod truth; //  what is shown of groups that live, stall, die
mod world;

pub(super) use world::Log;
use world::World;
