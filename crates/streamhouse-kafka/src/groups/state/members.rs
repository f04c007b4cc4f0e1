//! The members of a group, and what is known of all of them together.

use super::events::{Join, Ticket};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a member, a protocol or an id takes in memory beyond its bytes.
pub(super) const OVERHEAD: usize = 256;

/// What an id takes in memory that was given out and not used yet.
pub(super) const INVITATION: usize = 2 * OVERHEAD;

/// One way of assignment that a member offers, and what it tells the leader for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub name: Arc<str>,
    pub metadata: Bytes,
}

/// A member.
#[derive(Debug)]
pub(crate) struct Member {
    pub instance: Option<Arc<str>>,
    pub client: Arc<str>,
    pub host: Arc<str>,
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    pub(super) session: Duration,
    pub(super) rebalance: Duration,
    /// The smallest joined first.
    pub(super) order: u64,
    /// Its join that waits for the others.
    pub(super) joining: Option<Ticket>,
    /// Its sync that waits for the leader.
    pub(super) syncing: Option<Ticket>,
    /// Whether it asked for its part of this generation.
    pub(super) synced: bool,
    /// The end of its session, unless it waits for an answer.
    pub(super) deadline: Instant,
}

impl Member {
    /// What it tells the leader for a protocol.
    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|one| *one.name == *protocol).map(|one| &one.metadata)
    }

    /// What it tells for each protocol that it knows, in its order.
    pub fn offers(&self) -> impl Iterator<Item = &Bytes> {
        self.protocols.iter().map(|one| &one.metadata)
    }

    fn bytes(&self) -> usize {
        weight(&self.protocols) + self.assignment.len()
    }
}

/// What somebody with these protocols takes in memory.
pub(super) fn weight(protocols: &[Protocol]) -> usize {
    let of = |one: &Protocol| OVERHEAD + one.name.len() + one.metadata.len();
    2 * OVERHEAD + protocols.iter().map(of).sum::<usize>()
}

/// All members. Every sum over them is kept, so that a join does not look at all of them.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_id: BTreeMap<Arc<str>, Member>,
    by_instance: HashMap<Arc<str>, Arc<str>>,
    /// How many members offer a protocol.
    offered: HashMap<Arc<str>, usize>,
    bytes: usize,
    joining: usize,
    order: u64,
}

impl Members {
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of what they were assigned.
    pub fn assigned(&self) -> usize {
        self.by_id.values().map(|member| member.assignment.len()).sum()
    }

    /// How many wait for the others.
    pub fn joining(&self) -> usize {
        self.joining
    }

    pub fn get(&self, id: &str) -> Option<&Member> {
        self.by_id.get(id)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Member)> {
        self.by_id.iter()
    }

    pub fn ids(&self, wanted: impl Fn(&Member) -> bool) -> Vec<Arc<str>> {
        self.by_id.iter().filter(|(_, one)| wanted(one)).map(|(id, _)| id.clone()).collect()
    }

    /// Who has this instance id.
    pub fn with_instance(&self, instance: &str) -> Option<&Arc<str>> {
        self.by_instance.get(instance)
    }

    pub fn longest_rebalance(&self) -> Duration {
        self.by_id.values().map(|one| one.rebalance).max().unwrap_or_default()
    }

    /// Whether all members but `except` offer one of `protocols`.
    pub fn agree(&self, protocols: &[Protocol], except: Option<&str>) -> bool {
        let except = except.and_then(|id| self.by_id.get(id));
        let others = self.by_id.len() - usize::from(except.is_some());
        protocols.iter().any(|one| {
            let all = self.offered.get(&one.name).copied().unwrap_or(0);
            let own = except.is_some_and(|member| member.metadata(&one.name).is_some());
            all - usize::from(own) == others
        })
    }

    /// The protocol that all offer and most prefer; the leader's preference decides between equals.
    pub fn elect(&self, leader: &str) -> Option<Arc<str>> {
        let mut votes: HashMap<&Arc<str>, usize> = HashMap::new();
        for member in self.by_id.values() {
            let first = member.protocols.iter().find(|one| self.offers_all(&one.name));
            if let Some(first) = first {
                *votes.entry(&first.name).or_default() += 1;
            }
        }
        let preferred = &self.by_id.get(leader)?.protocols;
        let most = votes.values().copied().max()?;
        let elected = preferred.iter().find(|one| votes.get(&one.name) == Some(&most));
        elected.map(|one| one.name.clone())
    }

    fn offers_all(&self, protocol: &str) -> bool {
        self.offered.get(protocol) == Some(&self.by_id.len())
    }

    /// Adds a member that waits for the others.
    pub fn insert(&mut self, now: Instant, id: Arc<str>, join: Join) {
        self.order += 1;
        let member = Member {
            instance: join.instance,
            client: join.client,
            host: join.host,
            protocols: join.protocols,
            assignment: Bytes::new(),
            session: join.session,
            rebalance: join.rebalance,
            order: self.order,
            joining: Some(join.ticket),
            syncing: None,
            synced: false,
            deadline: now,
        };
        if let Some(instance) = &member.instance {
            self.by_instance.insert(instance.clone(), id.clone());
        }
        self.count(&member.protocols);
        self.bytes += member.bytes();
        self.joining += 1;
        self.by_id.insert(id, member);
    }

    /// Removes a member.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.by_id.remove(id)?;
        self.discount(&member.protocols);
        self.bytes -= member.bytes();
        self.joining -= usize::from(member.joining.is_some());
        if let Some(instance) = &member.instance {
            self.by_instance.remove(instance);
        }
        Some(member)
    }

    /// Gives a member another id; its instance id goes with it.
    pub fn rename(&mut self, old: &str, new: Arc<str>) {
        let Some(member) = self.by_id.remove(old) else { return };
        if let Some(instance) = &member.instance {
            self.by_instance.insert(instance.clone(), new.clone());
        }
        self.by_id.insert(new, member);
    }

    /// Takes over what a member says of itself now; tells whether it offers something else.
    pub fn update(&mut self, id: &str, join: &Join) -> bool {
        let Some(member) = self.by_id.get_mut(id) else { return false };
        member.session = join.session;
        member.rebalance = join.rebalance;
        member.client = join.client.clone();
        member.host = join.host.clone();
        if member.protocols == join.protocols {
            return false;
        }
        let before = std::mem::replace(&mut member.protocols, join.protocols.clone());
        self.bytes = self.bytes + weight(&join.protocols) - weight(&before);
        self.discount(&before);
        self.count(&join.protocols);
        true
    }

    /// Lets a member's join wait; one that waited before is returned.
    pub fn park_join(&mut self, id: &str, ticket: Ticket) -> Option<Ticket> {
        let before = self.by_id.get_mut(id)?.joining.replace(ticket);
        self.joining += usize::from(before.is_none());
        before
    }

    /// Ends the wait of a member's join.
    pub fn take_join(&mut self, id: &str) -> Option<Ticket> {
        let ticket = self.by_id.get_mut(id)?.joining.take()?;
        self.joining -= 1;
        Some(ticket)
    }

    /// Lets a member's sync wait; one that waited before is returned.
    pub fn park_sync(&mut self, id: &str, ticket: Ticket) -> Option<Ticket> {
        self.by_id.get_mut(id)?.syncing.replace(ticket)
    }

    /// Ends the wait of a member's sync.
    pub fn take_sync(&mut self, id: &str) -> Option<Ticket> {
        self.by_id.get_mut(id)?.syncing.take()
    }

    pub fn assign(&mut self, id: &str, assignment: Bytes) {
        let Some(member) = self.by_id.get_mut(id) else { return };
        self.bytes = self.bytes + assignment.len() - member.assignment.len();
        member.assignment = assignment;
    }

    pub fn set_synced(&mut self, id: &str, synced: bool) {
        if let Some(member) = self.by_id.get_mut(id) {
            member.synced = synced;
        }
    }

    /// Begins a member's session anew and tells when it ends.
    pub fn renew(&mut self, id: &str, now: Instant) -> Option<Instant> {
        let member = self.by_id.get_mut(id)?;
        member.deadline = now + member.session;
        Some(member.deadline)
    }

    fn count(&mut self, protocols: &[Protocol]) {
        for one in protocols {
            *self.offered.entry(one.name.clone()).or_default() += 1;
        }
    }

    fn discount(&mut self, protocols: &[Protocol]) {
        for one in protocols {
            if let Some(count) = self.offered.get_mut(&one.name) {
                *count -= 1;
                if *count == 0 {
                    self.offered.remove(&one.name);
                }
            }
        }
    }
}
