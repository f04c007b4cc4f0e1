//! What happens to a group, and what it wants done.

use super::members::Protocol;
use bytes::Bytes;
use kafka_protocol::error::ResponseError as Code;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_observability::labels::RebalanceReason;

/// Stands for a request that waits for its answer.
pub(crate) type Ticket = u64;

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody wants to be a member.
    Join(Box<Join>),
    /// A member brings, or asks for, the assignment.
    Sync(Syncing),
    /// A member is alive.
    Heartbeat(Ticket, Claim),
    /// Members go; an empty id stands for whoever has the instance id.
    Leave(Ticket, Vec<Claim>),
    /// A generation is stored.
    Stored(i32),
    /// Time has passed.
    Tick,
}

/// Who somebody says to be.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub member: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub generation: i32,
}

/// A request to join.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub ticket: Ticket,
    /// The member's id, empty when it has none yet.
    pub member: Arc<str>,
    pub instance: Option<Arc<str>>,
    /// The id it gets if it has none.
    pub fresh: Arc<str>,
    /// Whether one without an id is to come again with the id it is given.
    pub invites: bool,
    /// Whether a leader can be told that there is nothing to assign.
    pub skips_assignment: bool,
    pub client: Arc<str>,
    pub host: Arc<str>,
    pub session: Duration,
    pub rebalance: Duration,
    pub protocol_type: Arc<str>,
    /// In the order of its preference, each name once.
    pub protocols: Vec<Protocol>,
}

/// A request for an assignment, with all assignments if it is the leader's.
#[derive(Clone, Debug)]
pub(crate) struct Syncing {
    pub ticket: Ticket,
    pub claim: Claim,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Answer a request.
    Answer(Ticket, Answer),
    /// Store that a generation begins; [`Event::Stored`] is the answer.
    Store {
        /// The generation.
        generation: i32,
        /// How many members it has.
        members: usize,
    },
    /// A rebalance is complete.
    Stable {
        /// What began it.
        reason: RebalanceReason,
        /// How long it took.
        took: Duration,
    },
}

/// An answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// To a join: with the member's id, also where it is an error.
    Joined(Result<Joined, (Code, Arc<str>)>),
    /// To a sync.
    Synced(Result<Synced, Code>),
    /// To a heartbeat.
    Code(Option<Code>),
    /// To those who leave, in their order.
    Left(Vec<Option<Code>>),
}

/// The generation that a member is in.
#[derive(Debug)]
pub(crate) struct Joined {
    pub member: Arc<str>,
    pub generation: i32,
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub leader: Arc<str>,
    pub skip_assignment: bool,
    /// All members, for the leader only.
    pub members: Vec<JoinedMember>,
}

/// A member, as its leader sees it.
#[derive(Debug)]
pub(crate) struct JoinedMember {
    pub id: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub metadata: Bytes,
}

/// A member's part.
#[derive(Debug)]
pub(crate) struct Synced {
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub assignment: Bytes,
}
