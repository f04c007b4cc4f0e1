//! Consumer groups: the classic protocol.
//!
//! Start at [`Groups`](coordinator::Groups), which handlers ask. It keeps a [state machine](state)
//! for each group that this agent coordinates, hands what must be stored to one [lane](lane), and
//! shows what it knows in the [table](table).
//!
//! Invariant: what a member is told of generations and offsets was stored before, under the owner
//! epoch that taking the group gave. Invariant: nothing is written by a future that ends with a
//! connection.

pub(crate) mod state; //  what a group does, without clock, store or socket
pub(crate) mod table; //  what this agent knows of its groups, for whoever looks at them
