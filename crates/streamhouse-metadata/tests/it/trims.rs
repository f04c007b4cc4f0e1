//! Moving the starts of logs, of every store.

use crate::conformance::Store;
use crate::make::{append, at, batch, commit, segment};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use streamhouse_metadata::BatchOutcome::Committed;
use streamhouse_metadata::{
    APPEND_LAG, Batch, CommittedOffset, IndexRow, Locate, OffsetCommit, OffsetCommitOutcome,
    Position, Retention, Segment, SqliteStore, Topic, TopicPartition, Trim, TrimOutcome, Trimmed,
    Watermarks,
};

conformance! {
    a_log_start_moves_to_an_offset_at_once_and_never_back,
    one_trim_does_not_stop_the_others,
    runs_are_trimmed_by_the_time_of_their_append,
    runs_are_trimmed_while_enough_bytes_follow,
    a_run_of_a_clock_that_is_ahead_was_appended_when_it_was_committed,
    what_groups_had_not_consumed_is_told_once,
    a_group_loses_nothing_of_a_topic_that_it_has_left,
    one_partition_may_be_trimmed_twice_in_one_call,
    long_logs_are_trimmed_in_slices,
    objects_are_no_part_of_the_totals_once_all_their_runs_are_trimmed,
    a_removed_time_of_the_far_future_is_forgotten,
    positions_tell_times_and_the_bytes_that_follow,
    no_trims_are_answered_with_nothing,
}

async fn topic(store: &Store, partitions: i32) -> Topic {
    store.create_topic("t", partitions, Retention::default()).await.unwrap()
}

async fn trim(store: &Store, partition: TopicPartition, trim: Trim) -> Trimmed {
    match store.trim(&[(partition, trim)]).await.unwrap().remove(0) {
        TrimOutcome::Trimmed(done) => done,
        other => panic!("{other:?}"),
    }
}

fn trimmed(log_start: i64, records: i64) -> Trimmed {
    Trimmed { log_start, records, lost: Vec::new(), more: false }
}

async fn rows(store: &Store, partition: TopicPartition) -> Vec<(i64, i64)> {
    let wanted = Locate { partition, offset: 0, max_bytes: u64::MAX };
    let located = store.locate(&[wanted]).await.unwrap().remove(0).unwrap();
    located.rows.iter().map(|row: &IndexRow| (row.base_offset, row.next_offset)).collect()
}

fn appended(partition: TopicPartition, time: i64) -> Segment {
    let mut one = segment(&[(partition, vec![batch(1)])]);
    one.blocks[0].append_time_ms = time;
    one
}

fn timed(time: i64) -> Batch {
    Batch { max_timestamp_ms: time, ..batch(1) }
}

async fn position(store: &Store, partition: TopicPartition, offset: i64) -> Option<Position> {
    store.positions(&[(partition, offset)]).await.unwrap().remove(0)
}

async fn a_log_start_moves_to_an_offset_at_once_and_never_back(store: Store) {
    let a = at(&topic(&store, 1).await, 0);
    for _ in 0..3 {
        append(&*store, a, vec![batch(10)]).await;
    }
    assert_eq!(trim(&store, a, Trim::To(14)).await, trimmed(14, 14));
    assert_eq!(rows(&store, a).await, vec![(10, 20), (20, 30)]);
    let ends = Watermarks { log_start: 14, high_watermark: 30 };
    assert_eq!(store.watermarks(&[a]).await.unwrap(), vec![Some(ends)]);
    assert_eq!(store.locate_time(a, 0).await.unwrap().unwrap().base_offset, 10);
    assert_eq!(trim(&store, a, Trim::To(9)).await, trimmed(14, 0));
    assert_eq!(trim(&store, a, Trim::To(20)).await, trimmed(20, 6));
    assert_eq!(rows(&store, a).await, vec![(20, 30)]);
    assert_eq!(trim(&store, a, Trim::ToEnd).await, trimmed(30, 10));
    assert_eq!(rows(&store, a).await, vec![]);
    assert_eq!(trim(&store, a, Trim::ToEnd).await, trimmed(30, 0));
    assert_eq!(append(&*store, a, vec![batch(1)]).await, vec![Committed(30)]);
    assert_eq!(rows(&store, a).await, vec![(30, 31)]);
}

async fn one_trim_does_not_stop_the_others(store: Store) {
    let topic = topic(&store, 2).await;
    let (a, b) = (at(&topic, 0), at(&topic, 1));
    append(&*store, a, vec![batch(5)]).await;
    append(&*store, b, vec![batch(5)]).await;
    let wanted = [
        (a, Trim::To(6)),
        (a, Trim::To(-1)),
        (a, Trim::ToBytes(-1)),
        (at(&topic, 7), Trim::ToEnd),
        (b, Trim::To(2)),
        (a, Trim::To(5)),
    ];
    assert_eq!(
        store.trim(&wanted).await.unwrap(),
        vec![
            TrimOutcome::OutOfRange,
            TrimOutcome::OutOfRange,
            TrimOutcome::OutOfRange,
            TrimOutcome::UnknownPartition,
            TrimOutcome::Trimmed(trimmed(2, 2)),
            TrimOutcome::Trimmed(trimmed(5, 5)),
        ]
    );
}

async fn runs_are_trimmed_by_the_time_of_their_append(store: Store) {
    let topic = topic(&store, 2).await;
    let a = at(&topic, 0);
    for time in [100, 300, 200, 400, 350] {
        commit(&*store, &appended(a, time)).await;
    }
    assert_eq!(trim(&store, a, Trim::AppendedBefore(99)).await, trimmed(0, 0));
    assert_eq!(trim(&store, a, Trim::AppendedBefore(100)).await, trimmed(1, 1));
    // The run of 200 lies behind one that is to stay.
    assert_eq!(trim(&store, a, Trim::AppendedBefore(299)).await, trimmed(1, 0));
    assert_eq!(trim(&store, a, Trim::AppendedBefore(300)).await, trimmed(3, 2));
    assert_eq!(trim(&store, a, Trim::AppendedBefore(400)).await, trimmed(5, 2));
    assert_eq!(trim(&store, at(&topic, 1), Trim::AppendedBefore(400)).await, trimmed(0, 0));
}

async fn runs_are_trimmed_while_enough_bytes_follow(store: Store) {
    let a = at(&topic(&store, 1).await, 0);
    for _ in 0..5 {
        append(&*store, a, vec![batch(2)]).await;
    }
    assert_eq!(trim(&store, a, Trim::ToBytes(500)).await, trimmed(0, 0));
    assert_eq!(trim(&store, a, Trim::ToBytes(401)).await, trimmed(0, 0), "never less is kept");
    assert_eq!(trim(&store, a, Trim::ToBytes(400)).await, trimmed(2, 2));
    // A run counts as a whole until all of it is removed.
    assert_eq!(trim(&store, a, Trim::To(3)).await, trimmed(3, 1));
    assert_eq!(trim(&store, a, Trim::ToBytes(301)).await, trimmed(3, 0));
    assert_eq!(trim(&store, a, Trim::ToBytes(250)).await, trimmed(4, 1));
    append(&*store, a, vec![batch(2)]).await;
    assert_eq!(trim(&store, a, Trim::ToBytes(200)).await, trimmed(8, 4));
    append(&*store, a, vec![batch(2); 50]).await;
    assert_eq!(trim(&store, a, Trim::ToBytes(1)).await, trimmed(12, 4), "the large run stays");
    assert_eq!(trim(&store, a, Trim::ToBytes(0)).await, trimmed(112, 100));
}

async fn a_run_of_a_clock_that_is_ahead_was_appended_when_it_was_committed(store: Store) {
    let a = at(&topic(&store, 1).await, 0);
    let future = 9_000_000_000_000;
    commit(&*store, &appended(a, future)).await;
    commit(&*store, &appended(a, 5_000)).await;
    let first = position(&store, a, 0).await.unwrap().append_time_ms;
    assert!(first < future && first > 5_000, "{first}");
    assert_eq!(position(&store, a, 1).await.unwrap().append_time_ms, 5_000);
    assert_eq!(trim(&store, a, Trim::AppendedBefore(first)).await, trimmed(2, 2));
}

async fn what_groups_had_not_consumed_is_told_once(store: Store) {
    let topic = topic(&store, 2).await;
    let (a, b) = (at(&topic, 0), at(&topic, 1));
    append(&*store, a, vec![batch(10)]).await;
    append(&*store, b, vec![batch(10)]).await;
    for (name, offset) in [("slow", 2), ("fast", 10), ("ahead", 50), ("none", 0)] {
        let name: Arc<str> = name.into();
        let names = std::slice::from_ref(&name);
        let group = store.take_groups(names, true).await.unwrap().remove(0).unwrap();
        let place =
            CommittedOffset { offset, leader_epoch: -1, metadata: "".into(), committed_ms: 0 };
        let offsets = if offset == 0 { Vec::new() } else { vec![(a, place)] };
        let commit = OffsetCommit { group: name, epoch: group.epoch, generation: None, offsets };
        store.commit_offsets(&[commit]).await.unwrap();
    }
    let lost = |records| vec![(Arc::from("slow"), records)];
    assert_eq!(trim(&store, a, Trim::To(2)).await.lost, vec![]);
    assert_eq!(trim(&store, a, Trim::To(5)).await.lost, lost(3));
    assert_eq!(trim(&store, a, Trim::To(5)).await.lost, vec![]);
    assert_eq!(trim(&store, a, Trim::AppendedBefore(5_000)).await.lost, lost(5));
    assert_eq!(trim(&store, a, Trim::ToEnd).await.lost, vec![]);
    assert_eq!(trim(&store, b, Trim::ToEnd).await.lost, vec![]);
}

async fn a_group_loses_nothing_of_a_topic_that_it_has_left(store: Store) {
    let a = at(&topic(&store, 1).await, 0);
    append(&*store, a, vec![batch(1), batch(1), batch(1), batch(1)]).await;
    let name: Arc<str> = "g".into();
    let names = std::slice::from_ref(&name);
    let epoch = store.take_groups(names, true).await.unwrap().remove(0).unwrap().epoch;
    let begin = async |generation, members, topic: &str| {
        let topics: [Arc<str>; 1] = [topic.into()];
        let topics = (members > 0).then_some(&topics[..]);
        let kind = "consumer";
        let begun = store.begin_generation("g", epoch, generation, kind, members, topics);
        assert!(begun.await.unwrap());
    };
    let set = async |generation| {
        let place =
            CommittedOffset { offset: 0, leader_epoch: -1, metadata: "".into(), committed_ms: 0 };
        let (group, offsets) = (name.clone(), vec![(a, place)]);
        let commit = OffsetCommit { group, epoch, generation, offsets };
        let told = store.commit_offsets(&[commit]).await.unwrap().remove(0);
        let OffsetCommitOutcome::Committed { committed_ms, .. } = told else { panic!("{told:?}") };
        committed_ms
    };
    let own = store.topics().await.unwrap().remove(0).name;
    begin(1, 1, &own).await;
    set(Some(1)).await;
    assert_eq!(trim(&store, a, Trim::To(1)).await.lost, vec![(name.clone(), 1)]);
    begin(2, 1, "other").await;
    assert_eq!(trim(&store, a, Trim::To(2)).await.lost, vec![], "it reads another one");
    begin(3, 0, "").await;
    assert_eq!(trim(&store, a, Trim::To(3)).await.lost, vec![], "nor is it missed afterwards");

    let emptied = store.groups().await.unwrap()[0].generation_ms.unwrap();
    while set(None).await <= emptied {}
    assert_eq!(trim(&store, a, Trim::To(4)).await.lost, vec![(name.clone(), 1)], "set anew");
}

async fn one_partition_may_be_trimmed_twice_in_one_call(store: Store) {
    let a = at(&topic(&store, 1).await, 0);
    for _ in 0..3 {
        append(&*store, a, vec![batch(10)]).await;
    }
    let wanted = [(a, Trim::To(5)), (a, Trim::ToBytes(200)), (a, Trim::To(7)), (a, Trim::To(12))];
    let outcomes = store.trim(&wanted).await.unwrap();
    let expected = [trimmed(5, 5), trimmed(10, 5), trimmed(10, 0), trimmed(12, 2)];
    assert_eq!(outcomes, expected.map(TrimOutcome::Trimmed));
    assert_eq!(rows(&store, a).await, vec![(10, 20), (20, 30)]);
}

/// Commits so many runs of one record, each appended at its number.
async fn many(store: &Store, partition: TopicPartition, runs: i64) {
    let batches = (0..runs).map(|_| (partition, vec![batch(1)])).collect::<Vec<_>>();
    let mut one = segment(&batches);
    for (time, block) in one.blocks.iter_mut().enumerate() {
        block.append_time_ms = time as i64;
    }
    commit(&**store, &one).await;
}

async fn long_logs_are_trimmed_in_slices(store: Store) {
    let topic = topic(&store, 2).await;
    let (a, b) = (at(&topic, 0), at(&topic, 1));
    many(&store, a, 4_500).await;
    many(&store, b, 4_500).await;
    let first = trim(&store, a, Trim::ToEnd).await;
    assert_eq!(first, Trimmed { more: true, ..trimmed(4_500, 4_500) });
    let mut calls = 1;
    while trim(&store, a, Trim::ToEnd).await.more {
        calls += 1;
    }
    assert!((4..=6).contains(&calls), "{calls}");
    assert_eq!(store.totals().await.unwrap().objects, 1);

    let mut start = 0;
    loop {
        let slice = trim(&store, b, Trim::AppendedBefore(4_000)).await;
        assert_eq!(slice.log_start, start + slice.records);
        assert!(slice.records <= 1_000, "{slice:?}");
        start = slice.log_start;
        if !slice.more {
            break;
        }
    }
    assert_eq!(start, 4_001);
    assert_eq!(rows(&store, b).await.len(), 499);
}

async fn objects_are_no_part_of_the_totals_once_all_their_runs_are_trimmed(store: Store) {
    let topic = topic(&store, 2).await;
    let (a, b) = (at(&topic, 0), at(&topic, 1));
    let shared = segment(&[(a, vec![batch(1)]), (b, vec![batch(1)])]);
    let only = segment(&[(a, vec![batch(2)]), (a, vec![batch(2)])]);
    store.commit(&[shared.clone(), only.clone()]).await.unwrap();
    trim(&store, a, Trim::To(3)).await;
    assert_eq!(store.totals().await.unwrap().objects, 2);
    trim(&store, a, Trim::ToEnd).await;
    let totals = store.totals().await.unwrap();
    assert_eq!((totals.objects, totals.bytes), (1, shared.bytes));
    assert_eq!(store.unused_segments().await.unwrap(), (vec![], 1));
    trim(&store, b, Trim::ToEnd).await;
    let totals = store.totals().await.unwrap();
    assert_eq!((totals.objects, totals.bytes), (0, 0));
    assert_eq!(store.unused_segments().await.unwrap(), (vec![], 2));
}

async fn a_removed_time_of_the_far_future_is_forgotten(store: Store) {
    let a = at(&topic(&store, 1).await, 0);
    for time in [9_000_000_000_000, 100, 300, 200] {
        append(&*store, a, vec![timed(time)]).await;
    }
    assert_eq!(trim(&store, a, Trim::To(1)).await, trimmed(1, 1));
    assert_eq!(store.max_timestamp(a).await.unwrap(), Some(300));
    append(&*store, a, vec![timed(250)]).await;
    append(&*store, a, vec![timed(400)]).await;
    for (time, offset) in [(0, 1), (100, 1), (101, 2), (300, 2), (301, 5), (400, 5)] {
        let row = store.locate_time(a, time).await.unwrap().unwrap();
        assert_eq!(row.base_offset, offset, "time {time}");
    }
    assert_eq!(store.locate_time(a, 401).await.unwrap(), None);
    trim(&store, a, Trim::ToEnd).await;
    assert_eq!(store.max_timestamp(a).await.unwrap(), None);
    append(&*store, a, vec![timed(7)]).await;
    assert_eq!(store.max_timestamp(a).await.unwrap(), Some(7));
}

async fn positions_tell_times_and_the_bytes_that_follow(store: Store) {
    let topic = topic(&store, 2).await;
    let (a, b) = (at(&topic, 0), at(&topic, 1));
    append(&*store, a, vec![batch(5), batch(5)]).await;
    commit(&*store, &appended(a, 3_000)).await;
    append(&*store, b, vec![batch(5)]).await;
    let place = |append_time_ms, bytes_after| Some(Position { append_time_ms, bytes_after });
    let wanted =
        [(b, 4), (a, 0), (at(&topic, 9), 0), (a, 9), (a, 10), (a, 11), (a, -5), (a, i64::MAX)];
    let first = place(5_000, 100);
    let expected = vec![place(5_000, 0), first, None, first, place(3_000, 0), None, first, None];
    assert_eq!(store.positions(&wanted).await.unwrap(), expected);
    trim(&store, a, Trim::To(10)).await;
    assert_eq!(position(&store, a, 0).await, place(3_000, 0));
    trim(&store, a, Trim::ToEnd).await;
    assert_eq!(position(&store, a, 0).await, None);
}

async fn no_trims_are_answered_with_nothing(store: Store) {
    assert_eq!(store.trim(&[]).await.unwrap(), vec![]);
    assert_eq!(store.positions(&[]).await.unwrap(), vec![]);
}

#[tokio::test]
async fn a_run_of_a_clock_that_is_far_behind_was_appended_shortly_before_its_commit() {
    let store: Store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let a = at(&topic(&store, 1).await, 0);
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    };
    let (lag, before) = (i64::try_from(APPEND_LAG.as_millis()).unwrap(), now());
    let days = |days: i64| days * 86_400_000;
    commit(&*store, &appended(a, before - days(8))).await;
    let stored = position(&store, a, 0).await.unwrap().append_time_ms;
    assert!((before - lag..=now() - lag).contains(&stored), "{stored} for {before}");
    assert_eq!(trim(&store, a, Trim::AppendedBefore(now() - days(7))).await, trimmed(0, 0));
    // What waited for its commit within the bound keeps its time.
    commit(&*store, &appended(a, before - 1_000)).await;
    assert_eq!(position(&store, a, 1).await.unwrap().append_time_ms, before - 1_000);
}
