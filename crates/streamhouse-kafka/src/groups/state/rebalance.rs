//! How a group comes to a generation: everybody joins, it is stored, the leader assigns.

use super::events::{Answer, Effect, Synced, Syncing};
use super::{Group, Rebalance, Storing};
use bytes::Bytes;
use kafka_protocol::error::ResponseError as Code;
use std::sync::Arc;
use streamhouse_observability::labels::{GroupState, RebalanceReason};
use tokio::time::Instant;

impl Group {
    /// Begins to share out anew. What is under way begins again, and stays one rebalance.
    pub(super) fn prepare(&mut self, now: Instant, reason: RebalanceReason) {
        if self.state == GroupState::CompletingRebalance {
            for id in self.members.ids(|member| member.syncing.is_some()) {
                self.answer_sync(now, &id, Err(Code::RebalanceInProgress));
            }
        }
        self.initial = self.state == GroupState::Empty;
        self.state = GroupState::PreparingRebalance;
        self.sync_deadline = None;
        self.rebalance.get_or_insert(Rebalance { reason, since: now });
        let longest = self.members.longest_rebalance();
        let wait = if self.initial { self.limits.initial_delay.min(longest) } else { longest };
        self.wait_for_joins(now + wait);
        self.try_freeze(now);
    }

    pub(super) fn wait_for_joins(&mut self, until: Instant) {
        self.join_deadline = Some(until);
        self.arm(until);
    }

    /// Waits again for the initial delay, in all no longer than members wait.
    pub(super) fn extend_initial(&mut self, now: Instant) {
        let (true, Some(rebalance)) = (self.initial, self.rebalance) else { return };
        let most = rebalance.since + self.members.longest_rebalance();
        self.wait_for_joins((now + self.limits.initial_delay).min(most));
    }

    /// Begins the generation if everybody is there.
    pub(super) fn try_freeze(&mut self, now: Instant) {
        let is_waiting = self.state == GroupState::PreparingRebalance && self.storing.is_none();
        let everybody = self.members.joining() == self.members.len() && self.pending.is_empty();
        let delay_is_over = !self.initial || self.join_deadline.is_some_and(|at| at <= now);
        if is_waiting && everybody && delay_is_over && !self.members.is_empty() {
            self.freeze();
        }
    }

    pub(super) fn freeze(&mut self) {
        self.initial = false;
        self.join_deadline = None;
        self.store(false);
    }

    fn store(&mut self, empty: bool) {
        let generation = self.generation.saturating_add(1);
        self.storing = Some(Storing { generation, empty });
        let members = if empty { 0 } else { self.members.len() };
        self.effects.push(Effect::Store { generation, members });
    }

    /// The last member is gone.
    pub(super) fn become_empty(&mut self) {
        self.state = GroupState::Empty;
        self.protocol = "".into();
        self.leader = None;
        self.rebalance = None;
        self.initial = false;
        self.join_deadline = None;
        self.sync_deadline = None;
        // What is being stored has members: that there are none is stored after it.
        if self.storing.is_none() {
            self.store(true);
        }
    }

    pub(super) fn stored(&mut self, now: Instant, generation: i32) {
        let Some(storing) = self.storing.filter(|it| it.generation == generation) else { return };
        self.storing = None;
        self.generation = generation;
        match self.state {
            GroupState::Empty if !storing.empty => self.store(true),
            GroupState::PreparingRebalance if storing.empty => self.try_freeze(now),
            GroupState::PreparingRebalance => self.complete(now),
            _ => {}
        }
    }

    /// The generation is stored: its members learn of it, those among them who came meanwhile.
    fn complete(&mut self, now: Instant) {
        let is_there =
            |id: &Arc<str>| self.members.get(id).is_some_and(|member| member.joining.is_some());
        let leader = self.leader.take().filter(is_there).or_else(|| self.first_joined());
        let elected = leader.as_ref().and_then(|leader| self.members.elect(leader));
        let (Some(leader), Some(protocol)) = (leader, elected) else {
            // Only static members are left, and none of them is there.
            return self.wait_for_joins(now + self.members.longest_rebalance());
        };
        self.state = GroupState::CompletingRebalance;
        self.leader = Some(leader);
        self.protocol = protocol;
        for id in self.members.ids(|_| true) {
            self.members.set_synced(&id, false);
            if let Some(ticket) = self.members.take_join(&id) {
                self.answer_join(now, &id, ticket, false);
            }
        }
        let until = now + self.members.longest_rebalance();
        self.sync_deadline = Some(until);
        self.arm(until);
    }

    fn first_joined(&self) -> Option<Arc<str>> {
        let joined = self.members.iter().filter(|(_, member)| member.joining.is_some());
        joined.min_by_key(|(_, member)| member.order).map(|(id, _)| id.clone())
    }

    pub(super) fn sync(&mut self, now: Instant, sync: Syncing) {
        if let Err(code) = self.syncable(&sync) {
            let refused = Answer::Synced(Err(code));
            return self.effects.push(Effect::Answer(sync.ticket, refused));
        }
        let id = sync.claim.member;
        if let Some(before) = self.members.park_sync(&id, sync.ticket) {
            let superseded = Answer::Synced(Err(Code::RebalanceInProgress));
            self.effects.push(Effect::Answer(before, superseded));
        }
        self.members.set_synced(&id, true);
        if self.state == GroupState::Stable {
            let assignment = self.members.get(&id).map(|member| member.assignment.clone());
            self.answer_sync(now, &id, Ok(assignment.unwrap_or_default()));
        } else if self.leader.as_deref() == Some(&*id) {
            self.assign(now, sync.assignments);
        }
    }

    fn syncable(&self, sync: &Syncing) -> Result<(), Code> {
        self.is_member(&sync.claim)?;
        if sync.claim.generation != self.generation {
            return Err(Code::IllegalGeneration);
        }
        if self.state == GroupState::PreparingRebalance {
            return Err(Code::RebalanceInProgress);
        }
        let differs =
            |said: &Option<Arc<str>>, is: &Arc<str>| said.as_ref().is_some_and(|it| it != is);
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol, &self.protocol)
        {
            return Err(Code::InconsistentGroupProtocol);
        }
        let growth = self.sync_growth(sync);
        if growth > 0 && self.bytes() + growth > self.limits.bytes {
            return Err(Code::UnknownServerError);
        }
        Ok(())
    }

    /// Bytes that the group takes more with this assignment in place of the one it has. Only the
    /// leader's is kept, and only until the members have their parts.
    pub(super) fn sync_growth(&self, sync: &Syncing) -> usize {
        let is_leader = self.leader.as_deref() == Some(&*sync.claim.member);
        if !is_leader || self.state != GroupState::CompletingRebalance {
            return 0;
        }
        let brought: usize = sync.assignments.iter().map(|(_, part)| part.len()).sum();
        brought.saturating_sub(self.members.assigned())
    }

    /// The leader has shared out: everybody gets their part, who is not named an empty one.
    fn assign(&mut self, now: Instant, assignments: Vec<(Arc<str>, Bytes)>) {
        for id in self.members.ids(|_| true) {
            self.members.assign(&id, Bytes::new());
        }
        for (id, part) in assignments {
            self.members.assign(&id, part);
        }
        self.state = GroupState::Stable;
        for id in self.members.ids(|member| member.syncing.is_some()) {
            let part = self.members.get(&id).map(|member| member.assignment.clone());
            self.answer_sync(now, &id, Ok(part.unwrap_or_default()));
        }
        if let Some(Rebalance { reason, since }) = self.rebalance.take() {
            self.effects.push(Effect::Stable { reason, took: now - since });
        }
    }

    fn answer_sync(&mut self, now: Instant, id: &str, part: Result<Bytes, Code>) {
        let Some(ticket) = self.members.take_sync(id) else { return };
        let answer = part.map(|assignment| Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment,
        });
        self.effects.push(Effect::Answer(ticket, Answer::Synced(answer)));
        self.renew(now, id);
    }
}
