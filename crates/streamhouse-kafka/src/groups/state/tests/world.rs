//! A group with its store and its clock.

use super::*;

/// A group with its store and its clock.
pub(super) struct World {
    pub(super) group: Group,
    pub(super) now: Instant,
    pub(super) tickets: Ticket,
    pub(super) open: BTreeSet<Ticket>,
    pub(super) answers: HashMap<Ticket, Answer>,
    /// Generations on their way to the store.
    pub(super) storing: Vec<i32>,
    pub(super) stored: i32,
    pub(super) stable: Vec<RebalanceReason>,
    pub(super) transitions: usize,
    pub(super) held: bool,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(limits())
    }

    pub(super) fn with(limits: Limits) -> Self {
        Self {
            group: Group::new(limits, 5, "".into()),
            now: Instant::now(),
            tickets: 0,
            open: BTreeSet::new(),
            answers: HashMap::new(),
            storing: Vec::new(),
            stored: 5,
            stable: Vec::new(),
            transitions: 0,
            held: false,
        }
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.open.insert(self.tickets);
        self.tickets
    }

    pub(super) fn step(&mut self, event: Event) {
        let before = self.group.state();
        let effects = self.group.step(self.now, event);
        self.take(effects);
        if before != GroupState::Stable && self.group.state() == GroupState::Stable {
            self.transitions += 1;
        }
        assert_eq!(self.stable.len(), self.transitions, "counted when it becomes stable");
        while !self.held && !self.storing.is_empty() {
            self.store();
        }
    }

    pub(super) fn store(&mut self) {
        if self.storing.is_empty() {
            return;
        }
        let generation = self.storing.remove(0);
        assert!(generation > self.stored, "a generation is never used again");
        self.stored = generation;
        let effects = self.group.step(self.now, Event::Stored(generation));
        self.take(effects);
    }

    pub(super) fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Answer(ticket, answer) => {
                    assert!(self.open.remove(&ticket), "a ticket is answered once");
                    if let Answer::Joined(Ok(joined)) = &answer {
                        assert_eq!(joined.generation, self.stored, "told after it was stored");
                    }
                    self.answers.insert(ticket, answer);
                }
                Effect::Store { generation, .. } => self.storing.push(generation),
                Effect::Stable { reason, .. } => self.stable.push(reason),
            }
        }
    }

    pub(super) fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(wake) = self.group.wake().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            self.step(Event::Tick);
        }
        self.now = until;
    }

    pub(super) fn send_join(&mut self, change: impl FnOnce(&mut Join)) -> Ticket {
        self.send_measured(change, |_, _| {})
    }

    pub(super) fn send_measured(
        &mut self,
        change: impl FnOnce(&mut Join),
        measure: impl FnOnce(&Group, &Event),
    ) -> Ticket {
        let ticket = self.ticket();
        let mut join = Join {
            ticket,
            member: "".into(),
            instance: None,
            fresh: format!("member-{ticket}").into(),
            invites: false,
            skips_assignment: false,
            client: "client".into(),
            host: "127.0.0.1".into(),
            session: SESSION,
            rebalance: REBALANCE,
            protocol_type: "consumer".into(),
            protocols: protocols(&["range"]),
        };
        change(&mut join);
        let event = Event::Join(Box::new(join));
        measure(&self.group, &event);
        self.step(event);
        ticket
    }

    /// Lets somebody join; tells how much the group was expected to grow by it.
    pub(super) fn measure_join(&mut self, change: impl FnOnce(&mut Join)) -> usize {
        let mut grown = 0;
        self.send_measured(change, |group, event| grown = group.growth(event));
        grown
    }

    pub(super) fn joined(&mut self, ticket: Ticket) -> Joined {
        match self.answers.remove(&ticket) {
            Some(Answer::Joined(Ok(joined))) => joined,
            other => panic!("{other:?} instead of a generation"),
        }
    }

    pub(super) fn refused(&mut self, ticket: Ticket) -> Code {
        match self.answers.remove(&ticket) {
            Some(Answer::Joined(Err((code, _))) | Answer::Synced(Err(code))) => code,
            Some(Answer::Code(Some(code))) => code,
            other => panic!("{other:?} instead of an error"),
        }
    }

    pub(super) fn send_sync(&mut self, joined: &Joined, parts: &[(&str, &str)]) -> Ticket {
        let ticket = self.ticket();
        let part =
            |(id, part): &(&str, &str)| (Arc::from(*id), Bytes::copy_from_slice(part.as_bytes()));
        let sync = Syncing {
            ticket,
            claim: claim(joined),
            protocol_type: None,
            protocol: None,
            assignments: parts.iter().map(part).collect(),
        };
        self.step(Event::Sync(sync));
        ticket
    }

    pub(super) fn part(&mut self, ticket: Ticket) -> String {
        match self.answers.remove(&ticket) {
            Some(Answer::Synced(Ok(synced))) => {
                String::from_utf8(synced.assignment.into()).unwrap()
            }
            other => panic!("{other:?} instead of a part"),
        }
    }

    pub(super) fn heartbeat(&mut self, joined: &Joined) -> Option<Code> {
        let ticket = self.ticket();
        self.step(Event::Heartbeat(ticket, claim(joined)));
        match self.answers.remove(&ticket) {
            Some(Answer::Code(code)) => code,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave(&mut self, member: &str, instance: Option<&str>) -> Option<Code> {
        let ticket = self.ticket();
        let instance = instance.map(Into::into);
        let claim = Claim { member: member.into(), instance, generation: -1 };
        self.step(Event::Leave(ticket, vec![claim]));
        match self.answers.remove(&ticket) {
            Some(Answer::Left(codes)) => codes[0],
            other => panic!("{other:?}"),
        }
    }

    /// A stable group of `count` members, the leader first.
    pub(super) fn stable(count: usize) -> (Self, Vec<Joined>) {
        let mut world = Self::new();
        let tickets: Vec<_> = (0..count).map(|_| world.send_join(|_| {})).collect();
        world.advance(DELAY);
        let joined: Vec<_> = tickets.into_iter().map(|ticket| world.joined(ticket)).collect();
        let parts: Vec<_> = joined.iter().map(|one| (&*one.member, &*one.member)).collect();
        let others: Vec<_> = joined[1..].iter().map(|one| world.send_sync(one, &[])).collect();
        let leader = world.send_sync(&joined[0], &parts);
        for (one, ticket) in joined.iter().zip([leader].into_iter().chain(others)) {
            assert_eq!(world.part(ticket), *one.member);
        }
        assert_eq!(world.group.state(), GroupState::Stable);
        (world, joined)
    }
}
