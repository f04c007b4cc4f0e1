//! How members go: by themselves, by silence, by being late; and what time brings.

use super::Group;
use super::events::{Answer, Claim, Effect};
use kafka_protocol::error::ResponseError as Code;
use std::sync::Arc;
use streamhouse_observability::labels::{GroupState, RebalanceReason};
use tokio::time::Instant;

impl Group {
    pub(super) fn leave(&mut self, now: Instant, leaving: &[Claim]) -> Vec<Option<Code>> {
        let (mut members, mut invited) = (false, false);
        let mut one = |claim: &Claim| {
            let seated = claim.instance.as_ref().map(|it| self.members.with_instance(it));
            let id = match seated {
                Some(None) => return Some(Code::UnknownMemberId),
                Some(Some(id)) if !claim.member.is_empty() && *id != claim.member => {
                    return Some(Code::FencedInstanceId);
                }
                Some(Some(id)) => id.clone(),
                None => claim.member.clone(),
            };
            let was_invited = self.pending.remove(&id).is_some();
            let was_member = self.remove(&id);
            members |= was_member;
            invited |= was_invited;
            (!was_member && !was_invited).then_some(Code::UnknownMemberId)
        };
        let codes = leaving.iter().map(&mut one).collect();
        if members {
            self.after_removal(now, RebalanceReason::Leave);
        } else if invited {
            self.try_freeze(now);
        }
        codes
    }

    /// Removes a member; what waits for it is answered that it is none.
    fn remove(&mut self, id: &Arc<str>) -> bool {
        let Some(member) = self.members.remove(id) else { return false };
        if let Some(ticket) = member.joining {
            self.refuse_join(ticket, Code::UnknownMemberId, id.clone());
        }
        if let Some(ticket) = member.syncing {
            let unknown = Answer::Synced(Err(Code::UnknownMemberId));
            self.effects.push(Effect::Answer(ticket, unknown));
        }
        true
    }

    fn after_removal(&mut self, now: Instant, reason: RebalanceReason) {
        match self.state {
            GroupState::Empty => {}
            _ if self.members.is_empty() => self.become_empty(),
            GroupState::PreparingRebalance => self.try_freeze(now),
            GroupState::CompletingRebalance | GroupState::Stable => self.prepare(now, reason),
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        self.wake = None;
        self.pending.retain(|_, until| *until > now);
        let silent = self.members.ids(|member| {
            member.joining.is_none() && member.syncing.is_none() && member.deadline <= now
        });
        self.expel(now, silent, RebalanceReason::SessionTimeout);
        if self.sync_deadline.is_some_and(|at| at <= now) {
            self.sync_deadline = None;
            let late = self.members.ids(|member| !member.synced);
            self.expel(now, late, RebalanceReason::RebalanceTimeout);
        }
        match self.join_deadline {
            Some(at) if at <= now => self.end_of_joins(now),
            // An invitation may have run out that was waited for.
            _ => self.try_freeze(now),
        }
        self.rearm();
    }

    fn expel(&mut self, now: Instant, ids: Vec<Arc<str>>, reason: RebalanceReason) {
        let mut any = false;
        for id in ids {
            any |= self.remove(&id);
        }
        if any {
            self.after_removal(now, reason);
        }
    }

    /// The time to join is over: who is there goes on without the others. Static members that are
    /// not there keep their place for as long as their session lasts.
    fn end_of_joins(&mut self, now: Instant) {
        if self.state != GroupState::PreparingRebalance {
            self.join_deadline = None;
            return;
        }
        if std::mem::take(&mut self.initial) {
            let since = self.rebalance.map_or(now, |rebalance| rebalance.since);
            self.wait_for_joins((since + self.members.longest_rebalance()).max(now));
            return self.try_freeze(now);
        }
        if self.storing.is_some() {
            // The store still has to learn that the group was empty.
            return self.wait_for_joins(now + self.members.longest_rebalance());
        }
        self.pending.clear();
        let late = self.members.ids(|one| one.joining.is_none() && one.instance.is_none());
        if let (false, Some(rebalance)) = (late.is_empty(), &mut self.rebalance) {
            rebalance.reason = RebalanceReason::RebalanceTimeout;
        }
        for id in late {
            self.remove(&id);
        }
        if self.members.is_empty() {
            self.become_empty();
        } else if self.members.joining() == 0 {
            self.wait_for_joins(now + self.members.longest_rebalance());
        } else {
            self.freeze();
        }
    }

    /// Finds the next deadline.
    fn rearm(&mut self) {
        let sessions = self.members.iter().filter_map(|(_, member)| {
            (member.joining.is_none() && member.syncing.is_none()).then_some(member.deadline)
        });
        let next = sessions
            .chain(self.pending.values().copied())
            .chain(self.join_deadline)
            .chain(self.sync_deadline)
            .min();
        if let Some(next) = next {
            self.arm(next);
        }
    }

    /// Ends the group here: whoever waits is answered `code`, and no member is left.
    pub fn disband(&mut self, code: Code) -> Vec<Effect> {
        for id in self.members.ids(|_| true) {
            if let Some(ticket) = self.members.take_join(&id) {
                self.refuse_join(ticket, code, id.clone());
            }
            if let Some(ticket) = self.members.take_sync(&id) {
                self.effects.push(Effect::Answer(ticket, Answer::Synced(Err(code))));
            }
            self.members.remove(&id);
        }
        self.pending.clear();
        self.state = GroupState::Empty;
        self.storing = None;
        self.rebalance = None;
        self.wake = None;
        std::mem::take(&mut self.effects)
    }
}
