//! The state machine, by example and against a model.

mod model; // members that do anything
mod world; // a group with its store and its clock

use super::*;
use bytes::Bytes;
use kafka_protocol::error::ResponseError as Code;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};
use world::World;

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
