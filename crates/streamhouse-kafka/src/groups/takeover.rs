//! Taking groups from the store, and giving them up, as agents come and go.

use super::coordinator::{Groups, Slot};
use super::seat::{Seat, weight};
use super::table::GroupFacts;
use crate::placement;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use streamhouse_metadata::{Agent, CommittedOffset, MetadataError, StoredGroup, TopicPartition};
use streamhouse_observability::labels::{Group, GroupState};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many groups are taken in one transaction.
const SLICE: usize = 500;
/// How often all stored groups are read although nothing tells that they changed.
const RELOAD: Duration = Duration::from_secs(60);
/// Bounds of how often the store is asked for groups whose time is over.
const EXPIRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Where this agent stands among the others.
#[derive(Debug, Default)]
pub(super) struct Place {
    own: Option<i32>,
    agents: Arc<[Agent]>,
    /// Raised when agents come or go.
    version: u64,
    loaded: Option<Instant>,
}

/// What is to be taken.
#[derive(Debug)]
pub(super) enum Wish {
    /// A group that a client asked for; it is created if there is none.
    Take(Arc<str>),
    /// All stored groups that belong here.
    Load,
}

impl Groups {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this agent coordinates the group of this name.
    pub(super) fn is_own(&self, name: &str) -> bool {
        let place = self.place();
        let coordinator = placement::coordinator(&place.agents, name);
        coordinator.is_some_and(|agent| Some(agent.id) == place.own)
    }

    /// Tells which agents there are: groups are given up and taken accordingly.
    pub fn refreshed(&self, own: i32, agents: Arc<[Agent]>) {
        let ids = |agents: &[Agent]| agents.iter().map(|agent| agent.id).collect::<BTreeSet<_>>();
        let is_due = {
            let mut place = self.place();
            let moved = place.own != Some(own) || ids(&place.agents) != ids(&agents);
            place.own = Some(own);
            place.agents = agents;
            place.version += u64::from(moved);
            if moved {
                self.0.loaded.send_replace(false);
            }
            place.loaded.is_none_or(|at| at.elapsed() >= RELOAD)
        };
        let elsewhere: Vec<_> = self.seats();
        for seat in elsewhere.iter().filter(|seat| !self.is_own(&seat.name)) {
            tracing::info!(group = &*seat.name, "a group is coordinated by another agent now");
            self.forget(seat);
        }
        self.clear_lost();
        if is_due || !*self.0.loaded.borrow() {
            let _ = self.0.wishes.send(Wish::Load); // at the end nobody takes any more
        }
    }

    /// Lets lost groups be taken again. Nobody sees that they are gone before they are told to wait
    /// for the load: a group that seems not to exist has no offsets, and its consumers begin anew.
    fn clear_lost(&self) {
        let mut slots = self.slots();
        let is_lost = |slot: &Slot| matches!(slot, Slot::Lost);
        if slots.values().any(is_lost) {
            let mut place = self.place();
            // A load under way has not looked at them.
            place.version += 1;
            self.0.loaded.send_replace(false);
            drop(place);
            slots.retain(|_, slot| !is_lost(slot));
        }
    }

    /// Every group that is coordinated here.
    pub(super) fn seats(&self) -> Vec<Arc<Seat>> {
        let slots = self.slots();
        let taken = slots.values().filter_map(|slot| match slot {
            Slot::Taken(seat) => Some(seat.clone()),
            _ => None,
        });
        taken.collect()
    }

    /// Ends what waits for names that could not be taken.
    fn give_up(&self, names: &[Arc<str>]) {
        let mut slots = self.slots();
        for name in names {
            if let Some(Slot::Taking(taken)) = slots.get(name) {
                taken.cancel();
                slots.remove(name);
            }
        }
    }

    fn seat(
        &self,
        stored: StoredGroup,
        offsets: BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Arc<Seat> {
        let cells = self.0.metrics.group(&Group(stored.name.clone()));
        let facts = GroupFacts {
            state: GroupState::Empty,
            protocol_type: stored.protocol_type.as_str().into(),
            members: 0,
            subscribed: stored.subscribed.clone(),
            generation_ms: stored.generation_ms,
            committed_ms: stored.committed_ms,
            offsets,
        };
        Arc::new(Seat::new(stored, self.0.limits.clone(), facts, cells))
    }

    /// A call of the store that can be repeated whatever has become of it.
    async fn answered<T>(
        &self,
        call: impl Future<Output = Result<T, MetadataError>>,
    ) -> Result<T, MetadataError> {
        let late = || MetadataError::InDoubt("the store did not answer in time".into());
        self.within_bound(call).await.unwrap_or_else(|| Err(late()))
    }

    /// Takes groups for which the slots are prepared.
    async fn take(&self, names: &[Arc<str>], create: bool) -> Result<(), MetadataError> {
        let taken = async {
            let groups = self.answered(self.store().take_groups(names, create)).await?;
            Ok((groups, self.answered(self.store().offsets(names)).await?))
        };
        let (groups, offsets) = match taken.await {
            Ok(taken) => taken,
            Err(error) => {
                self.give_up(names);
                return Err(error);
            }
        };
        for (stored, offsets) in groups.into_iter().zip(offsets) {
            let Some(stored) = stored else { continue };
            let seat = self.seat(stored, offsets.into_iter().collect());
            if let Entry::Occupied(mut slot) = self.slots().entry(seat.name.clone())
                && matches!(slot.get(), Slot::Taking(_))
                && let Slot::Taking(taken) = slot.insert(Slot::Taken(seat.clone()))
            {
                self.0.table.insert(seat.view.clone());
                let offsets = seat.view.read(|facts| facts.offsets.values().map(weight).sum());
                seat.recount(&self.0.hall, offsets, 0);
                taken.cancel();
            }
            if !self.is_own(&seat.name) {
                self.forget(&seat); // the agents changed meanwhile
            }
        }
        self.give_up(names); // what does not exist
        Ok(())
    }

    /// Takes all stored groups that belong here and are not here, and forgets those that are not
    /// stored any more.
    async fn load(&self) -> Result<(), MetadataError> {
        let version = self.place().version;
        let before = self.seats();
        let stored = self.answered(self.store().groups()).await?;
        let names: BTreeSet<_> = stored.into_iter().map(|group| group.name).collect();
        for seat in before.iter().filter(|seat| !names.contains(&seat.name)) {
            self.forget(seat);
        }
        let mut missing = Vec::new();
        for name in names.iter().filter(|name| self.is_own(name)) {
            let mut slots = self.slots();
            if !slots.contains_key(name) {
                slots.insert(name.clone(), Slot::Taking(CancellationToken::new()));
                missing.push(name.clone());
            }
        }
        let mut slices = missing.chunks(SLICE);
        while let Some(slice) = slices.next() {
            if let Err(error) = self.take(slice, false).await {
                slices.for_each(|slice| self.give_up(slice));
                return Err(error);
            }
        }
        let mut place = self.place();
        if place.version == version {
            place.loaded = Some(Instant::now());
            self.0.loaded.send_replace(true);
        }
        Ok(())
    }
}

/// Takes what is wished for, for ever.
pub(super) async fn run(groups: Groups, mut wishes: mpsc::UnboundedReceiver<Wish>) {
    while let Some(wish) = wishes.recv().await {
        let (mut names, mut load) = (Vec::new(), false);
        let mut add = |wish| match wish {
            Wish::Take(name) => names.push(name),
            Wish::Load => load = true,
        };
        add(wish);
        while let Ok(wish) = wishes.try_recv() {
            add(wish);
        }
        if load && let Err(error) = groups.load().await {
            tracing::warn!(%error, "consumer groups could not be taken; it is tried again");
        }
        for slice in names.chunks(SLICE) {
            if let Err(error) = groups.take(slice, true).await {
                tracing::warn!(%error, "consumer groups could not be taken; clients try again");
            }
        }
    }
}

/// Has groups deleted whose offsets have been kept for long enough, and those that have none to
/// keep, for ever.
pub(super) async fn expire(groups: Groups) {
    let retention = groups.0.config.offsets_retention;
    let idle = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let mut ticks = tokio::time::interval((retention / 4).clamp(EXPIRY.0, EXPIRY.1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let unused = retention.min(EXPIRY.1);
        for seat in groups.seats().into_iter().filter(|seat| seat.is_hollow(unused)) {
            let _ = groups.delete_hollow(&seat, unused).await; // somebody came, or the store fails
        }
        loop {
            match groups.answered(groups.store().expire_groups(idle)).await {
                Ok(names) if names.is_empty() => break,
                Ok(names) => {
                    tracing::info!(groups = names.len(), "groups deleted that were long idle");
                    let expired = |seat: &&Arc<Seat>| names.contains(&seat.name);
                    groups.seats().iter().filter(expired).for_each(|seat| groups.forget(seat));
                }
                Err(error) => {
                    tracing::warn!(%error, "idle groups were not deleted; it is tried again");
                    break;
                }
            }
        }
    }
}
