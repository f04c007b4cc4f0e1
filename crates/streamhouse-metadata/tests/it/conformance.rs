//! What every metadata store must do, run over each store and each decorator.

use crate::make::{append, at, batch, commit, from, object, segment};
use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::BatchOutcome::{Committed, Duplicate, Rejected};
use streamhouse_metadata::{
    IndexRow, Locate, Located, MetadataError, MetadataStore, Metered, ProducerIdentity, Rejection,
    Retention, Segment, SqliteOptions, SqliteStore, Topic, TopicPartition, Totals, Watermarks,
};
use streamhouse_observability::instruments::MetadataMetrics;
use streamhouse_observability::testing;
use uuid::Uuid;

pub type Store = Arc<dyn MetadataStore>;

/// Makes each named case a test of each store.
macro_rules! conformance {
    ($($case:ident,)+) => {
        mod sqlite {
            $(#[tokio::test] async fn $case() {
                super::$case($crate::conformance::sqlite().await).await
            })+
        }
        mod metered {
            $(#[tokio::test] async fn $case() {
                super::$case($crate::conformance::metered().await).await
            })+
        }
    };
}

conformance! {
    offsets_are_consecutive_in_the_order_of_segments_blocks_and_batches,
    no_outcome_stops_the_others,
    a_run_is_cut_at_gaps_and_at_block_borders,
    a_repeated_commit_answers_what_the_first_did,
    settling_finds_what_was_committed_and_forbids_what_was_not,
    a_repeated_batch_is_a_duplicate_and_takes_no_offset,
    sequences_are_judged_within_one_commit,
    a_producer_that_raised_its_epoch_fences_its_former_self,
    rows_are_found_from_any_offset_and_bounded_by_bytes,
    ends_are_told_in_the_order_of_the_question,
    the_first_row_of_a_time_is_found,
    a_topic_created_again_has_no_data_of_the_former,
    topics_grow_and_never_shrink,
    names_and_numbers_are_checked,
    committers_at_the_same_time_share_no_offset,
    producer_ids_are_never_given_twice,
    an_agent_keeps_its_number_and_loses_it_with_its_lease,
    totals_follow_what_is_stored,
    a_malformed_segment_is_refused_as_a_whole,
    empty_input_is_answered_with_nothing,
}

/// Takes append times as they come, so that tests may count them from 0.
async fn in_memory() -> SqliteStore {
    let options = SqliteOptions { append_lag: Duration::MAX, ..SqliteOptions::default() };
    SqliteStore::in_memory_with(options).await.unwrap()
}

pub async fn sqlite() -> Store {
    Arc::new(in_memory().await)
}

pub async fn metered() -> Store {
    let (declare, _seen) = testing::in_memory();
    let metrics = MetadataMetrics::declare(&declare);
    Arc::new(Metered::new(&metrics, in_memory().await))
}

async fn locate(store: &Store, partition: TopicPartition, offset: i64, max_bytes: u64) -> Located {
    let wanted = Locate { partition, offset, max_bytes };
    store.locate(&[wanted]).await.unwrap().remove(0).unwrap()
}

fn offsets(located: &Located) -> Vec<(i64, i64)> {
    located.rows.iter().map(|row| (row.base_offset, row.next_offset)).collect()
}

async fn offsets_are_consecutive_in_the_order_of_segments_blocks_and_batches(store: Store) {
    let topic = store.create_topic("t", 2, Retention::default()).await.unwrap();
    let (a, b) = (at(&topic, 0), at(&topic, 1));
    let first = segment(&[(a, vec![batch(3), batch(2)]), (b, vec![batch(7)]), (a, vec![batch(1)])]);
    let second = segment(&[(b, vec![batch(1)]), (a, vec![batch(4)])]);
    let outcomes = store.commit(&[first, second]).await.unwrap();
    assert_eq!(
        outcomes,
        vec![
            vec![Committed(0), Committed(3), Committed(0), Committed(5)],
            vec![Committed(7), Committed(6)],
        ]
    );
    let ends = store.watermarks(&[b, a]).await.unwrap();
    let ends: Vec<_> = ends.into_iter().flatten().map(|one| one.high_watermark).collect();
    assert_eq!(ends, vec![8, 10]);
}

async fn no_outcome_stops_the_others(store: Store) {
    let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
    let gone = store.create_topic("gone", 1, Retention::default()).await.unwrap();
    store.delete_topic(gone.id).await.unwrap();
    let outcomes = commit(
        &*store,
        &segment(&[
            (at(&gone, 0), vec![batch(1), batch(1)]),
            (at(&topic, 9), vec![batch(1)]),
            (at(&topic, 0), vec![batch(1), from(1, 0, 5, 1), batch(1)]),
        ]),
    )
    .await;
    let unknown = Rejected(Rejection::UnknownPartition);
    let no_producer = Rejected(Rejection::UnknownProducer);
    assert_eq!(outcomes, vec![unknown, unknown, unknown, Committed(0), no_producer, Committed(1)]);
}

async fn a_run_is_cut_at_gaps_and_at_block_borders(store: Store) {
    let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
    let a = at(&topic, 0);
    let late = streamhouse_metadata::Batch { max_timestamp_ms: 9_999, ..batch(1) };
    let one =
        segment(&[(a, vec![batch(2), late, from(1, 0, 5, 1), batch(4)]), (a, vec![batch(8)])]);
    commit(&*store, &one).await;
    let row = |base_offset, next_offset, block: usize, position, length, max_timestamp_ms| {
        let block = &one.blocks[block];
        IndexRow {
            base_offset,
            next_offset,
            object: object(one.id),
            block_position: block.position,
            block_length: block.length,
            block_crc: 0xdead_beef,
            position,
            length,
            max_timestamp_ms,
            append_time_ms: 5_000,
        }
    };
    let located = locate(&store, a, 0, 1_000_000).await;
    assert_eq!(
        located.rows,
        vec![
            row(0, 3, 0, 0, 200, 9_999),
            row(3, 7, 0, 300, 100, 1_004),
            row(7, 15, 1, 0, 100, 1_008),
        ]
    );
}

async fn a_repeated_commit_answers_what_the_first_did(store: Store) {
    let topic = store.create_topic("t", 2, Retention::default()).await.unwrap();
    let one = segment(&[
        (at(&topic, 0), vec![batch(2), from(1, 0, 0, 3), from(1, 0, 0, 3), from(1, 0, 9, 1)]),
        (at(&topic, 7), vec![batch(1)]),
        (at(&topic, 1), vec![from(2, 0, 1, 1), batch(5)]),
    ]);
    let first = commit(&*store, &one).await;
    assert_eq!(
        first,
        vec![
            Committed(0),
            Committed(2),
            Duplicate(2),
            Rejected(Rejection::OutOfOrder { expected: 3 }),
            Rejected(Rejection::UnknownPartition),
            Rejected(Rejection::UnknownProducer),
            Committed(0),
        ]
    );
    assert_eq!(commit(&*store, &one).await, first);
    let twice = store.commit(&[one.clone(), one]).await.unwrap();
    assert_eq!(twice, vec![first.clone(), first]);
    assert_eq!(locate(&store, at(&topic, 0), 0, 1_000).await.watermarks.high_watermark, 5);

    let fresh = segment(&[(at(&topic, 0), vec![batch(1)])]);
    let twice = store.commit(&[fresh.clone(), fresh]).await.unwrap();
    assert_eq!(twice, vec![vec![Committed(5)], vec![Committed(5)]]);
}

async fn settling_finds_what_was_committed_and_forbids_what_was_not(store: Store) {
    let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
    let a = at(&topic, 0);
    let stored = segment(&[(a, vec![batch(2), from(1, 0, 4, 1), batch(1)])]);
    let outcomes = commit(&*store, &stored).await;
    let lost = segment(&[(a, vec![batch(2), batch(2)])]);
    let both = [lost.clone(), stored.clone()];
    assert_eq!(store.settle(&both).await.unwrap(), vec![None, Some(outcomes.clone())]);
    assert_eq!(store.settle(&both).await.unwrap(), vec![None, Some(outcomes)]);

    let late = commit(&*store, &lost).await;
    assert_eq!(late, vec![Rejected(Rejection::StaleSegment { floor_ms: 0 }); 2]);
    assert_eq!(append(&*store, a, vec![batch(1)]).await, vec![Committed(3)]);
}

async fn a_repeated_batch_is_a_duplicate_and_takes_no_offset(store: Store) {
    let topic = store.create_topic("t", 2, Retention::default()).await.unwrap();
    let a = at(&topic, 0);
    for sequence in 0..7 {
        let outcome = append(&*store, a, vec![from(5, 0, sequence, 1)]).await;
        assert_eq!(outcome, vec![Committed(i64::from(sequence))]);
    }
    assert_eq!(append(&*store, a, vec![from(5, 0, 2, 1)]).await, vec![Duplicate(2)]);
    let forgotten = vec![Rejected(Rejection::ForgottenDuplicate)];
    assert_eq!(append(&*store, a, vec![from(5, 0, 1, 1)]).await, forgotten);
    let gap = vec![Rejected(Rejection::OutOfOrder { expected: 7 })];
    assert_eq!(append(&*store, a, vec![from(5, 0, 8, 1)]).await, gap);
    let unknown = vec![Rejected(Rejection::UnknownProducer)];
    assert_eq!(append(&*store, at(&topic, 1), vec![from(5, 0, 7, 1)]).await, unknown);
    assert_eq!(append(&*store, a, vec![from(5, 0, 7, 1)]).await, vec![Committed(7)]);
}

async fn sequences_are_judged_within_one_commit(store: Store) {
    let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
    let a = at(&topic, 0);
    let first = segment(&[(a, vec![from(1, 0, 0, 2), from(2, 0, 0, 1), from(1, 0, 2, 2)])]);
    let second = segment(&[(a, vec![from(1, 0, 2, 2), from(1, 0, 4, 1), from(1, 1, 0, 1)])]);
    assert_eq!(
        store.commit(&[first, second]).await.unwrap(),
        vec![
            vec![Committed(0), Committed(2), Committed(3)],
            vec![Duplicate(3), Committed(5), Committed(6)],
        ]
    );
    let fenced = vec![Rejected(Rejection::Fenced)];
    assert_eq!(append(&*store, a, vec![from(1, 0, 5, 1)]).await, fenced);
    assert_eq!(append(&*store, a, vec![from(1, 1, 1, 1)]).await, vec![Committed(7)]);
}

async fn a_producer_that_raised_its_epoch_fences_its_former_self(store: Store) {
    let topic = store.create_topic("t", 2, Retention::default()).await.unwrap();
    let old = store.init_producer(None).await.unwrap();
    append(&*store, at(&topic, 0), vec![from(old.id, 0, 0, 1)]).await;
    let new = store.init_producer(Some(old)).await.unwrap();
    assert_eq!(new, ProducerIdentity { id: old.id, epoch: 1 });
    let again = store.init_producer(Some(old)).await;
    assert!(matches!(again, Err(MetadataError::Fenced { epoch: 0, .. })), "{again:?}");

    let fenced = vec![Rejected(Rejection::Fenced)];
    for partition in [0, 1] {
        let old = append(&*store, at(&topic, partition), vec![from(old.id, 0, 0, 1)]).await;
        assert_eq!(old, fenced);
    }
    let accepted = append(&*store, at(&topic, 0), vec![from(old.id, 1, 0, 1)]).await;
    assert_eq!(accepted, vec![Committed(1)]);

    let ahead = ProducerIdentity { id: old.id, epoch: i16::MAX - 1 };
    let last = store.init_producer(Some(ahead)).await.unwrap();
    assert_eq!(last, ProducerIdentity { id: old.id, epoch: i16::MAX });
    let fresh = store.init_producer(Some(last)).await.unwrap();
    assert_eq!(fresh.epoch, 0);
    assert_ne!(fresh.id, old.id);
}

async fn rows_are_found_from_any_offset_and_bounded_by_bytes(store: Store) {
    let topic = store.create_topic("t", 3, Retention::default()).await.unwrap();
    let (a, b) = (at(&topic, 0), at(&topic, 1));
    for _ in 0..5 {
        commit(&*store, &segment(&[(a, vec![batch(10)]), (b, vec![batch(1)])])).await;
    }
    assert_eq!(offsets(&locate(&store, a, 0, 0).await), vec![(0, 10)]);
    assert_eq!(offsets(&locate(&store, a, 9, 100).await), vec![(0, 10)]);
    assert_eq!(offsets(&locate(&store, a, 10, 101).await), vec![(10, 20), (20, 30)]);
    let rest = vec![(20, 30), (30, 40), (40, 50)];
    assert_eq!(offsets(&locate(&store, a, 25, u64::MAX).await), rest);
    assert_eq!(offsets(&locate(&store, a, -5, 1).await), vec![(0, 10)]);
    for beyond in [50, 51, i64::MAX] {
        let end = locate(&store, a, beyond, 100).await;
        assert_eq!(end.watermarks, Watermarks { log_start: 0, high_watermark: 50 });
        assert_eq!(end.rows, vec![]);
    }
    let wanted = [
        Locate { partition: b, offset: 4, max_bytes: 100 },
        Locate { partition: at(&topic, 9), offset: 0, max_bytes: 100 },
        Locate { partition: at(&topic, 2), offset: 0, max_bytes: 100 },
        Locate { partition: a, offset: 40, max_bytes: 100 },
        Locate { partition: b, offset: 0, max_bytes: 150 },
    ];
    let located = store.locate(&wanted).await.unwrap();
    let shown: Vec<_> = located.iter().map(|one| one.as_ref().map(offsets)).collect();
    assert_eq!(
        shown,
        vec![
            Some(vec![(4, 5)]),
            None,
            Some(vec![]),
            Some(vec![(40, 50)]),
            Some(vec![(0, 1), (1, 2)]),
        ]
    );
    assert_eq!(store.watermarks(&[at(&topic, 9)]).await.unwrap(), vec![None]);
}

async fn ends_are_told_in_the_order_of_the_question(store: Store) {
    let (a, b) = (
        store.create_topic("a", 6, Retention::default()).await.unwrap(),
        store.create_topic("b", 3, Retention::default()).await.unwrap(),
    );
    let mut blocks: Vec<_> = (0..6).map(|n| (at(&a, n), vec![batch(10 + n)])).collect();
    blocks.extend((0..3).map(|n| (at(&b, n), vec![batch(20 + n)])));
    commit(&*store, &segment(&blocks)).await;
    for (question, what) in [
        // Whole topics, a range that goes beyond the last partition, and back again.
        (vec![(&a, 0), (&a, 1), (&a, 2), (&b, 0), (&b, 1), (&b, 2), (&b, 3), (&a, 5)], "ranges"),
        (vec![(&b, 2), (&b, 1), (&a, 3), (&a, 3), (&a, 4), (&b, 5), (&a, -1), (&a, 0)], "mixed"),
        (vec![(&a, i32::MAX), (&a, i32::MIN), (&a, i32::MIN + 1)], "none"),
    ] {
        let partitions: Vec<_> = question.iter().map(|(topic, n)| at(topic, *n)).collect();
        let told = store.watermarks(&partitions).await.unwrap();
        let ends: Vec<_> = told.iter().map(|one| one.map(|ends| ends.high_watermark)).collect();
        let right = |(topic, n): &(&Topic, i32)| {
            let (first, count) = if topic.id == a.id { (10, 6) } else { (20, 3) };
            (0..count).contains(n).then(|| i64::from(first + n))
        };
        assert_eq!(ends, question.iter().map(right).collect::<Vec<_>>(), "{what}");
    }
}

async fn the_first_row_of_a_time_is_found(store: Store) {
    let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
    let a = at(&topic, 0);
    assert_eq!(store.max_timestamp(a).await.unwrap(), None);
    for time in [100, 300, 200, 400] {
        let one = streamhouse_metadata::Batch { max_timestamp_ms: time, ..batch(1) };
        append(&*store, a, vec![one]).await;
    }
    for (time, offset) in [(0, 0), (100, 0), (101, 1), (300, 1), (301, 3), (400, 3)] {
        let row = store.locate_time(a, time).await.unwrap().unwrap();
        assert_eq!(row.base_offset, offset, "time {time}");
    }
    assert_eq!(store.locate_time(a, 401).await.unwrap(), None);
    assert_eq!(store.max_timestamp(a).await.unwrap(), Some(400));
    assert_eq!(store.max_timestamp(at(&topic, 5)).await.unwrap(), None);
    assert_eq!(store.locate_time(at(&topic, 5), 0).await.unwrap(), None);
}

async fn a_topic_created_again_has_no_data_of_the_former(store: Store) {
    let former = store.create_topic("orders", 1, Retention::default()).await.unwrap();
    append(&*store, at(&former, 0), vec![from(1, 0, 0, 5)]).await;
    store.delete_topic(former.id).await.unwrap();
    let error = store.delete_topic(former.id).await.unwrap_err();
    assert!(matches!(error, MetadataError::NotFound(_)), "{error}");
    let next = store.create_topic("orders", 1, Retention::default()).await.unwrap();
    assert_ne!(next.id, former.id);

    let late = append(&*store, at(&former, 0), vec![batch(1)]).await;
    assert_eq!(late, vec![Rejected(Rejection::UnknownPartition)]);
    let located = locate(&store, at(&next, 0), 0, 100).await;
    assert_eq!(located.watermarks, Watermarks { log_start: 0, high_watermark: 0 });
    assert_eq!(located.rows, vec![]);
    let wanted = Locate { partition: at(&former, 0), offset: 0, max_bytes: 1 };
    assert_eq!(store.locate(&[wanted]).await.unwrap(), vec![None]);
    // The former producer state is gone with the topic.
    let unknown = vec![Rejected(Rejection::UnknownProducer)];
    assert_eq!(append(&*store, at(&next, 0), vec![from(1, 0, 5, 1)]).await, unknown);
    assert_eq!(append(&*store, at(&next, 0), vec![batch(1)]).await, vec![Committed(0)]);
}

async fn topics_grow_and_never_shrink(store: Store) {
    let b = store.create_topic("b", 2, Retention::default()).await.unwrap();
    let a = store.create_topic("a", 1, Retention::default()).await.unwrap();
    assert_eq!(store.topics().await.unwrap(), vec![a.clone(), b.clone()]);
    let exists = store.create_topic("a", 3, Retention::default()).await.unwrap_err();
    assert!(matches!(exists, MetadataError::AlreadyExists(_)), "{exists}");

    append(&*store, at(&b, 1), vec![batch(4)]).await;
    let grown = store.create_partitions(b.id, 5).await.unwrap();
    assert_eq!(grown, streamhouse_metadata::Topic { partitions: 5, ..b.clone() });
    let all: Vec<_> = (0..6).map(|one| at(&b, one)).collect();
    let ends: Vec<_> = store.watermarks(&all).await.unwrap();
    let ends: Vec<_> = ends.iter().map(|one| one.map(|one| one.high_watermark)).collect();
    assert_eq!(ends, vec![Some(0), Some(4), Some(0), Some(0), Some(0), None]);
    for total in [5, 4] {
        let error = store.create_partitions(b.id, total).await.unwrap_err();
        assert!(error.to_string().contains("\"b\" has 5 partitions"), "{error}");
    }
    store.delete_topic(a.id).await.unwrap();
    let error = store.create_partitions(a.id, 9).await.unwrap_err();
    assert!(matches!(error, MetadataError::NotFound(_)), "{error}");
}

async fn names_and_numbers_are_checked(store: Store) {
    for (name, partitions) in [("", 1), ("a b", 1), ("..", 1), ("t", 0), ("t", 10_001)] {
        let error = store.create_topic(name, partitions, Retention::default()).await.unwrap_err();
        assert!(matches!(error, MetadataError::Refused(_)), "{name:?} {partitions}: {error}");
    }
    let topic = store.create_topic("t", 10_000, Retention::default()).await.unwrap();
    let error = store.create_partitions(topic.id, 10_001).await.unwrap_err();
    assert!(error.to_string().contains("10001"), "{error}");
}

async fn committers_at_the_same_time_share_no_offset(store: Store) {
    let topic = store.create_topic("t", 3, Retention::default()).await.unwrap();
    let committer = |store: Store, topic: streamhouse_metadata::Topic| async move {
        let mut taken = Vec::new();
        for _ in 0..25 {
            let blocks: Vec<_> = (0..3).map(|one| (at(&topic, one), vec![batch(2)])).collect();
            let segments: Vec<Segment> = vec![segment(&blocks), segment(&blocks)];
            for outcome in store.commit(&segments).await.unwrap().into_iter().flatten() {
                let Committed(offset) = outcome else { panic!("{outcome:?}") };
                taken.push(offset);
            }
        }
        taken
    };
    let one = tokio::spawn(committer(store.clone(), topic.clone()));
    let two = tokio::spawn(committer(store.clone(), topic.clone()));
    let mut taken = one.await.unwrap();
    taken.extend(two.await.unwrap());
    taken.sort_unstable();
    let expected: Vec<i64> = (0..100).flat_map(|one| [one * 2; 3]).collect();
    assert_eq!(taken, expected);
}

async fn producer_ids_are_never_given_twice(store: Store) {
    let mut ids = Vec::new();
    for _ in 0..20 {
        let fresh = store.init_producer(None).await.unwrap();
        assert_eq!(fresh.epoch, 0);
        ids.push(fresh.id);
    }
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    for id in [-1, 0, 999] {
        let unknown = ProducerIdentity { id, epoch: 0 };
        let error = store.init_producer(Some(unknown)).await.unwrap_err();
        assert!(matches!(error, MetadataError::NotFound(_)), "{error}");
    }
}

async fn an_agent_keeps_its_number_and_loses_it_with_its_lease(store: Store) {
    let hour = 3_600_000;
    let (one, two, three) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let first = store.register_agent(one, "a.example", 9092, hour).await.unwrap();
    let second = store.register_agent(two, "b.example", 9092, hour).await.unwrap();
    assert_eq!((first.id, second.id), (1, 2));
    assert_eq!(store.register_agent(one, "a.example", 9092, hour).await.unwrap(), first);
    assert_eq!(store.agents().await.unwrap(), vec![first.clone(), second.clone()]);

    // A successor at the same address takes over at once.
    let next = store.register_agent(three, "a.example", 9092, hour).await.unwrap();
    assert_eq!((next.id, next.incarnation), (1, three));
    assert_eq!(store.agents().await.unwrap(), vec![next.clone(), second.clone()]);

    // A lease of nothing has run out already.
    store.register_agent(two, "b.example", 9092, 0).await.unwrap();
    assert_eq!(store.agents().await.unwrap(), vec![next.clone()]);
    let fourth = store.register_agent(Uuid::new_v4(), "c.example", 1, hour).await.unwrap();
    assert_eq!(fourth.id, 2);
    store.remove_agent(three).await.unwrap();
    store.remove_agent(three).await.unwrap();
    assert_eq!(store.agents().await.unwrap(), vec![fourth]);
    let error = store.register_agent(two, "b.example", 9092, -1).await.unwrap_err();
    assert!(matches!(error, MetadataError::Refused(_)), "{error}");
}

async fn totals_follow_what_is_stored(store: Store) {
    assert_eq!(store.totals().await.unwrap(), Totals::default());
    let kept = store.create_topic("kept", 2, Retention::default()).await.unwrap();
    let gone = store.create_topic("gone", 3, Retention::default()).await.unwrap();
    let shared = segment(&[(at(&kept, 0), vec![batch(1)]), (at(&gone, 0), vec![batch(1)])]);
    let only = segment(&[(at(&gone, 1), vec![batch(1)]), (at(&gone, 2), vec![batch(1)])]);
    let empty = segment(&[(at(&kept, 9), vec![batch(1)])]);
    store.commit(&[shared.clone(), only.clone(), empty]).await.unwrap();
    let bytes = shared.bytes + only.bytes;
    let all = Totals { topics: 2, partitions: 5, objects: 2, bytes };
    assert_eq!(store.totals().await.unwrap(), all);

    store.delete_topic(gone.id).await.unwrap();
    let left = Totals { topics: 1, partitions: 2, objects: 1, bytes: shared.bytes };
    let swept = async {
        while store.totals().await.unwrap() != left {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), swept).await.unwrap();
    store.ping().await.unwrap();
}

async fn a_malformed_segment_is_refused_as_a_whole(store: Store) {
    let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
    let a = at(&topic, 0);
    let good = segment(&[(a, vec![batch(1)])]);
    let bad = segment(&[(a, vec![batch(1), batch(0)])]);
    let error = store.commit(&[good, bad]).await.unwrap_err();
    assert!(matches!(error, MetadataError::Refused(_)), "{error}");
    assert_eq!(append(&*store, a, vec![batch(1)]).await, vec![Committed(0)]);
}

async fn empty_input_is_answered_with_nothing(store: Store) {
    assert_eq!(store.commit(&[]).await.unwrap(), Vec::<Vec<_>>::new());
    assert_eq!(store.settle(&[]).await.unwrap(), vec![]);
    assert_eq!(store.locate(&[]).await.unwrap(), vec![]);
    assert_eq!(store.watermarks(&[]).await.unwrap(), vec![]);
    let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
    assert_eq!(commit(&*store, &segment(&[])).await, vec![]);
    assert_eq!(commit(&*store, &segment(&[(at(&topic, 0), vec![])])).await, vec![]);
}
