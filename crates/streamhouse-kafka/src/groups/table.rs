//! What this agent knows of the groups that it coordinates.
//!
//! The coordinator writes it; lag, pages and the command line's answers read it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use streamhouse_metadata::{CommittedOffset, TopicPartition};
use streamhouse_observability::labels::GroupState;

/// The groups that this agent coordinates, by name. Cheap to clone; clones share.
#[derive(Clone, Debug, Default)]
pub struct GroupTable(Arc<RwLock<BTreeMap<Arc<str>, Arc<GroupView>>>>);

impl GroupTable {
    /// The group of this name, if this agent coordinates it.
    pub fn get(&self, name: &str) -> Option<Arc<GroupView>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All groups, by name.
    pub fn all(&self) -> Vec<Arc<GroupView>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Adds a group that was taken, in place of one of the same name.
    pub fn insert(&self, group: Arc<GroupView>) {
        let mut groups = self.0.write().unwrap_or_else(PoisonError::into_inner);
        groups.insert(group.name.clone(), group);
    }

    /// Removes a group that was deleted, or taken by another agent.
    pub fn remove(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// One group, as others may see it.
#[derive(Debug)]
pub struct GroupView {
    /// Its name.
    pub name: Arc<str>,
    changed: AtomicU64,
    facts: Mutex<GroupFacts>,
}

/// What is known of a group.
#[derive(Clone, Debug)]
pub struct GroupFacts {
    /// Where it stands.
    pub state: GroupState,
    /// What its members are, `consumer` for consumers; empty while there were none.
    pub protocol_type: Arc<str>,
    /// How many members it has.
    pub members: usize,
    /// The topics that its members subscribe to, or did when it last had some; `None` when it never
    /// had any, or when one's subscription cannot be read.
    pub subscribed: Option<Vec<Arc<str>>>,
    /// When it came to be without members, by the store's clock, or its last generation began that
    /// had some: what is committed later while it has none is set from outside. `None`: not known.
    pub generation_ms: Option<i64>,
    /// Its committed offsets.
    pub offsets: BTreeMap<TopicPartition, CommittedOffset>,
    /// When it last committed an offset, by the store's clock.
    pub committed_ms: Option<i64>,
}

impl GroupView {
    /// A group as it is when it is taken.
    pub fn new(name: Arc<str>, facts: GroupFacts) -> Self {
        Self { name, changed: AtomicU64::new(0), facts: Mutex::new(facts) }
    }

    /// Grows with every change, so that a reader can leave out what it has seen.
    pub fn changed(&self) -> u64 {
        self.changed.load(Ordering::Acquire)
    }

    /// Reads the facts; the lock is held meanwhile, and the coordinator may wait for it.
    pub fn read<T>(&self, read: impl FnOnce(&GroupFacts) -> T) -> T {
        read(&self.lock())
    }

    /// Changes the facts.
    ///
    /// Invariant: what is changed here has been stored before.
    pub fn change(&self, change: impl FnOnce(&mut GroupFacts)) {
        let mut facts = self.lock();
        change(&mut facts);
        self.changed.fetch_add(1, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, GroupFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
