//! What a member may do as things stand.

use super::Group;
use super::events::Claim;
use kafka_protocol::error::ResponseError as Code;
use streamhouse_observability::labels::GroupState;
use tokio::time::Instant;

impl Group {
    /// Whether somebody is who they say to be.
    pub(super) fn is_member(&self, claim: &Claim) -> Result<(), Code> {
        if let Some(instance) = &claim.instance {
            match self.members.with_instance(instance) {
                None => return Err(Code::UnknownMemberId),
                Some(id) if *id != claim.member => return Err(Code::FencedInstanceId),
                Some(_) => {}
            }
        }
        self.members.get(&claim.member).map(|_| ()).ok_or(Code::UnknownMemberId)
    }

    pub(super) fn heartbeat(&mut self, now: Instant, claim: &Claim) -> Result<(), Code> {
        self.is_member(claim)?;
        if claim.generation != self.generation {
            return Err(Code::IllegalGeneration);
        }
        self.renew(now, &claim.member);
        match self.state {
            GroupState::PreparingRebalance => Err(Code::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Whether somebody may commit offsets now, and under which generation; `None` for one from
    /// outside a group without members, whatever instance they say to be: consumers that assign
    /// themselves keep theirs.
    ///
    /// # Errors
    /// What to answer.
    pub fn committable(&mut self, now: Instant, claim: &Claim) -> Result<Option<i32>, Code> {
        if claim.generation < 0 && self.members.is_empty() {
            return Ok(None);
        }
        self.is_member(claim)?;
        if claim.generation != self.generation {
            return Err(Code::IllegalGeneration);
        }
        // While a generation is being stored, and until its members have their parts, nobody
        // knows whose a partition is.
        if self.storing.is_some() || self.state == GroupState::CompletingRebalance {
            return Err(Code::RebalanceInProgress);
        }
        self.renew(now, &claim.member);
        Ok(Some(self.generation))
    }
}
