//! What groups promise, over raw frames.

use crate::group_wire::{
    Member, codes, commit, eager, group, heartbeat, join, offsets_in, offsets_of, sync, text,
};
use crate::server::{PATIENCE, Server, eventually};
use crate::versions::fetch;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::{
    DeleteGroupsRequest, FetchRequest, JoinGroupRequest, ListGroupsRequest, OffsetCommitRequest,
};
use std::time::{Duration, Instant};
use streamhouse_kafka::{BrokerConfig, GroupConfig};
use streamhouse_observability::labels::GroupState;
use streamhouse_observability::spans::{Requests, Sampling};
use streamhouse_observability::testing::traces_with;
use streamhouse_storage::testing::BatchSpec;

const REBALANCES: &str = "streamhouse.consumer.rebalances";

async fn server() -> Server {
    let server = Server::with(eager()).await;
    server.wire().await.topic("here").await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_and_each_generation_is_counted_by_its_reason() {
    let server = server().await;
    let mut first = Member::alone(&server, "orders").await;
    let mut second = Member::ask(&server, "orders").await;
    eventually_rebalancing(&mut first).await;
    first.ask_again().await;
    first.joined().await;
    second.joined().await;
    assert!(second.generation > 1);
    assert_eq!(first.generation, second.generation);
    let (part, other) = tokio::join!(first.synced(), second.synced());
    assert_eq!((part, other), (first.id.clone(), second.id.clone()));
    let group = ("group", "orders");
    let rebalances = |reason| server.count(REBALANCES, &[group, ("reason", reason)]);
    assert_eq!((rebalances("join"), rebalances("leave")), (2, 0));
    assert_eq!(server.seen.value("streamhouse.group.members", &[group]), Some(2.0));
    let leaving = crate::group_wire::leave("orders", &second.id, 3);
    assert_eq!(second.wire.ask(&leaving, 3).await.members[0].error_code, 0);
    eventually_rebalancing(&mut first).await;
    first.ask_again().await;
    first.joined().await;
    first.synced().await;
    assert_eq!((rebalances("join"), rebalances("leave")), (2, 1));
    let state = |state| server.seen.value("streamhouse.group.state", &[group, ("state", state)]);
    assert_eq!((state("stable"), state("empty")), (Some(1.0), Some(0.0)));
    assert_eq!(server.count("streamhouse.group.rebalance_duration", &[]), 3);
}

async fn eventually_rebalancing(member: &mut Member) {
    let began = Instant::now();
    while member.heartbeat().await != Code::RebalanceInProgress.code() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_committed_by_the_generation_that_is_and_counted() {
    let server = server().await;
    let mut member = Member::alone(&server, "orders").await;
    assert_eq!(member.commit(5).await, 0);
    let request = commit("orders", &member.id, member.generation - 1, &[(0, 9)]);
    assert_eq!(codes(&member.wire.ask(&request, 8).await), [Code::IllegalGeneration.code()]);
    let request = commit("orders", "nobody", member.generation, &[(0, 9)]);
    assert_eq!(codes(&member.wire.ask(&request, 8).await), [Code::UnknownMemberId.code()]);
    let outside = commit("orders", "", -1, &[(0, 9)]);
    assert_eq!(codes(&member.wire.ask(&outside, 8).await), [Code::UnknownMemberId.code()]);
    let long = "x".repeat(4097);
    let mut request = commit("orders", &member.id, member.generation, &[(0, 9), (0, -1), (1, 3)]);
    request.topics[0].partitions[0].committed_metadata = Some(text(&long));
    let wanted = [Code::OffsetMetadataTooLarge.code(), Code::OffsetOutOfRange.code(), 0];
    assert_eq!(codes(&member.wire.ask(&request, 8).await), wanted);
    let answer = member.wire.ask(&offsets_of("orders", false, 8), 8).await;
    assert_eq!(offsets_in(&answer, 8), (0, vec![(0, 5), (1, 3)]));
    assert_eq!(server.count("streamhouse.group.commits", &[("group", "orders")]), 2);
    let leaving = crate::group_wire::leave("orders", &member.id, 3);
    member.wire.ask(&leaving, 3).await;
    assert_eq!(codes(&member.wire.ask(&outside, 8).await), [0], "nobody is in it");
    let fixed = outside.with_group_instance_id(Some(text("one")));
    assert_eq!(codes(&member.wire.ask(&fixed, 8).await), [0], "it assigns itself");
    let alone = commit("simple", "", -1, &[(0, 1)]);
    assert_eq!(codes(&member.wire.ask(&alone, 8).await), [0], "a group of offsets alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_whole_is_no_commit_and_leaves_the_age_of_the_last_one() {
    let server = server().await;
    let mut member = Member::alone(&server, "orders").await;
    let committed_ms = || server.groups.get("orders").unwrap().read(|facts| facts.committed_ms);
    let mut long = commit("orders", &member.id, member.generation, &[(0, 9)]);
    long.topics[0].partitions[0].committed_metadata = Some(text(&"x".repeat(4097)));
    let negative = commit("orders", &member.id, member.generation, &[(0, -7)]);
    for refused in [long, negative] {
        assert_ne!(codes(&member.wire.ask(&refused, 8).await), [0]);
        assert_eq!(committed_ms(), None);
    }
    assert_eq!(member.commit(5).await, 0);
    assert!(committed_ms().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_a_connection_are_stored_in_the_order_sent() {
    let server = server().await;
    let mut member = Member::alone(&server, "orders").await;
    for offset in 0..200 {
        let request = commit("orders", &member.id, member.generation, &[(0, offset)]);
        member.wire.send(&request, 8).await;
        if offset % 50 == 49 {
            for _ in 0..50 {
                let (_, answer) = member.wire.receive::<OffsetCommitRequest>(8).await;
                assert_eq!(codes(&answer), [0]);
            }
            let answer = member.wire.ask(&offsets_of("orders", false, 8), 8).await;
            assert_eq!(offsets_in(&answer, 8).1[0], (0, offset));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_silent_is_missed() {
    let server = server().await;
    let mut member = server.wire().await;
    let request = join("orders", "").with_session_timeout_ms(1_000);
    let joined = member.ask(&request, 3).await;
    let request = sync("orders", &joined.member_id, joined.generation_id, &[]);
    assert_eq!(member.ask(&request, 3).await.error_code, 0);
    server.gauge_of("streamhouse.group.members", &[("group", "orders")], 0.0).await;
    let request = heartbeat("orders", &joined.member_id, joined.generation_id);
    assert_eq!(member.ask(&request, 3).await.error_code, Code::UnknownMemberId.code());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_groups_are_told() {
    let groups = GroupConfig {
        initial_delay: Duration::ZERO,
        max_groups: 2,
        max_members: 1,
        max_group_bytes: 5_000,
        ..GroupConfig::default()
    };
    let server = Server::with(BrokerConfig { groups, ..BrokerConfig::default() }).await;
    let mut wire = server.wire().await;
    let code = |code: Code| code.code();
    for session in [0, 999, 30 * 60 * 1000 + 1] {
        let request = join("one", "").with_session_timeout_ms(session);
        assert_eq!(wire.ask(&request, 3).await.error_code, code(Code::InvalidSessionTimeout));
    }
    let mut fat = join("one", "");
    fat.protocols[0].metadata = vec![0; 5_000].into();
    assert_eq!(wire.ask(&fat, 3).await.error_code, code(Code::GroupMaxSizeReached));
    assert_eq!(wire.ask(&join("one", ""), 3).await.error_code, 0);
    assert_eq!(wire.ask(&join("one", ""), 3).await.error_code, code(Code::GroupMaxSizeReached));
    assert_eq!(wire.ask(&join("two", ""), 3).await.error_code, 0);
    let full = code(Code::CoordinatorNotAvailable);
    assert_eq!(wire.ask(&join("three", ""), 3).await.error_code, full);
    let long = "x".repeat(256);
    for name in ["", "<other>", "<all>", &long] {
        assert_eq!(wire.ask(&join(name, ""), 3).await.error_code, code(Code::InvalidGroupId));
    }
    assert_eq!(wire.ask(&join(&long[..255], ""), 3).await.error_code, full);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_offers_too_many_protocols_is_refused() {
    let server = server().await;
    let mut wire = server.wire().await;
    for (protocols, wanted) in [(64, 0), (65, Code::InconsistentGroupProtocol.code())] {
        let mut request = join("orders", "");
        request.protocols.resize_with(protocols, Default::default);
        assert_eq!(wire.ask(&request, 3).await.error_code, wanted, "{protocols} protocols");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_on_while_others_want_more_memory_than_there_is() {
    let groups = GroupConfig { memory: 10_000, ..eager().groups };
    let server = Server::with(BrokerConfig { groups, ..eager() }).await;
    let mut wire = server.wire().await;
    wire.topic("here").await;
    let mut member = Member::alone(&server, "orders").await;
    let come_again = Code::CoordinatorNotAvailable.code();
    let taken = "x".repeat(10_000);
    let mut greedy = join("greedy", "");
    greedy.protocols[0].metadata = taken.clone().into();
    assert_eq!(wire.ask(&greedy, 3).await.error_code, come_again);
    greedy.protocols[0].metadata = taken[..8_000].to_owned().into();
    assert_eq!(wire.ask(&greedy, 3).await.error_code, 0);
    // Nothing more goes in; what is there comes and goes as before.
    greedy.group_id = group("late");
    assert_eq!(wire.ask(&greedy, 3).await.error_code, come_again);
    for _ in 0..3 {
        member.ask_again().await;
        member.joined().await;
        assert_eq!(member.synced().await, member.id);
    }
    let again = sync("orders", &member.id, member.generation, &[]);
    assert_eq!(member.wire.ask(&again, 3).await.error_code, 0);
    member.ask_again().await;
    member.joined().await;
    let larger = sync("orders", &member.id, member.generation, &[(&member.id, &taken)]);
    assert_eq!(member.wire.ask(&larger, 3).await.error_code, come_again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_on_on_another_agent_with_its_offsets() {
    let first = server().await;
    let mut member = Member::alone(&first, "orders").await;
    assert_eq!(member.commit(7).await, 0);
    // Another agent comes, and the first one goes.
    let second = Server::on(first.metadata.clone(), eager(), Requests::untraced()).await;
    first.shutdown.cancel();
    let mut wire = second.wire().await;
    let began = Instant::now();
    loop {
        let request = heartbeat("orders", &member.id, member.generation);
        let code = wire.ask(&request, 3).await.error_code;
        if code == Code::UnknownMemberId.code() {
            break;
        }
        let waits = [Code::NotCoordinator.code(), Code::CoordinatorLoadInProgress.code()];
        assert!(waits.contains(&code), "{code}");
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = wire.ask(&offsets_of("orders", false, 8), 8).await;
    assert_eq!(offsets_in(&answer, 8).1[0], (0, 7));
    let again = Member::alone(&second, "orders").await;
    assert!(again.generation > member.generation, "generations are never used again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_does_not_coordinate_a_group_says_so() {
    let first = server().await;
    let config = BrokerConfig { refresh: Duration::from_millis(50), ..eager() };
    let second = Server::on(first.metadata.clone(), config, Requests::untraced()).await;
    let mut wire = second.wire().await;
    let began = Instant::now();
    let (mut here, mut elsewhere) = (0, 0);
    for n in 0..20 {
        loop {
            let name = format!("group-{n}");
            match Code::try_from_code(wire.ask(&heartbeat(&name, "who", 1), 3).await.error_code) {
                Some(Code::NotCoordinator) => elsewhere += 1,
                Some(Code::UnknownMemberId) => here += 1,
                other => {
                    assert_eq!(other, Some(Code::CoordinatorLoadInProgress));
                    assert!(began.elapsed() < PATIENCE);
                    continue;
                }
            }
            break;
        }
    }
    assert!(here > 0 && elsewhere > 0, "{here} here, {elsewhere} elsewhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_coordinator_that_lost_a_group_drops_it_and_answers_so() {
    let server = server().await;
    let mut member = Member::alone(&server, "orders").await;
    // Somebody else takes it, unnoticed.
    server.metadata.take_groups(&["orders".into()], false).await.unwrap();
    assert_eq!(member.commit(7).await, Code::NotCoordinator.code());
    // After the next reading of the agents it is taken back.
    let began = Instant::now();
    while member.heartbeat().await != Code::UnknownMemberId.code() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_waits_holds_no_memory_of_the_fetch_behind_it() {
    let config = BrokerConfig { max_fetch_bytes: 1 << 20, response_memory: 1 << 20, ..eager() };
    let server = Server::with(config).await;
    let mut other = server.wire().await;
    other.topic("here").await;
    assert_eq!(other.produce("here", 0, BatchSpec::new(5).encode()).await.error_code, 0);
    let mut first = Member::alone(&server, "orders").await;
    let mut second = Member::ask(&server, "orders").await;
    eventually_rebalancing(&mut first).await;
    let request = fetch("here", &[(0, 0)]).with_min_bytes(1).with_max_wait_ms(60_000);
    second.wire.send(&request, 12).await;
    // The fetch behind the join waits for it; this one takes all the memory there is.
    for _ in 0..3 {
        let fetched = other.ask(&request, 12).await;
        assert!(!fetched.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
    }
    first.ask_again().await;
    second.joined().await;
    let (_, fetched) = second.wire.receive::<FetchRequest>(12).await;
    assert!(!fetched.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_does_not_wait_for_members() {
    let server = server().await;
    let mut first = Member::alone(&server, "orders").await;
    let mut second = Member::ask(&server, "orders").await;
    eventually_rebalancing(&mut first).await;
    let began = Instant::now();
    server.shutdown.cancel();
    let (_, answer) = second.wire.receive::<JoinGroupRequest>(5).await;
    assert_eq!(answer.error_code, Code::NotCoordinator.code());
    server.serving.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_groups_is_shown() {
    let server = server().await;
    let mut member = Member::alone(&server, "orders").await;
    let view = server.groups.get("orders").unwrap();
    let before = view.changed();
    view.read(|facts| {
        assert_eq!((facts.state, facts.members), (GroupState::Stable, 1));
        assert_eq!(facts.subscribed, Some(vec!["here".into()]));
        assert_eq!((facts.offsets.len(), facts.committed_ms), (0, None));
    });
    assert_eq!(member.commit(3).await, 0);
    assert!(view.changed() > before);
    view.read(|facts| {
        let offset = facts.offsets.values().next().unwrap();
        assert_eq!((offset.offset, &*offset.metadata), (3, "a remark"));
        assert_eq!(facts.committed_ms, Some(offset.committed_ms));
    });
    let topic = server.metadata.topics().await.unwrap()[0].id;
    server.metadata.delete_topic(topic).await.unwrap();
    eventually("the topic's offsets to go", || view.read(|it| it.offsets.is_empty().then_some(())))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_were_idle_for_long_are_deleted() {
    let groups = GroupConfig {
        initial_delay: Duration::ZERO,
        offsets_retention: Duration::from_millis(200),
        ..GroupConfig::default()
    };
    let server = Server::with(BrokerConfig { groups, ..BrokerConfig::default() }).await;
    let mut wire = server.wire().await;
    wire.topic("here").await;
    assert_eq!(codes(&wire.ask(&commit("idle", "", -1, &[(0, 1)]), 8).await), [0]);
    let mut alive = Member::alone(&server, "alive").await;
    eventually("the idle group to go", || server.groups.get("idle").is_none().then_some(())).await;
    assert_eq!(alive.heartbeat().await, 0, "one with members stays");
    assert_eq!(server.metadata.groups().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_nobody_came_to_are_deleted() {
    let groups = GroupConfig { offsets_retention: Duration::from_millis(200), ..eager().groups };
    let server = Server::with(BrokerConfig { groups, ..eager() }).await;
    let mut wire = server.wire().await;
    wire.topic("here").await;
    let invited = wire.ask(&join("hollow", "").with_session_timeout_ms(1_000), 5).await;
    assert_eq!(invited.error_code, Code::MemberIdRequired.code());
    eventually("the group to go", || server.groups.get("hollow").is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_about_groups_is_no_larger_than_it_may_be() {
    let groups = GroupConfig { max_group_bytes: 100_000, ..eager().groups };
    let config = BrokerConfig { groups, max_fetch_bytes: 100_000, ..eager() };
    let server = Server::with(config).await;
    let mut wire = server.wire().await;
    wire.topic("here").await;
    let mut request = commit("orders", "", -1, &[(0, 1)]);
    request.topics[0].partitions[0].committed_metadata = Some(text(&"x".repeat(4_096)));
    assert_eq!(codes(&wire.ask(&request, 8).await), [0]);
    for version in [7, 8] {
        let mut request = offsets_of("orders", false, version);
        assert_eq!(offsets_in(&wire.ask(&request, version).await, version).0, 0);
        // A few bytes more ask for megabytes.
        match version {
            7 => request.topics.as_mut().unwrap()[0].partition_indexes = vec![0; 1_000],
            _ => request.groups = vec![request.groups[0].clone(); 1_000],
        }
        let answer = wire.ask(&request, version).await;
        let code = answer.groups.last().map_or(answer.error_code, |group| group.error_code);
        assert_eq!(code, Code::MessageTooLarge.code(), "version {version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_groups_is_no_larger_than_an_answer_may_be() {
    let groups = GroupConfig { max_group_bytes: 70_000, ..eager().groups };
    let config = BrokerConfig { groups, max_fetch_bytes: 70_000, ..eager() };
    let server = Server::with(config).await;
    let mut wire = server.wire().await;
    wire.topic("here").await;
    let request = ListGroupsRequest::default();
    for (groups, code) in [(200, 0), (300, Code::MessageTooLarge.code())] {
        for n in groups - 200..groups {
            let name = format!("{n:0>200}");
            assert_eq!(codes(&wire.ask(&commit(&name, "", -1, &[(0, 1)]), 8).await), [0]);
        }
        let answer = wire.ask(&request, 4).await;
        let listed = if code == 0 { groups } else { 0 };
        assert_eq!((answer.error_code, answer.groups.len()), (code, listed));
    }
    // Those of one state are few.
    let stable = ListGroupsRequest::default().with_states_filter(vec![text("Stable")]);
    assert_eq!(wire.ask(&stable, 4).await.error_code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_take_no_more_memory_than_they_may() {
    let groups = GroupConfig { memory: 80_000, ..eager().groups };
    let config = BrokerConfig { groups, default_partitions: 4, ..eager() };
    let server = Server::with(config).await;
    let mut wire = server.wire().await;
    wire.topic("here").await;
    let large = |group: &str, partition: i32| {
        let mut request = commit(group, "", -1, &[(partition, 1)]);
        request.topics[0].partitions[0].committed_metadata = Some(text(&"x".repeat(4_000)));
        request
    };
    let own = Code::InvalidCommitOffsetSize.code();
    for (partition, wanted) in [(0, 0), (1, 0), (2, own), (1, 0), (2, own)] {
        let answer = wire.ask(&large("greedy", partition), 8).await;
        assert_eq!(codes(&answer), [wanted], "one group has its share: partition {partition}");
    }
    let mut full = None;
    for n in 0..20 {
        let [code] = codes(&wire.ask(&large(&format!("group-{n}"), 0), 8).await)[..] else {
            panic!()
        };
        if code != 0 {
            assert_eq!(code, Code::CoordinatorNotAvailable.code());
            full.get_or_insert(n);
        }
    }
    assert_eq!(full, Some(17));
    assert_eq!(codes(&wire.ask(&large("group-3", 0), 8).await), [0], "it takes no more");
    // What a deleted group takes is free again.
    let doomed = DeleteGroupsRequest::default().with_groups_names(vec![group("group-0")]);
    assert_eq!(wire.ask(&doomed, 2).await.results[0].error_code, 0);
    assert_eq!(codes(&wire.ask(&commit("group-19", "", -1, &[(0, 1)]), 8).await), [0]);
}

#[tokio::test]
async fn a_join_that_waits_for_others_is_not_slow_and_a_failed_one_is_traced() {
    let slow = Duration::from_millis(200);
    let traces = traces_with(Sampling { ratio: 0.0, slow, ..Sampling::default() });
    let server = Server::traced(eager(), traces.requests()).await;
    let mut first = Member::alone(&server, "orders").await;
    let mut second = Member::ask(&server, "orders").await;
    let began = Instant::now();
    while began.elapsed() < slow * 2 {
        eventually_rebalancing(&mut first).await;
    }
    first.ask_again().await;
    first.joined().await;
    second.joined().await;
    second.generation -= 1;
    assert_eq!(second.heartbeat().await, Code::IllegalGeneration.code());
    let operations = || {
        let spans = traces.spans().into_iter().filter(|span| span.name == "group_request");
        let names = spans.flat_map(|span| span.attributes);
        let names = names.filter(|it| it.key.as_str() == "messaging.operation.name");
        names.map(|name| name.value.to_string()).collect::<Vec<_>>()
    };
    let traced = || operations().contains(&"heartbeat".into()).then(operations);
    let traced = eventually("the failed request's span", traced).await;
    assert!(!traced.contains(&"join_group".into()), "{traced:?}");
}
