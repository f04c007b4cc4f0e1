//! How members come: new ones, known ones, and those that take a static member's place.

use super::events::{Answer, Effect, Join, Joined, JoinedMember, Ticket};
use super::{Group, members};
use kafka_protocol::error::ResponseError as Code;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_observability::labels::{GroupState, RebalanceReason};
use tokio::time::Instant;

/// The shortest rebalance timeout; shorter ones are lengthened.
const SHORTEST: Duration = Duration::from_secs(1);

impl Group {
    pub(super) fn join(&mut self, now: Instant, mut join: Join) {
        join.rebalance = join.rebalance.clamp(SHORTEST, self.limits.rebalance.max(SHORTEST));
        if let Err(code) = self.joinable(&join) {
            return self.refuse_join(join.ticket, code, join.member);
        }
        let has_id = !join.member.is_empty();
        let seated = join.instance.as_ref().and_then(|it| self.members.with_instance(it)).cloned();
        match seated {
            Some(seated) if !has_id => self.replace(now, &seated, join),
            Some(seated) if seated != join.member => {
                self.refuse_join(join.ticket, Code::FencedInstanceId, join.member);
            }
            None if !has_id && join.instance.is_none() && join.invites => self.invite(now, join),
            None if !has_id => self.enlist(now, join.fresh.clone(), join),
            None if join.instance.is_none() && self.pending.remove(&join.member).is_some() => {
                self.enlist(now, join.member.clone(), join);
            }
            None if join.instance.is_some() => {
                self.refuse_join(join.ticket, Code::UnknownMemberId, join.member);
            }
            _ if self.members.get(&join.member).is_some() => self.rejoin(now, join),
            _ => self.refuse_join(join.ticket, Code::UnknownMemberId, join.member),
        }
    }

    /// Whether the group could have somebody like this among its members.
    fn joinable(&self, join: &Join) -> Result<(), Code> {
        if !self.limits.session.contains(&join.session) {
            return Err(Code::InvalidSessionTimeout);
        }
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return Err(Code::InconsistentGroupProtocol);
        }
        let id = match &join.instance {
            Some(instance) if join.member.is_empty() => self.members.with_instance(instance),
            _ => Some(&join.member),
        };
        let known = id.and_then(|id| self.members.get(id));
        let had = known.map_or(0, |member| members::weight(&member.protocols));
        let bytes = self.bytes() - had + members::weight(&join.protocols);
        if bytes > self.limits.bytes {
            return Err(Code::GroupMaxSizeReached);
        }
        let is_alone = self.members.len() == usize::from(known.is_some());
        if !is_alone
            && (join.protocol_type != self.protocol_type
                || !self.members.agree(&join.protocols, id.map(|id| &**id)))
        {
            return Err(Code::InconsistentGroupProtocol);
        }
        Ok(())
    }

    /// Bytes that the group takes more once somebody has joined.
    pub(super) fn join_growth(&self, join: &Join) -> usize {
        let brought = members::weight(&join.protocols);
        let seated = join.instance.as_ref().and_then(|it| self.members.with_instance(it));
        let id = if join.member.is_empty() { seated } else { Some(&join.member) };
        if let Some(member) = id.and_then(|id| self.members.get(id)) {
            return brought.saturating_sub(members::weight(&member.protocols));
        }
        match join.member.is_empty() {
            true if join.instance.is_none() && join.invites => members::INVITATION,
            true => brought,
            false if self.pending.contains_key(&join.member) => {
                brought.saturating_sub(members::INVITATION)
            }
            // It is refused.
            false => 0,
        }
    }

    pub(super) fn refuse_join(&mut self, ticket: Ticket, code: Code, member: Arc<str>) {
        self.effects.push(Effect::Answer(ticket, Answer::Joined(Err((code, member)))));
    }

    /// Gives an id to somebody without one. Only with it can they join: so whoever does not get
    /// the answer leaves nothing behind but an id that runs out.
    fn invite(&mut self, now: Instant, join: Join) {
        if self.members.len() + self.pending.len() >= self.limits.members {
            return self.refuse_join(join.ticket, Code::GroupMaxSizeReached, join.member);
        }
        let until = now + join.session;
        self.pending.insert(join.fresh.clone(), until);
        self.arm(until);
        self.refuse_join(join.ticket, Code::MemberIdRequired, join.fresh);
    }

    /// Adds a member.
    fn enlist(&mut self, now: Instant, id: Arc<str>, join: Join) {
        if self.members.len() >= self.limits.members {
            return self.refuse_join(join.ticket, Code::GroupMaxSizeReached, join.member);
        }
        if self.members.is_empty() {
            self.protocol_type = join.protocol_type.clone();
        }
        self.members.insert(now, id, join);
        if self.state == GroupState::PreparingRebalance {
            self.extend_initial(now);
            self.try_freeze(now);
        } else {
            self.prepare(now, RebalanceReason::Join);
        }
    }

    /// A member joins again: because it was told to, because it did not get its answer, or because
    /// it wants another share.
    fn rejoin(&mut self, now: Instant, join: Join) {
        let (id, ticket) = (join.member.clone(), join.ticket);
        let offers_the_same =
            self.members.get(&id).is_some_and(|member| member.protocols == join.protocols);
        let is_leader = self.leader.as_deref() == Some(&*id);
        let has_its_answer = match self.state {
            GroupState::CompletingRebalance => offers_the_same,
            GroupState::Stable => offers_the_same && !is_leader,
            GroupState::Empty | GroupState::PreparingRebalance => false,
        };
        self.members.update(&id, &join);
        if self.members.len() == 1 {
            self.protocol_type = join.protocol_type;
        }
        if has_its_answer {
            return self.answer_join(now, &id, ticket, false);
        }
        self.park_join(&id, ticket);
        if self.state == GroupState::PreparingRebalance {
            self.try_freeze(now);
        } else {
            self.prepare(now, RebalanceReason::MetadataChange);
        }
    }

    /// A static member is back without its id: it gets a new one, and whoever still uses the old
    /// one is fenced. In a stable group its part stays as it is.
    fn replace(&mut self, now: Instant, old: &Arc<str>, join: Join) {
        let (id, ticket, skips) = (join.fresh.clone(), join.ticket, join.skips_assignment);
        if let Some(parked) = self.members.take_join(old) {
            self.refuse_join(parked, Code::FencedInstanceId, old.clone());
        }
        if let Some(parked) = self.members.take_sync(old) {
            let fenced = Answer::Synced(Err(Code::FencedInstanceId));
            self.effects.push(Effect::Answer(parked, fenced));
        }
        self.members.rename(old, id.clone());
        let was_leader = self.leader.as_deref() == Some(&**old);
        if was_leader {
            self.leader = Some(id.clone());
        }
        let differs = self.members.update(&id, &join);
        if self.members.len() == 1 {
            self.protocol_type = join.protocol_type;
        }
        match self.state {
            GroupState::Stable if !differs => match was_leader && !skips {
                // Told that somebody else leads, it only asks for its part.
                true => self.answer_led_by(now, &id, ticket, old.clone()),
                false => self.answer_join(now, &id, ticket, was_leader),
            },
            GroupState::PreparingRebalance => {
                self.park_join(&id, ticket);
                self.try_freeze(now);
            }
            _ => {
                self.park_join(&id, ticket);
                self.prepare(now, RebalanceReason::MetadataChange);
            }
        }
    }

    fn park_join(&mut self, id: &str, ticket: Ticket) {
        if let Some(before) = self.members.park_join(id, ticket) {
            self.refuse_join(before, Code::RebalanceInProgress, id.into());
        }
    }

    /// Tells a member its generation; the leader learns who the members are.
    pub(super) fn answer_join(&mut self, now: Instant, id: &Arc<str>, ticket: Ticket, skip: bool) {
        let leader = self.leader.clone().unwrap_or_default();
        let members = if leader == *id { self.seen_by_leader() } else { Vec::new() };
        self.answer_joined(now, id, ticket, (leader, skip, members));
    }

    fn answer_led_by(&mut self, now: Instant, id: &Arc<str>, ticket: Ticket, leader: Arc<str>) {
        self.answer_joined(now, id, ticket, (leader, false, Vec::new()));
    }

    fn answer_joined(
        &mut self,
        now: Instant,
        id: &Arc<str>,
        ticket: Ticket,
        (leader, skip_assignment, members): (Arc<str>, bool, Vec<JoinedMember>),
    ) {
        self.renew(now, id);
        let joined = Joined {
            member: id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            skip_assignment,
            members,
        };
        self.effects.push(Effect::Answer(ticket, Answer::Joined(Ok(joined))));
    }

    fn seen_by_leader(&self) -> Vec<JoinedMember> {
        let seen = self.members.iter().map(|(id, member)| JoinedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(&self.protocol).cloned().unwrap_or_default(),
        });
        seen.collect()
    }

    pub(super) fn renew(&mut self, now: Instant, id: &str) {
        if let Some(deadline) = self.members.renew(id, now) {
            self.arm(deadline);
        }
    }
}
