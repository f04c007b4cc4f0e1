//! Consumer groups: the classic protocol.
//!
//! Start at [`Groups`], which handlers ask. It keeps a [state machine](state) for each group that
//! this agent coordinates, hands what must be stored to one [lane](lane), takes groups in a task of
//! its own ([takeover]) and shows what it knows in the [table].
//!
//! Invariant: what a member is told of generations and offsets was stored before, under the owner
//! epoch that taking the group gave. Invariant: nothing is written by a future that ends with a
//! connection.

mod coordinator; //       the groups of this agent, and who asks for them
mod deadlines; //         one clock for all groups
mod lane; //              what is stored, in order
mod seat; //              one group with those who wait for it
pub(crate) mod state; //  what a group does, without clock, store or socket
mod subscription; //      what consumers tell each other
pub(crate) mod table; //  what this agent knows of its groups, for whoever looks at them
pub(crate) mod lag; //    how far they are behind
mod takeover; //          taking groups from the store, and giving them up
#[cfg(test)]
mod tests;

pub(crate) use coordinator::Groups;
pub(crate) use lane::Committed;
pub(crate) use seat::Described;

use streamhouse_observability::labels::{ALL, OTHER};

/// The longest name of a group, in bytes.
const MAX_NAME: usize = 255;

/// Whether a group may have this name. It stands on metrics, where two names have a meaning.
pub(crate) fn is_legal(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && ![ALL, OTHER].contains(&name) && !name.contains('\0')
}
