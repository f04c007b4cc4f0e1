//! The floor and what lies below it, of every store.

use crate::conformance::Store;
use crate::make::{at, batch, commit, segment};
use streamhouse_metadata::BatchOutcome::{Committed, Rejected};
use streamhouse_metadata::{
    MetadataError, Rejection, Retention, Segment, SegmentId, TopicPartition, UnusedSegment,
};
use ulid::Ulid;

conformance! {
    the_floor_rises_by_the_stores_clock_and_never_falls,
    nothing_below_the_floor_is_committed_and_the_floor_is_told,
    a_segment_that_was_given_up_is_unused_below_the_floor,
    an_answer_outlives_its_object,
    only_unused_segments_are_forgotten,
    unused_segments_are_told_in_slices,
    segments_with_a_row_are_known,
}

const HOUR: i64 = 3_600_000;

async fn partition(store: &Store) -> TopicPartition {
    at(&store.create_topic("t", 1, Retention::default()).await.unwrap(), 0)
}

/// A segment with a stamp.
fn stamped(partition: TopicPartition, stamp_ms: u64, number: u128) -> Segment {
    let mut one = segment(&[(partition, vec![batch(1)])]);
    one.id = SegmentId(Ulid::from_parts(stamp_ms, number));
    one
}

fn unused(segment: &Segment) -> UnusedSegment {
    UnusedSegment { id: segment.id, object: segment.object.clone(), bytes: segment.bytes }
}

async fn the_floor_rises_by_the_stores_clock_and_never_falls(store: Store) {
    let first = store.raise_floor(HOUR).await.unwrap();
    assert!(first > 0);
    assert_eq!(store.raise_floor(2 * HOUR).await.unwrap(), first);
    assert_eq!(store.raise_floor(i64::MAX).await.unwrap(), first);
    assert!(store.raise_floor(0).await.unwrap() >= first + HOUR);
    let error = store.raise_floor(-1).await.unwrap_err();
    assert!(matches!(error, MetadataError::Refused(_)), "{error}");
}

async fn nothing_below_the_floor_is_committed_and_the_floor_is_told(store: Store) {
    let a = partition(&store).await;
    let floor_ms = store.raise_floor(HOUR).await.unwrap();
    let below = stamped(a, floor_ms as u64 - 1, u128::MAX);
    let stale = vec![Rejected(Rejection::StaleSegment { floor_ms })];
    assert_eq!(commit(&*store, &below).await, stale);
    assert_eq!(store.is_known(&[below.id]).await.unwrap(), vec![false]);
    assert_eq!(commit(&*store, &stamped(a, floor_ms as u64, 0)).await, vec![Committed(0)]);
}

async fn a_segment_that_was_given_up_is_unused_below_the_floor(store: Store) {
    let a = partition(&store).await;
    let lost = stamped(a, 1_000, 1);
    assert_eq!(store.settle(std::slice::from_ref(&lost)).await.unwrap(), vec![None]);
    assert_eq!(store.unused_segments().await.unwrap(), (vec![], 1));
    // Above the floor it stays: its commit may still arrive.
    store.forget_segments(&[lost.id]).await.unwrap();
    assert_eq!(store.is_known(&[lost.id]).await.unwrap(), vec![true]);

    let floor_ms = store.raise_floor(HOUR).await.unwrap();
    assert_eq!(store.unused_segments().await.unwrap(), (vec![unused(&lost)], 1));
    store.forget_segments(&[lost.id]).await.unwrap();
    assert_eq!(store.unused_segments().await.unwrap(), (vec![], 0));
    assert_eq!(store.is_known(&[lost.id]).await.unwrap(), vec![false]);
    let stale = vec![Rejected(Rejection::StaleSegment { floor_ms })];
    assert_eq!(commit(&*store, &lost).await, stale);
}

async fn an_answer_outlives_its_object(store: Store) {
    let a = partition(&store).await;
    let empty = stamped(TopicPartition { partition: 9, ..a }, 1_000, 1);
    let outcomes = commit(&*store, &empty).await;
    store.raise_floor(HOUR).await.unwrap();
    assert_eq!(store.unused_segments().await.unwrap(), (vec![unused(&empty)], 1));
    store.forget_segments(&[empty.id]).await.unwrap();
    assert_eq!(store.unused_segments().await.unwrap(), (vec![], 0));
    assert_eq!(store.is_known(&[empty.id]).await.unwrap(), vec![true]);
    assert_eq!(commit(&*store, &empty).await, outcomes);
    assert_eq!(store.settle(&[empty]).await.unwrap(), vec![Some(outcomes)]);
}

async fn only_unused_segments_are_forgotten(store: Store) {
    let a = partition(&store).await;
    let used = stamped(a, 1_000, 1);
    commit(&*store, &used).await;
    let before = store.totals().await.unwrap();
    store.raise_floor(0).await.unwrap();
    store.forget_segments(&[used.id, SegmentId(Ulid::from_parts(1, 1))]).await.unwrap();
    assert_eq!(store.is_known(&[used.id]).await.unwrap(), vec![true]);
    assert_eq!(store.totals().await.unwrap(), before);
    store.forget_segments(&[]).await.unwrap();
}

async fn unused_segments_are_told_in_slices(store: Store) {
    let a = partition(&store).await;
    let lost: Vec<_> = (0..1_500).map(|one| stamped(a, 1_000, one)).collect();
    store.settle(&lost).await.unwrap();
    store.raise_floor(HOUR).await.unwrap();
    let (first, count) = store.unused_segments().await.unwrap();
    assert_eq!((first.len(), count), (1_000, 1_500));
    let ids: Vec<_> = first.iter().map(|one| one.id).collect();
    store.forget_segments(&ids).await.unwrap();
    let (rest, count) = store.unused_segments().await.unwrap();
    assert_eq!((rest.len(), count), (500, 500));
    assert!(rest.iter().all(|one| !ids.contains(&one.id)));
}

async fn segments_with_a_row_are_known(store: Store) {
    let a = partition(&store).await;
    let (live, dead) = (stamped(a, 1_000, 1), stamped(a, 1_000, 2));
    commit(&*store, &live).await;
    store.settle(std::slice::from_ref(&dead)).await.unwrap();
    let orphan = SegmentId(Ulid::from_parts(1_000, 3));
    let known = store.is_known(&[orphan, dead.id, live.id, orphan, dead.id]).await.unwrap();
    assert_eq!(known, vec![false, true, true, false, true]);
    assert_eq!(store.is_known(&[]).await.unwrap(), Vec::<bool>::new());
}
