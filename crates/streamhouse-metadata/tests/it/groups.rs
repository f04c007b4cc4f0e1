//! Groups and their offsets, of every store.

use crate::conformance::Store;
use crate::make::at;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::OffsetCommitOutcome::{Committed, NotOwner, StaleGeneration};
use streamhouse_metadata::{
    CommittedOffset, MetadataError, OffsetCommit, OffsetCommitOutcome, Retention, StoredGroup,
    TopicPartition,
};

conformance! {
    each_taking_fences_the_owner_before_it,
    only_what_exists_is_taken_unless_it_is_to_be_created,
    a_generation_begins_for_its_owner_and_never_falls,
    offsets_are_committed_by_the_current_generation_of_the_owner,
    a_commit_from_outside_is_accepted_while_a_group_has_no_members,
    commits_of_one_call_are_judged_each_and_applied_in_order,
    partitions_that_do_not_exist_are_left_out_and_named,
    a_commit_of_unknown_partitions_alone_is_none,
    offsets_of_a_deleted_topic_never_come_back,
    a_group_is_deleted_by_its_owner_and_returns_empty,
    a_group_that_is_created_again_admits_no_former_owner_or_member,
    idle_groups_without_members_expire,
    taking_a_group_that_had_members_makes_it_active,
    no_groups_are_answered_with_nothing,
    the_last_subscription_is_kept_when_the_members_go,
    the_time_of_the_last_commit_outlives_the_topic,
}

const HOUR: i64 = 3_600_000;

async fn take(store: &Store, name: &str) -> StoredGroup {
    store.take_groups(&[name.into()], true).await.unwrap().remove(0).unwrap()
}

fn place(offset: i64) -> CommittedOffset {
    CommittedOffset { offset, leader_epoch: -1, metadata: "".into(), committed_ms: 0 }
}

fn commit(
    group: &StoredGroup,
    generation: Option<i32>,
    offsets: &[(TopicPartition, i64)],
) -> OffsetCommit {
    let offsets = offsets.iter().map(|(at, offset)| (*at, place(*offset))).collect();
    OffsetCommit { group: group.name.clone(), epoch: group.epoch, generation, offsets }
}

async fn outcome(store: &Store, commit: OffsetCommit) -> OffsetCommitOutcome {
    store.commit_offsets(&[commit]).await.unwrap().remove(0)
}

async fn offsets(store: &Store, name: &str) -> Vec<(TopicPartition, i64)> {
    let found = store.offsets(&[name.into()]).await.unwrap().remove(0);
    found.into_iter().map(|(at, one)| (at, one.offset)).collect()
}

async fn partitions(store: &Store, count: i32) -> Vec<TopicPartition> {
    let topic = store.create_topic("t", count, Retention::default()).await.unwrap();
    (0..count).map(|one| at(&topic, one)).collect()
}

fn is_committed(outcome: &OffsetCommitOutcome) -> bool {
    matches!(outcome, Committed { unknown, .. } if unknown.is_empty())
}

async fn each_taking_fences_the_owner_before_it(store: Store) {
    let a = partitions(&store, 1).await[0];
    let first = take(&store, "g").await;
    let second = take(&store, "g").await;
    assert!(second.epoch > first.epoch, "{first:?} {second:?}");
    assert_eq!(store.groups().await.unwrap(), vec![second.clone()]);

    assert_eq!(outcome(&store, commit(&first, None, &[(a, 1)])).await, NotOwner);
    assert!(!store.begin_generation("g", first.epoch, 1, "consumer", 1, None).await.unwrap());
    assert!(!store.delete_group("g", first.epoch).await.unwrap());
    assert!(is_committed(&outcome(&store, commit(&second, None, &[(a, 2)])).await));
    assert_eq!(offsets(&store, "g").await, vec![(a, 2)]);
}

async fn only_what_exists_is_taken_unless_it_is_to_be_created(store: Store) {
    let names: [Arc<str>; 3] = ["b".into(), "a".into(), "b".into()];
    assert_eq!(store.take_groups(&names, false).await.unwrap(), vec![None, None, None]);
    let a = take(&store, "a").await;
    assert_eq!((a.generation, &*a.protocol_type), (0, ""));
    let odd: [Arc<str>; 4] = ["a\0b".into(), "A".into(), "a ".into(), "".into()];
    assert_eq!(store.take_groups(&odd, false).await.unwrap(), vec![None, None, None, None]);

    let taken = store.take_groups(&names, false).await.unwrap();
    assert_eq!(taken[0], None);
    let again = taken[1].clone().unwrap();
    assert_eq!(again, StoredGroup { epoch: again.epoch, ..a });

    let created = store.take_groups(&names, true).await.unwrap();
    let names: Vec<_> = created.iter().flatten().map(|one| &*one.name).collect();
    assert_eq!(names, ["b", "a", "b"]);
    let stored = store.groups().await.unwrap();
    let names: Vec<_> = stored.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["a", "b"]);
}

async fn a_generation_begins_for_its_owner_and_never_falls(store: Store) {
    let group = take(&store, "g").await;
    assert!(store.begin_generation("g", group.epoch, 3, "consumer", 2, None).await.unwrap());
    assert!(store.begin_generation("g", group.epoch, 3, "consumer", 2, None).await.unwrap());
    assert!(!store.begin_generation("g", group.epoch, 2, "consumer", 2, None).await.unwrap());
    assert!(!store.begin_generation("other", group.epoch, 3, "consumer", 2, None).await.unwrap());
    let taken = take(&store, "g").await;
    assert_eq!((taken.generation, &*taken.protocol_type), (3, "consumer"));
}

async fn the_last_subscription_is_kept_when_the_members_go(store: Store) {
    let group = take(&store, "g").await;
    assert_eq!((group.subscribed, group.generation_ms), (None, None));
    let both: [Arc<str>; 2] = ["a \"b\"".into(), "ü".into()];
    let begin = |generation, members, subscribed| {
        let (store, epoch) = (&store, group.epoch);
        async move {
            let begun =
                store.begin_generation("g", epoch, generation, "consumer", members, subscribed);
            assert!(begun.await.unwrap());
            store.groups().await.unwrap().remove(0)
        }
    };
    let begun = begin(1, 2, Some(&both[..])).await;
    assert_eq!(begun.subscribed.as_deref(), Some(&both[..]));
    let emptied = begin(2, 0, None).await;
    assert_eq!(emptied.subscribed.as_deref(), Some(&both[..]));
    assert!(emptied.generation_ms >= begun.generation_ms && begun.generation_ms.is_some());
    let taken = store.take_groups(&["g".into()], false).await.unwrap().remove(0).unwrap();
    assert_eq!(taken.subscribed.as_deref(), Some(&both[..]));
    assert_eq!(taken.generation_ms, emptied.generation_ms);
    let again = take(&store, "g").await;
    assert_eq!(again.subscribed.as_deref(), Some(&both[..]));
    let unread = store.begin_generation("g", again.epoch, 3, "consumer", 1, None);
    assert!(unread.await.unwrap());
    assert_eq!(store.groups().await.unwrap()[0].subscribed, None, "it cannot be read any more");
}

async fn the_time_of_the_last_commit_outlives_the_topic(store: Store) {
    let a = partitions(&store, 1).await[0];
    let group = take(&store, "g").await;
    assert_eq!(group.committed_ms, None);
    let Committed { committed_ms, .. } = outcome(&store, commit(&group, None, &[(a, 1)])).await
    else {
        panic!("not committed");
    };
    store.delete_topic(a.topic).await.unwrap();
    assert_eq!(offsets(&store, "g").await, vec![]);
    assert_eq!(take(&store, "g").await.committed_ms, Some(committed_ms));
}

async fn offsets_are_committed_by_the_current_generation_of_the_owner(store: Store) {
    let all = partitions(&store, 2).await;
    let group = take(&store, "g").await;
    store.begin_generation("g", group.epoch, 5, "consumer", 2, None).await.unwrap();
    let told = CommittedOffset { leader_epoch: 3, metadata: "so\0 \"far\" ü".into(), ..place(7) };
    let mut full = commit(&group, Some(5), &[(all[0], 9)]);
    full.offsets.push((all[1], told.clone()));
    let Committed { committed_ms, unknown } = outcome(&store, full).await else {
        panic!("not committed");
    };
    assert_eq!(unknown, vec![]);
    assert_eq!(
        store.offsets(&["g".into()]).await.unwrap(),
        vec![vec![
            (all[0], CommittedOffset { committed_ms, ..place(9) }),
            (all[1], CommittedOffset { committed_ms, ..told }),
        ]]
    );
    assert_eq!(store.groups().await.unwrap()[0].active_ms, committed_ms);

    for generation in [4, 6] {
        let stale = outcome(&store, commit(&group, Some(generation), &[(all[0], 1)])).await;
        assert_eq!(stale, StaleGeneration);
    }
    let nobody = StoredGroup { name: "nobody".into(), ..group.clone() };
    assert_eq!(outcome(&store, commit(&nobody, Some(5), &[(all[0], 1)])).await, NotOwner);
    assert!(is_committed(&outcome(&store, commit(&group, Some(5), &[(all[0], 8)])).await));
    assert_eq!(offsets(&store, "g").await, vec![(all[0], 8), (all[1], 7)]);
}

async fn a_commit_from_outside_is_accepted_while_a_group_has_no_members(store: Store) {
    let a = partitions(&store, 1).await[0];
    let group = take(&store, "g").await;
    assert!(is_committed(&outcome(&store, commit(&group, None, &[(a, 1)])).await));
    store.begin_generation("g", group.epoch, 1, "consumer", 1, None).await.unwrap();
    assert_eq!(outcome(&store, commit(&group, None, &[(a, 2)])).await, StaleGeneration);
    store.begin_generation("g", group.epoch, 2, "consumer", 0, None).await.unwrap();
    assert!(is_committed(&outcome(&store, commit(&group, None, &[(a, 3)])).await));

    // The members of a coordinator that died are unknown to the next.
    store.begin_generation("g", group.epoch, 3, "consumer", 1, None).await.unwrap();
    let next = take(&store, "g").await;
    assert!(is_committed(&outcome(&store, commit(&next, None, &[(a, 4)])).await));
    assert_eq!(offsets(&store, "g").await, vec![(a, 4)]);
}

async fn commits_of_one_call_are_judged_each_and_applied_in_order(store: Store) {
    let all = partitions(&store, 2).await;
    let (g, h) = (take(&store, "g").await, take(&store, "h").await);
    let gone = StoredGroup { epoch: g.epoch - 1, ..g.clone() };
    let commits = [
        commit(&g, None, &[(all[0], 1), (all[1], 1), (all[0], 2)]),
        commit(&gone, None, &[(all[0], 50)]),
        commit(&h, None, &[(all[0], 7)]),
        commit(&h, Some(9), &[(all[0], 50)]),
        commit(&g, None, &[(all[1], 3)]),
    ];
    let outcomes = store.commit_offsets(&commits).await.unwrap();
    let accepted: Vec<_> = outcomes.iter().map(is_committed).collect();
    assert_eq!(accepted, [true, false, true, false, true], "{outcomes:?}");
    assert_eq!((&outcomes[1], &outcomes[3]), (&NotOwner, &StaleGeneration));
    assert_eq!(offsets(&store, "g").await, vec![(all[0], 2), (all[1], 3)]);
    assert_eq!(offsets(&store, "h").await, vec![(all[0], 7)]);
    let names: [Arc<str>; 3] = ["h".into(), "nobody".into(), "g".into()];
    let counts: Vec<_> = store.offsets(&names).await.unwrap().iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 0, 2]);
}

async fn partitions_that_do_not_exist_are_left_out_and_named(store: Store) {
    let a = partitions(&store, 1).await[0];
    let unknown = TopicPartition { partition: 4, ..a };
    let group = take(&store, "g").await;
    let Committed { unknown: named, .. } =
        outcome(&store, commit(&group, None, &[(unknown, 1), (a, 2)])).await
    else {
        panic!("not committed");
    };
    assert_eq!(named, vec![unknown]);
    assert_eq!(offsets(&store, "g").await, vec![(a, 2)]);
}

async fn a_commit_of_unknown_partitions_alone_is_none(store: Store) {
    let a = partitions(&store, 1).await[0];
    let unknown = TopicPartition { partition: 4, ..a };
    let (group, other) = (take(&store, "g").await, take(&store, "other").await);
    let both = [commit(&group, None, &[(unknown, 1)]), commit(&other, None, &[(a, 1)])];
    store.commit_offsets(&both).await.unwrap();
    assert_eq!(take(&store, "g").await.committed_ms, None);
    assert!(take(&store, "other").await.committed_ms.is_some());
}

async fn offsets_of_a_deleted_topic_never_come_back(store: Store) {
    let a = partitions(&store, 1).await[0];
    let group = take(&store, "g").await;
    outcome(&store, commit(&group, None, &[(a, 2)])).await;
    store.delete_topic(a.topic).await.unwrap();
    assert_eq!(offsets(&store, "g").await, vec![]);
    let again = partitions(&store, 1).await[0];
    assert_eq!(offsets(&store, "g").await, vec![]);
    let late = outcome(&store, commit(&group, None, &[(a, 5), (again, 1)])).await;
    assert!(matches!(&late, Committed { unknown, .. } if *unknown == [a]), "{late:?}");
    assert_eq!(offsets(&store, "g").await, vec![(again, 1)]);
}

async fn a_group_is_deleted_by_its_owner_and_returns_empty(store: Store) {
    let a = partitions(&store, 1).await[0];
    let group = take(&store, "g").await;
    outcome(&store, commit(&group, None, &[(a, 2)])).await;
    assert!(!store.delete_group("g", group.epoch + 1).await.unwrap());
    assert!(store.delete_group("g", group.epoch).await.unwrap());
    assert!(!store.delete_group("g", group.epoch).await.unwrap());
    assert_eq!(store.groups().await.unwrap(), vec![]);
    assert_eq!(offsets(&store, "g").await, vec![]);
    take(&store, "g").await;
    assert_eq!(offsets(&store, "g").await, vec![]);
}

async fn a_group_that_is_created_again_admits_no_former_owner_or_member(store: Store) {
    let a = partitions(&store, 1).await[0];
    let former = take(&store, "g").await;
    store.begin_generation("g", former.epoch, 4, "consumer", 1, None).await.unwrap();
    store.delete_group("g", former.epoch).await.unwrap();

    let next = take(&store, "g").await;
    assert!(next.epoch > former.epoch);
    assert!(next.generation >= 4, "{next:?}");
    assert_eq!(next.protocol_type, "");
    assert_eq!(outcome(&store, commit(&former, Some(4), &[(a, 2)])).await, NotOwner);
    assert!(!store.begin_generation("g", next.epoch, 3, "consumer", 1, None).await.unwrap());
}

/// Waits until the store's clock has gone on.
async fn a_moment_later(store: &Store) {
    let clock = take(store, "clock").await.active_ms;
    let gone_on = async {
        while take(store, "clock").await.active_ms <= clock + 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone_on).await.unwrap();
    let clock = take(store, "clock").await;
    store.begin_generation("clock", clock.epoch, 1, "consumer", 1, None).await.unwrap();
}

async fn idle_groups_without_members_expire(store: Store) {
    let a = partitions(&store, 1).await[0];
    let busy = take(&store, "busy").await;
    store.begin_generation("busy", busy.epoch, 1, "consumer", 1, None).await.unwrap();
    let idle = take(&store, "idle").await;
    outcome(&store, commit(&idle, None, &[(a, 2)])).await;
    assert_eq!(store.expire_groups(HOUR).await.unwrap(), Vec::<Arc<str>>::new());
    let error = store.expire_groups(-1).await.unwrap_err();
    assert!(matches!(error, MetadataError::Refused(_)), "{error}");
    a_moment_later(&store).await;
    // Known to a new owner, an idle group is idle still.
    let taken = store.take_groups(&["idle".into()], false).await.unwrap().remove(0).unwrap();
    assert_eq!(store.expire_groups(0).await.unwrap(), vec![Arc::from("idle")]);
    assert_eq!(store.expire_groups(0).await.unwrap(), Vec::<Arc<str>>::new());
    assert_eq!(outcome(&store, commit(&taken, None, &[(a, 2)])).await, NotOwner);
    assert_eq!(offsets(&store, "idle").await, vec![]);
}

async fn taking_a_group_that_had_members_makes_it_active(store: Store) {
    let group = take(&store, "g").await;
    store.begin_generation("g", group.epoch, 1, "consumer", 1, None).await.unwrap();
    let before = store.groups().await.unwrap()[0].active_ms;
    a_moment_later(&store).await;
    let taken = store.take_groups(&["g".into()], false).await.unwrap().remove(0).unwrap();
    assert!(taken.active_ms > before);
    assert_eq!(store.expire_groups(HOUR).await.unwrap(), Vec::<Arc<str>>::new());
    a_moment_later(&store).await;
    assert_eq!(store.expire_groups(0).await.unwrap(), vec![Arc::from("g")]);
}

async fn no_groups_are_answered_with_nothing(store: Store) {
    assert_eq!(store.groups().await.unwrap(), vec![]);
    assert_eq!(store.take_groups(&[], true).await.unwrap(), vec![]);
    assert_eq!(store.commit_offsets(&[]).await.unwrap(), vec![]);
    assert_eq!(store.offsets(&[]).await.unwrap(), Vec::<Vec<_>>::new());
    let group = take(&store, "g").await;
    assert!(is_committed(&outcome(&store, commit(&group, None, &[])).await));
}
