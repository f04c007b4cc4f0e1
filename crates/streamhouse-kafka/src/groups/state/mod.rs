//! One group's state machine: no clock, no store, no socket.
//!
//! [`Group::step`] takes what happened and tells what is to be done about it. Joins and syncs are
//! parked by their tickets until the group has an answer.
//!
//! Invariant: a generation is told to members only after it was stored. Invariant: every ticket is
//! answered exactly once, at the latest by [`Group::disband`].

mod events; //    what happens to a group, and what it wants done
mod going; //     how members go, and what time brings
mod join; //      how members come
mod members; //   who they are
mod rebalance; // how a generation begins
mod standing; //  what a member may do as things stand
#[cfg(test)]
mod tests;

pub(crate) use events::{
    Answer, Claim, Effect, Event, Join, Joined, JoinedMember, Syncing, Ticket,
};
pub(crate) use members::{Member, Protocol};

use members::Members;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_observability::labels::{GroupState, RebalanceReason};
use tokio::time::Instant;

/// What bounds a group.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The session timeouts that members may ask for.
    pub session: RangeInclusive<Duration>,
    /// The longest rebalance timeout; longer ones are cut.
    pub rebalance: Duration,
    /// How long a group that was empty waits for further members; each one begins it anew.
    pub initial_delay: Duration,
    /// The most members, and the most ids given out that have not been used.
    pub members: usize,
    /// Bytes of the members' metadata and assignments.
    pub bytes: usize,
}

/// What a store is asked to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Storing {
    generation: i32,
    /// Whether the generation is that of an empty group.
    empty: bool,
}

/// A rebalance under way.
#[derive(Clone, Copy, Debug)]
struct Rebalance {
    reason: RebalanceReason,
    since: Instant,
}

/// A group.
#[derive(Debug)]
pub(crate) struct Group {
    limits: Limits,
    state: GroupState,
    generation: i32,
    protocol_type: Arc<str>,
    /// The chosen protocol, once there is a generation.
    protocol: Arc<str>,
    leader: Option<Arc<str>>,
    members: Members,
    /// Ids that were given out and not used yet, with the ends of their validity.
    pending: BTreeMap<Arc<str>, Instant>,
    rebalance: Option<Rebalance>,
    /// Whether the group was empty, so that further members are waited for.
    initial: bool,
    join_deadline: Option<Instant>,
    sync_deadline: Option<Instant>,
    storing: Option<Storing>,
    /// No deadline is before this.
    wake: Option<Instant>,
    effects: Vec<Effect>,
}

impl Group {
    /// A group without members, as it is when it is taken.
    pub fn new(limits: Limits, generation: i32, protocol_type: Arc<str>) -> Self {
        Self {
            limits,
            state: GroupState::Empty,
            generation,
            protocol_type,
            protocol: "".into(),
            leader: None,
            members: Members::default(),
            pending: BTreeMap::new(),
            rebalance: None,
            initial: false,
            join_deadline: None,
            sync_deadline: None,
            storing: None,
            wake: None,
            effects: Vec::new(),
        }
    }

    /// Takes what happened and tells what is to be done, in order.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        match event {
            Event::Join(join) => self.join(now, *join),
            Event::Sync(sync) => self.sync(now, sync),
            Event::Heartbeat(ticket, claim) => {
                let code = self.heartbeat(now, &claim).err();
                self.effects.push(Effect::Answer(ticket, Answer::Code(code)));
            }
            Event::Leave(ticket, leaving) => {
                let codes = self.leave(now, &leaving);
                self.effects.push(Effect::Answer(ticket, Answer::Left(codes)));
            }
            Event::Stored(generation) => self.stored(now, generation),
            Event::Tick => self.tick(now),
        }
        std::mem::take(&mut self.effects)
    }

    /// When [`Event::Tick`] is due, at the latest; earlier does no harm.
    pub fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// Where the group stands.
    pub fn state(&self) -> GroupState {
        self.state
    }

    /// The generation that is stored and known to the members.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// What the members are.
    pub fn protocol_type(&self) -> &Arc<str> {
        &self.protocol_type
    }

    /// The protocol that was chosen; empty before.
    pub fn protocol(&self) -> &Arc<str> {
        &self.protocol
    }

    /// The members, by id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Member)> {
        self.members.iter()
    }

    /// Whether nobody is in it, nor was invited.
    pub fn is_vacant(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// Bytes of what the members brought, and of the ids given out.
    pub fn bytes(&self) -> usize {
        self.members.bytes() + self.pending.len() * members::INVITATION
    }

    /// Bytes that the group takes more once this has happened; none for what is refused, or takes
    /// the place of as much.
    pub fn growth(&self, event: &Event) -> usize {
        match event {
            Event::Join(join) => self.join_growth(join),
            Event::Sync(sync) => self.sync_growth(sync),
            _ => 0,
        }
    }

    fn arm(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}
