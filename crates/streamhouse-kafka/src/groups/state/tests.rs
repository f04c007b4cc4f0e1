//! The state machine, by example and against a model.

use super::*;
use bytes::Bytes;
use kafka_protocol::error::ResponseError as Code;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(30);
const DELAY: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits {
        session: Duration::from_secs(1)..=Duration::from_secs(60),
        rebalance: Duration::from_secs(60),
        initial_delay: DELAY,
        members: 8,
        bytes: 100_000,
    }
}

/// A group with its store and its clock.
struct World {
    group: Group,
    now: Instant,
    tickets: Ticket,
    open: BTreeSet<Ticket>,
    answers: HashMap<Ticket, Answer>,
    /// Generations on their way to the store.
    storing: Vec<i32>,
    stored: i32,
    stable: Vec<RebalanceReason>,
    transitions: usize,
    held: bool,
}

impl World {
    fn new() -> Self {
        Self::with(limits())
    }

    fn with(limits: Limits) -> Self {
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

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.open.insert(self.tickets);
        self.tickets
    }

    fn step(&mut self, event: Event) {
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

    fn store(&mut self) {
        if self.storing.is_empty() {
            return;
        }
        let generation = self.storing.remove(0);
        assert!(generation > self.stored, "a generation is never used again");
        self.stored = generation;
        let effects = self.group.step(self.now, Event::Stored(generation));
        self.take(effects);
    }

    fn take(&mut self, effects: Vec<Effect>) {
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

    fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(wake) = self.group.wake().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            self.step(Event::Tick);
        }
        self.now = until;
    }

    fn send_join(&mut self, change: impl FnOnce(&mut Join)) -> Ticket {
        self.send_measured(change, |_, _| {})
    }

    fn send_measured(
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
    fn measure_join(&mut self, change: impl FnOnce(&mut Join)) -> usize {
        let mut grown = 0;
        self.send_measured(change, |group, event| grown = group.growth(event));
        grown
    }

    fn joined(&mut self, ticket: Ticket) -> Joined {
        match self.answers.remove(&ticket) {
            Some(Answer::Joined(Ok(joined))) => joined,
            other => panic!("{other:?} instead of a generation"),
        }
    }

    fn refused(&mut self, ticket: Ticket) -> Code {
        match self.answers.remove(&ticket) {
            Some(Answer::Joined(Err((code, _))) | Answer::Synced(Err(code))) => code,
            Some(Answer::Code(Some(code))) => code,
            other => panic!("{other:?} instead of an error"),
        }
    }

    fn send_sync(&mut self, joined: &Joined, parts: &[(&str, &str)]) -> Ticket {
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

    fn part(&mut self, ticket: Ticket) -> String {
        match self.answers.remove(&ticket) {
            Some(Answer::Synced(Ok(synced))) => {
                String::from_utf8(synced.assignment.into()).unwrap()
            }
            other => panic!("{other:?} instead of a part"),
        }
    }

    fn heartbeat(&mut self, joined: &Joined) -> Option<Code> {
        let ticket = self.ticket();
        self.step(Event::Heartbeat(ticket, claim(joined)));
        match self.answers.remove(&ticket) {
            Some(Answer::Code(code)) => code,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, member: &str, instance: Option<&str>) -> Option<Code> {
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
    fn stable(count: usize) -> (Self, Vec<Joined>) {
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

fn protocols(names: &[&str]) -> Vec<Protocol> {
    let one =
        |name: &&str| Protocol { name: (*name).into(), metadata: Bytes::from_static(b"meta") };
    names.iter().map(one).collect()
}

fn claim(joined: &Joined) -> Claim {
    Claim { member: joined.member.clone(), instance: None, generation: joined.generation }
}

fn with_id(id: &Arc<str>) -> impl FnOnce(&mut Join) + use<> {
    let id = id.clone();
    move |join| join.member = id
}

#[test]
fn members_that_come_together_share_one_generation_and_one_leader() {
    let (world, joined) = World::stable(3);
    assert_eq!(joined[0].members.len(), 3);
    assert!(joined[1..].iter().all(|one| one.members.is_empty()));
    assert!(joined.iter().all(|one| one.leader == joined[0].member && one.generation == 6));
    assert_eq!(world.stable, [RebalanceReason::Join]);
}

#[test]
fn whoever_comes_without_an_id_is_told_one_and_joins_with_it() {
    let mut world = World::new();
    let first = world.send_join(|join| join.invites = true);
    let Some(Answer::Joined(Err((Code::MemberIdRequired, id)))) = world.answers.remove(&first)
    else {
        panic!("no id was given");
    };
    assert_eq!(world.group.state(), GroupState::Empty);
    let second = world.send_join(with_id(&id));
    world.advance(DELAY);
    assert_eq!(world.joined(second).member, id);
}

#[test]
fn an_invitation_that_is_not_used_runs_out() {
    let mut world = World::new();
    let first = world.send_join(|join| join.invites = true);
    let Some(Answer::Joined(Err((_, id)))) = world.answers.remove(&first) else { panic!() };
    world.advance(SESSION);
    assert!(world.group.is_vacant());
    let late = world.send_join(with_id(&id));
    assert_eq!(world.refused(late), Code::UnknownMemberId);
}

#[test]
fn a_newcomer_makes_all_join_again_and_is_counted_once() {
    let (mut world, old) = World::stable(2);
    let newcomer = world.send_join(|_| {});
    assert_eq!(world.heartbeat(&old[0]), Some(Code::RebalanceInProgress));
    let again: Vec<_> = old.iter().map(|one| world.send_join(with_id(&one.member))).collect();
    let joined = world.joined(newcomer);
    assert_eq!(joined.generation, 7);
    let leader = world.joined(again[0]);
    assert_eq!((&leader.leader, leader.members.len()), (&old[0].member, 3));
    assert_eq!(world.heartbeat(&old[1]), Some(Code::IllegalGeneration));
    assert_eq!(world.stable.len(), 1, "not complete before the leader has shared out");
    let waiting = world.send_sync(&joined, &[]);
    let follower = world.joined(again[1]);
    assert_eq!((follower.generation, follower.members.len()), (7, 0));
    world.send_sync(&leader, &[(&joined.member, "new")]);
    assert_eq!(world.part(waiting), "new");
    assert_eq!(world.stable, [RebalanceReason::Join; 2]);
}

#[test]
fn whoever_is_silent_or_goes_is_missed_under_the_right_reason() {
    let (mut world, joined) = World::stable(3);
    world.advance(SESSION / 2);
    assert_eq!(world.heartbeat(&joined[0]), None);
    assert_eq!(world.heartbeat(&joined[1]), None);
    world.advance(SESSION / 2);
    assert_eq!(world.group.members().len(), 2);
    let again: Vec<_> = joined[..2].iter().map(|it| world.send_join(with_id(&it.member))).collect();
    let leader = world.joined(again[0]);
    let ticket = world.send_sync(&leader, &[]);
    world.part(ticket);
    assert_eq!(world.leave(&joined[1].member, None), None);
    assert_eq!(world.leave(&joined[1].member, None), Some(Code::UnknownMemberId));
    let again = world.send_join(with_id(&joined[0].member));
    let leader = world.joined(again);
    world.send_sync(&leader, &[]);
    let reasons = [RebalanceReason::Join, RebalanceReason::SessionTimeout, RebalanceReason::Leave];
    assert_eq!(world.stable, reasons);
    assert_eq!(world.leave(&joined[0].member, None), None);
    assert_eq!((world.group.state(), world.stored), (GroupState::Empty, 9));
}

#[test]
fn who_does_not_join_again_in_time_is_left_behind() {
    let (mut world, joined) = World::stable(2);
    let newcomer = world.send_join(|_| {});
    for _ in 0..7 {
        world.advance(REBALANCE / 7);
        world.heartbeat(&joined[1]);
        world.heartbeat(&joined[0]);
    }
    world.advance(Duration::from_secs(1));
    let leader = world.joined(newcomer);
    assert_eq!((&leader.leader, leader.members.len()), (&leader.member, 1));
    world.send_sync(&leader, &[]);
    assert_eq!(world.stable[1..], [RebalanceReason::RebalanceTimeout]);
}

#[test]
fn members_that_never_ask_for_their_part_are_left_behind() {
    let (mut world, joined) = World::stable(1);
    let newcomer = world.send_join(|_| {});
    let again = world.send_join(with_id(&joined[0].member));
    let (leader, lazy) = (world.joined(again), world.joined(newcomer));
    world.send_sync(&leader, &[]);
    for _ in 0..8 {
        assert_eq!(world.heartbeat(&lazy), None);
        assert_eq!(world.heartbeat(&leader), None);
        world.advance(REBALANCE / 8);
    }
    world.advance(Duration::from_secs(1));
    assert_eq!(world.group.members().len(), 1);
    assert_eq!(world.heartbeat(&leader), Some(Code::RebalanceInProgress));
}

#[test]
fn a_protocol_that_not_all_offer_is_refused_to_the_newcomer_only() {
    let (mut world, joined) = World::stable(2);
    let other = world.send_join(|join| join.protocols = protocols(&["sticky"]));
    assert_eq!(world.refused(other), Code::InconsistentGroupProtocol);
    let typed = world.send_join(|join| join.protocol_type = "connect".into());
    assert_eq!(world.refused(typed), Code::InconsistentGroupProtocol);
    let none = world.send_join(|join| join.protocols = vec![]);
    assert_eq!(world.refused(none), Code::InconsistentGroupProtocol);
    assert_eq!(world.group.state(), GroupState::Stable);
    assert_eq!(world.heartbeat(&joined[0]), None);
}

#[test]
fn the_protocol_that_most_prefer_among_those_that_all_offer_is_chosen() {
    let mut world = World::new();
    let offers = [&["a", "b", "c"][..], &["c", "b"], &["c", "x", "b"]];
    let tickets: Vec<_> =
        offers.map(|it| world.send_join(|join| join.protocols = protocols(it))).into();
    world.advance(DELAY);
    for ticket in tickets {
        assert_eq!(&*world.joined(ticket).protocol, "c");
    }
}

#[test]
fn a_member_that_lost_its_answer_gets_it_again_without_a_rebalance() {
    let (mut world, joined) = World::stable(2);
    let again = world.send_join(with_id(&joined[1].member));
    assert_eq!(world.joined(again).generation, 6);
    assert_eq!(world.group.state(), GroupState::Stable);
    let wider = world.send_join(|join| {
        join.member = joined[1].member.clone();
        join.protocols = protocols(&["range", "sticky"]);
    });
    assert_eq!(world.group.state(), GroupState::PreparingRebalance);
    let leader = world.send_join(with_id(&joined[0].member));
    world.joined(wider);
    let leader = world.joined(leader);
    world.send_sync(&leader, &[]);
    assert_eq!(world.stable, [RebalanceReason::Join, RebalanceReason::MetadataChange]);
}

fn is_static(join: &mut Join) {
    join.instance = Some("one".into());
}

#[test]
fn a_static_member_comes_back_to_its_part_and_fences_who_it_was() {
    let mut world = World::new();
    let (fixed, other) = (world.send_join(is_static), world.send_join(|_| {}));
    world.advance(DELAY);
    let (old, other) = (world.joined(fixed), world.joined(other));
    let waiting = world.send_sync(&other, &[]);
    let parts = [(&*old.member, "mine"), (&*other.member, "yours")];
    let sent = world.send_sync(&old, &parts);
    assert_eq!((world.part(sent), world.part(waiting)), ("mine".into(), "yours".into()));

    for skips in [false, true] {
        let back = world.send_join(|join| {
            is_static(join);
            join.skips_assignment = skips;
        });
        let new = world.joined(back);
        assert_ne!(new.member, old.member);
        assert_eq!((new.generation, new.skip_assignment), (old.generation, skips));
        assert_eq!(new.leader == new.member, skips, "it leads only if it need not assign");
        assert_eq!(new.members.len(), if skips { 2 } else { 0 });
        let asked = world.send_sync(&new, &[]);
        assert_eq!(world.part(asked), "mine");
    }
    let mut fenced = claim(&old);
    fenced.instance = Some("one".into());
    let ticket = world.ticket();
    world.step(Event::Heartbeat(ticket, fenced.clone()));
    assert_eq!(world.refused(ticket), Code::FencedInstanceId);
    assert_eq!(world.group.committable(world.now, &fenced), Err(Code::FencedInstanceId));
    assert_eq!(world.leave(&old.member, Some("one")), Some(Code::FencedInstanceId));
    assert_eq!(world.stable, [RebalanceReason::Join]);
    assert_eq!(world.leave("", Some("one")), None);
    assert_eq!(world.leave("", Some("one")), Some(Code::UnknownMemberId));
    assert_eq!(world.group.members().len(), 1);
}

#[test]
fn a_static_member_that_offers_something_else_makes_a_rebalance() {
    let mut world = World::new();
    let fixed = world.send_join(is_static);
    world.advance(DELAY);
    let old = world.joined(fixed);
    world.send_sync(&old, &[]);
    let back = world.send_join(|join| {
        is_static(join);
        join.protocols = protocols(&["sticky"]);
    });
    let new = world.joined(back);
    assert_eq!((new.generation, &*new.protocol, &new.leader), (7, "sticky", &new.member));
}

#[test]
fn who_comes_while_a_generation_is_being_stored_is_in_it() {
    let mut world = World::new();
    world.held = true;
    let first = world.send_join(|_| {});
    world.advance(DELAY);
    assert_eq!(world.storing, [6]);
    let second = world.send_join(|_| {});
    assert_eq!(world.storing, [6]);
    world.store();
    assert_eq!(world.joined(first).members.len(), 2);
    assert_eq!(world.joined(second).generation, 6);
}

#[test]
fn a_group_that_empties_while_its_generation_is_stored_is_stored_as_empty() {
    let mut world = World::new();
    world.held = true;
    let first = world.send_join(|_| {});
    world.advance(DELAY);
    assert_eq!(world.leave("member-1", None), None);
    assert_eq!(world.refused(first), Code::UnknownMemberId);
    world.store();
    assert_eq!(world.storing, [7]);
    // Somebody comes before the store knows.
    let next = world.send_join(|_| {});
    world.advance(REBALANCE * 2);
    world.store();
    assert_eq!(world.storing, [8]);
    world.store();
    assert_eq!(world.joined(next).generation, 8);
}

#[test]
fn offsets_are_committed_by_members_of_the_generation_and_from_outside_an_empty_group() {
    let (mut world, joined) = World::stable(1);
    let now = world.now;
    let outside = Claim { member: "".into(), instance: None, generation: -1 };
    assert_eq!(world.group.committable(now, &outside), Err(Code::UnknownMemberId));
    let fixed = Claim { instance: Some("one".into()), ..outside.clone() };
    assert_eq!(world.group.committable(now, &fixed), Err(Code::UnknownMemberId));
    let mut own = claim(&joined[0]);
    assert_eq!(world.group.committable(now, &own), Ok(Some(6)));
    own.generation = 5;
    assert_eq!(world.group.committable(now, &own), Err(Code::IllegalGeneration));
    own.member = "nobody".into();
    assert_eq!(world.group.committable(now, &own), Err(Code::UnknownMemberId));
    let newcomer = world.send_join(|_| {});
    assert_eq!(world.group.committable(now, &claim(&joined[0])), Ok(Some(6)), "a last commit");
    let again = world.send_join(with_id(&joined[0].member));
    let (leader, newcomer) = (world.joined(again), world.joined(newcomer));
    let waits = world.group.committable(now, &claim(&leader));
    assert_eq!(waits, Err(Code::RebalanceInProgress));
    for member in [&leader.member, &newcomer.member] {
        world.leave(member, None);
    }
    for outside in [&outside, &fixed] {
        assert_eq!(world.group.committable(now, outside), Ok(None), "{outside:?}");
    }
}

#[test]
fn limits_hold() {
    let mut world = World::with(Limits { members: 2, bytes: 3_000, ..limits() });
    for session in [Duration::from_millis(999), Duration::from_secs(61)] {
        let ticket = world.send_join(|join| join.session = session);
        assert_eq!(world.refused(ticket), Code::InvalidSessionTimeout);
    }
    let fat = |join: &mut Join| join.protocols[0].metadata = Bytes::from(vec![0; 3_000]);
    let ticket = world.send_join(fat);
    assert_eq!(world.refused(ticket), Code::GroupMaxSizeReached);
    for _ in 0..2 {
        world.send_join(|join| join.invites = true);
    }
    let ticket = world.send_join(|join| join.invites = true);
    assert_eq!(world.refused(ticket), Code::GroupMaxSizeReached);
    world.advance(SESSION);
    for _ in 0..2 {
        world.send_join(|_| {});
    }
    let ticket = world.send_join(|_| {});
    assert_eq!(world.refused(ticket), Code::GroupMaxSizeReached);
}

#[test]
fn what_is_too_large_is_refused_before_its_protocols_are_compared() {
    let (mut world, _) = World::stable(2);
    let other = |join: &mut Join| join.protocols = protocols(&["other"]);
    let ticket = world.send_join(other);
    assert_eq!(world.refused(ticket), Code::InconsistentGroupProtocol);
    let ticket = world.send_join(|join| {
        other(join);
        join.protocols[0].metadata = Bytes::from(vec![0; 100_000]);
    });
    assert_eq!(world.refused(ticket), Code::GroupMaxSizeReached);
}

#[test]
fn an_assignment_takes_the_place_of_the_one_before_it() {
    let mut world = World::with(Limits { bytes: 2_000, ..limits() });
    let mut ticket = world.send_join(|_| {});
    world.advance(DELAY);
    let large = "x".repeat(1_000);
    for _ in 0..3 {
        let joined = world.joined(ticket);
        let synced = world.send_sync(&joined, &[(&joined.member, &large)]);
        assert_eq!(world.part(synced), large);
        ticket = world.send_join(with_id(&joined.member));
    }
    let joined = world.joined(ticket);
    let larger = world.send_sync(&joined, &[(&joined.member, &large.repeat(2))]);
    assert_eq!(world.refused(larger), Code::UnknownServerError);
}

#[test]
fn only_what_takes_more_than_it_replaces_makes_a_group_grow() {
    let (mut world, joined) = World::stable(2);
    let (own, wide) = (joined[1].member.clone(), protocols(&["range", "sticky"]));
    let mut growth = |change: Box<dyn FnOnce(&mut Join)>| {
        let before = world.group.bytes();
        let expected = world.measure_join(change);
        assert_eq!(expected, world.group.bytes().saturating_sub(before));
        expected
    };
    assert_eq!(growth(Box::new(with_id(&own))), 0);
    assert_eq!(growth(Box::new(with_id(&"nobody".into()))), 0, "it is refused");
    let id = own.clone();
    assert!(growth(Box::new(|join| (join.member, join.protocols) = (id, wide))) > 0);
    assert_eq!(growth(Box::new(with_id(&own))), 0, "less than before");
    assert!(growth(Box::new(|join| join.invites = true)) > 0);
    assert!(growth(Box::new(is_static)) > 0);
    assert_eq!(growth(Box::new(is_static)), 0, "it takes its own place");
}

#[test]
fn disbanding_answers_everybody() {
    let (mut world, joined) = World::stable(2);
    world.send_join(|_| {});
    world.send_join(with_id(&joined[0].member));
    let effects = world.group.disband(Code::NotCoordinator);
    world.take(effects);
    assert!(world.open.is_empty());
    assert_eq!((world.group.members().len(), world.group.bytes()), (0, 0));
}

/// What a simulated client does next.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// Joins, as a new member or with the id it has; a wish of its own or a retry.
    Join,
    Sync,
    Heartbeat,
    Leave,
    /// Forgets what it was, without a word.
    Forget,
    /// Offers something else from now on.
    Change,
    Store,
    /// Time passes, in tenths of a session.
    Wait(u32),
}

fn moves() -> impl Strategy<Value = (usize, Move)> {
    let one = prop_oneof![
        6 => Just(Move::Join),
        6 => Just(Move::Sync),
        3 => Just(Move::Heartbeat),
        1 => Just(Move::Leave),
        1 => Just(Move::Forget),
        1 => Just(Move::Change),
        6 => Just(Move::Store),
        2 => (1..40u32).prop_map(Move::Wait),
    ];
    (0..5usize, one)
}

/// A client as the model knows it.
#[derive(Default)]
struct Client {
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
    joined: Option<Joined>,
    id: Arc<str>,
    changed: bool,
}

/// Everybody and what they were told.
struct Model {
    world: World,
    clients: Vec<Client>,
    /// The leader's parts of each generation.
    shared: HashMap<i32, HashMap<Arc<str>, String>>,
    leaders: HashMap<i32, Arc<str>>,
}

impl Model {
    fn play(&mut self, who: usize, what: Move) {
        let is_static = who == 0;
        match what {
            Move::Join => {
                let (id, changed) = (self.clients[who].id.clone(), self.clients[who].changed);
                let ticket = self.world.send_join(|join| {
                    join.member = id;
                    join.instance = is_static.then(|| "one".into());
                    join.invites = who % 2 == 1;
                    if changed {
                        join.protocols = protocols(&["sticky", "range"]);
                    }
                });
                self.clients[who].joining = Some(ticket);
            }
            Move::Sync => {
                let Some(joined) = self.clients[who].joined.take() else { return };
                let parts: Vec<_> = joined
                    .members
                    .iter()
                    .map(|it| (it.id.clone(), format!("{}@{}", it.id, joined.generation)))
                    .collect();
                if !parts.is_empty() {
                    let shared = parts.iter().cloned().collect();
                    self.shared.insert(joined.generation, shared);
                }
                let parts: Vec<_> = parts.iter().map(|(id, part)| (&**id, part.as_str())).collect();
                let ticket = self.world.send_sync(&joined, &parts);
                self.clients[who].joined = Some(joined);
                self.clients[who].syncing = Some(ticket);
            }
            Move::Heartbeat => {
                if let Some(joined) = self.clients[who].joined.take() {
                    self.world.heartbeat(&joined);
                    self.clients[who].joined = Some(joined);
                }
            }
            Move::Leave => {
                let id = std::mem::take(&mut self.clients[who].id);
                self.world.leave(&id, is_static.then_some("one"));
                self.clients[who] = Client::default();
            }
            Move::Forget => self.clients[who] = Client::default(),
            Move::Change => self.clients[who].changed ^= true,
            Move::Store => self.world.store(),
            Move::Wait(tenths) => self.world.advance(SESSION / 10 * tenths),
        }
        self.read();
        self.check();
    }

    /// Clients read their answers.
    fn read(&mut self) {
        for client in &mut self.clients {
            if let Some(Answer::Joined(answer)) =
                client.joining.and_then(|it| self.world.answers.remove(&it))
            {
                client.joining = None;
                match answer {
                    Ok(joined) => {
                        let leader = self
                            .leaders
                            .entry(joined.generation)
                            .or_insert_with(|| joined.leader.clone());
                        if joined.members.len() > 1 {
                            assert_eq!(*leader, joined.leader, "one leader in a generation");
                        }
                        client.id = joined.member.clone();
                        client.joined = Some(joined);
                    }
                    Err((Code::MemberIdRequired, id)) => client.id = id,
                    Err((Code::RebalanceInProgress, _)) => {}
                    Err(_) => *client = Client { changed: client.changed, ..Client::default() },
                }
            }
            if let Some(Answer::Synced(Ok(synced))) =
                client.syncing.and_then(|it| self.world.answers.remove(&it))
            {
                let generation = client.joined.as_ref().map_or(0, |joined| joined.generation);
                let part = String::from_utf8(synced.assignment.to_vec()).unwrap();
                assert!(part.is_empty() || part.ends_with(&format!("@{generation}")));
            }
        }
    }

    fn check(&self) {
        let group = &self.world.group;
        let members: Vec<_> = group.members().collect();
        let joining = members.iter().filter(|(_, one)| one.joining.is_some()).count();
        let syncing = members.iter().filter(|(_, one)| one.syncing.is_some()).count();
        assert_eq!(self.world.open.len(), joining + syncing, "no ticket is forgotten");
        assert_eq!(group.members.joining(), joining);
        assert_eq!(members.is_empty(), group.state() == GroupState::Empty);
        let weight = |member: &Member| members::weight(&member.protocols) + member.assignment.len();
        let bytes: usize = members.iter().map(|(_, one)| weight(one)).sum();
        assert_eq!(group.members.bytes(), bytes);
        for (_, member) in &members {
            if member.joining.is_none() && member.syncing.is_none() {
                assert!(group.wake().is_some_and(|wake| wake <= member.deadline));
            }
        }
        if group.state() == GroupState::PreparingRebalance && group.storing.is_none() {
            assert!(group.join_deadline.is_some(), "a rebalance ends in time");
        }
        if group.state() == GroupState::Stable {
            assert!(members.iter().all(|(_, one)| one.joining.is_none() && one.syncing.is_none()));
        }
    }

    /// Everybody behaves: the group must come to rest.
    fn settle(&mut self) {
        self.world.held = false;
        self.world.store();
        self.world.store();
        for _ in 0..40 {
            for who in 0..self.clients.len() {
                let heartbeat = match self.clients[who].joined.take() {
                    Some(joined) => {
                        let code = self.world.heartbeat(&joined);
                        self.clients[who].joined = Some(joined);
                        code.is_none()
                    }
                    None => false,
                };
                if heartbeat && self.clients[who].syncing.is_none() {
                    self.play(who, Move::Sync);
                } else if !heartbeat && self.clients[who].joining.is_none() {
                    self.clients[who].syncing = None;
                    self.play(who, Move::Join);
                }
            }
            self.play(0, Move::Wait(3));
        }
        let group = &self.world.group;
        assert_eq!(group.state(), GroupState::Stable, "{group:?}");
        let ids: BTreeSet<_> = self.clients.iter().map(|client| client.id.clone()).collect();
        assert_eq!(group.members().map(|(id, _)| id.clone()).collect::<BTreeSet<_>>(), ids);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_members_do_the_group_keeps_its_promises_and_comes_to_rest(
        moves in proptest::collection::vec(moves(), 0..120),
    ) {
        let clients = (0..5).map(|_| Client::default()).collect();
        let (shared, leaders) = (HashMap::new(), HashMap::new());
        let mut model = Model { world: World::new(), clients, shared, leaders };
        model.world.held = true;
        for (who, what) in moves {
            model.play(who, what);
        }
        model.settle();
    }
}
