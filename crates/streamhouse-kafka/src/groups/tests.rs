//! Many members, and what they take.

use super::Groups;
use super::state::{Answer, Claim, Join, Protocol, Syncing, Ticket};
use crate::config::GroupConfig;
use bytes::Bytes;
use kafka_protocol::error::ResponseError as Code;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use streamhouse_metadata::{
    Agent, CommittedOffset, MetadataStore as _, SqliteStore, StoredGroup, TopicPartition,
};
use streamhouse_observability::instruments::Instruments;
use streamhouse_observability::testing::in_memory;
use tokio_util::sync::DropGuard;
use uuid::Uuid;

/// Members that join at once.
const STORM: usize = 10_000;

fn agent() -> Agent {
    Agent { id: 1, incarnation: Uuid::nil(), host: "127.0.0.1".into(), port: 9092 }
}

async fn groups(config: GroupConfig) -> (Groups, DropGuard) {
    on(Arc::new(SqliteStore::in_memory().await.unwrap()), config).await
}

async fn on(store: Arc<SqliteStore>, config: GroupConfig) -> (Groups, DropGuard) {
    let metrics = Instruments::declare(&in_memory().0).groups;
    let groups = Groups::new(store, config, metrics);
    let running = groups.start();
    groups.refreshed(1, [agent()].into());
    assert!(groups.is_loaded().await);
    (groups, running)
}

fn join(ticket: Ticket, n: usize) -> Join {
    let metadata = Bytes::from(vec![7; 300]);
    Join {
        ticket,
        member: "".into(),
        instance: None,
        fresh: format!("member-{n}").into(),
        invites: false,
        skips_assignment: false,
        client: "client".into(),
        host: "127.0.0.1".into(),
        session: Duration::from_secs(600),
        rebalance: Duration::from_secs(600),
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata }],
    }
}

/// Everybody joins at once; how many became members, and how many were told that it is full.
async fn storm(groups: &Groups) -> (usize, usize) {
    let joining: Vec<_> = (0..STORM)
        .map(|n| {
            let groups = groups.clone();
            tokio::spawn(async move {
                groups
                    .join("orders", |ticket| join(ticket, n))
                    .await?
                    .await
                    .map_err(|_| Code::NotCoordinator)
            })
        })
        .collect();
    let (mut members, mut refused, mut led) = (0, 0, 0);
    for one in joining {
        match one.await.unwrap() {
            Ok(Answer::Joined(Ok(joined))) => {
                members += 1;
                led += joined.members.len();
            }
            Ok(Answer::Joined(Err((Code::GroupMaxSizeReached, _))))
            | Err(Code::CoordinatorNotAvailable) => {
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(led, members, "one leader learns of all");
    (members, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_members_join_at_once_and_one_more_is_too_many() {
    let (groups, _running) = groups(GroupConfig::default()).await;
    assert_eq!(storm(&groups).await, (STORM, 0));
    let taken = groups.0.hall.memory.load(Ordering::Relaxed);
    assert!(taken < GroupConfig::default().max_group_bytes, "{taken} bytes");
    let one_more = groups.join("orders", |ticket| join(ticket, STORM)).await.unwrap();
    let refused = one_more.await.unwrap();
    assert!(matches!(refused, Answer::Joined(Err((Code::GroupMaxSizeReached, _)))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_members_takes_no_more_memory_than_it_may() {
    for config in [
        GroupConfig { max_group_bytes: 1 << 20, ..GroupConfig::default() },
        GroupConfig { memory: 1 << 20, ..GroupConfig::default() },
        GroupConfig { max_members: 900, ..GroupConfig::default() },
    ] {
        let (groups, _running) = groups(config).await;
        let (members, refused) = storm(&groups).await;
        assert_eq!(members + refused, STORM);
        assert!((500..=1_000).contains(&members), "{members} members");
        let taken = groups.0.hall.memory.load(Ordering::Relaxed);
        assert!(taken <= 1 << 20, "{taken} bytes");
    }
}

/// Somebody from outside a group.
fn outside() -> Claim {
    Claim { member: "".into(), instance: None, generation: -1 }
}

async fn commit(groups: &Groups, offsets: BTreeMap<TopicPartition, CommittedOffset>) {
    groups.commit("orders", outside(), offsets).await.unwrap().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_was_lost_never_seems_not_to_exist() {
    let (groups, _running) = groups(GroupConfig::default()).await;
    commit(&groups, BTreeMap::new()).await;
    let asks = {
        let groups = groups.clone();
        tokio::spawn(async move {
            loop {
                // Told that there is none, a consumer would begin anew.
                assert_ne!(groups.offsets("orders", |_| ()).await, Ok(None));
                tokio::task::yield_now().await;
            }
        })
    };
    for _ in 0..500 {
        let seat = groups.seats().pop().unwrap();
        groups.lose(&seat, Code::NotCoordinator);
        groups.refreshed(1, [agent()].into());
        assert!(groups.is_loaded().await);
        assert!(!asks.is_finished(), "a group seemed not to exist");
    }
    asks.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_somebody_comes_to_while_it_is_found_unused_is_kept() {
    let (groups, _running) = groups(GroupConfig::default()).await;
    commit(&groups, BTreeMap::new()).await;
    let seat = groups.seats().pop().unwrap();
    assert!(seat.is_hollow(Duration::ZERO));
    commit(&groups, BTreeMap::new()).await;
    let idle = Duration::from_secs(600);
    assert_eq!(groups.delete_hollow(&seat, idle).await, Err(Code::NonEmptyGroup));
    assert!(groups.table().get("orders").is_some());
    assert_eq!(groups.delete_hollow(&seat, Duration::ZERO).await, Ok(()));
    assert!(groups.table().get("orders").is_none());
}

/// Waits for what the store is to hold of the only group.
async fn stored(store: &SqliteStore, enough: impl Fn(&StoredGroup) -> bool) -> StoredGroup {
    let begun = Instant::now();
    loop {
        let group = store.groups().await.unwrap().remove(0);
        if enough(&group) {
            return group;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{group:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_the_last_member_subscribed_to_is_known_when_it_left_and_to_the_next_owner() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let config = GroupConfig { initial_delay: Duration::ZERO, ..GroupConfig::default() };
    let (first, running) = on(store.clone(), config.clone()).await;
    let subscription = Bytes::from_static(b"\0\x01\0\0\0\x02\0\x01b\0\x01a\xff\xff\xff\xff");
    let both = || Some(vec![Arc::<str>::from("a"), "b".into()]);
    let one = |ticket| Join {
        protocols: vec![Protocol { name: "range".into(), metadata: subscription.clone() }],
        ..join(ticket, 0)
    };
    let joined = match first.join("orders", one).await.unwrap().await.unwrap() {
        Answer::Joined(Ok(joined)) => joined,
        other => panic!("{other:?}"),
    };
    let (member, generation) = (joined.member, joined.generation);
    let claim = Claim { member, instance: None, generation };
    let sync = |ticket| Syncing {
        ticket,
        claim: claim.clone(),
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    };
    let synced = first.sync("orders", sync).await.unwrap().await.unwrap();
    assert!(matches!(synced, Answer::Synced(Ok(_))), "{synced:?}");
    assert_eq!(stored(&store, |_| true).await.subscribed, both());

    assert_eq!(first.leave("orders", vec![claim]).await.unwrap(), vec![None]);
    let known = |groups: &Groups| {
        groups.table().get("orders").unwrap().read(|it| (it.members, it.subscribed.clone()))
    };
    assert_eq!(known(&first), (0, both()));
    stored(&store, |group| group.generation > generation).await;
    drop(running);
    let (next, _running) = on(store, config).await;
    assert_eq!(known(&next), (0, both()));
}
