//! The number of statements does not grow.

use crate::make::{at, batch, from, segment};
use std::sync::Arc;
use streamhouse_metadata::{
    Batch, CommittedOffset, Locate, MetadataStore, OffsetCommit, OffsetCommitOutcome, Retention,
    SegmentId, SqliteStore, TopicPartition, Trim, TrimOutcome,
};

async fn statements_of_a_commit(partitions: i32, segments: usize, batches: i32) -> u64 {
    let store = SqliteStore::in_memory().await.unwrap();
    let topic = store.create_topic("t", partitions, Retention::default()).await.unwrap();
    let producer = store.init_producer(None).await.unwrap();
    let segments: Vec<_> = (0..segments)
        .map(|number| {
            let sequence = |batch| (number as i32 * batches + batch) * 2;
            let blocks: Vec<_> = (0..partitions)
                .map(|partition| {
                    let claimed = |one| from(producer.id, 0, sequence(one), 2);
                    (at(&topic, partition), (0..batches).map(claimed).collect())
                })
                .collect();
            segment(&blocks)
        })
        .collect();
    // The sweeper looks once after the start; it must not be counted.
    store.ping().await.unwrap();
    let before = store.statements();
    let outcomes = store.commit(&segments).await.unwrap();
    assert!(
        outcomes
            .iter()
            .flatten()
            .all(|one| { matches!(one, streamhouse_metadata::BatchOutcome::Committed(_)) })
    );
    store.statements() - before
}

#[tokio::test]
async fn a_commit_has_the_same_number_of_statements_whatever_it_holds() {
    let one = statements_of_a_commit(1, 1, 1).await;
    assert_eq!(one, 9);
    for (partitions, segments, batches) in
        [(16, 1, 1), (200, 1, 1), (1_000, 1, 1), (16, 8, 1), (16, 1, 20)]
    {
        let many = statements_of_a_commit(partitions, segments, batches).await;
        assert_eq!(many, one, "{partitions} partitions, {segments} segments, {batches} batches");
    }
}

#[tokio::test]
async fn reads_take_one_statement_whatever_is_asked() {
    let store = SqliteStore::in_memory().await.unwrap();
    let topic = store.create_topic("t", 200, Retention::default()).await.unwrap();
    let blocks: Vec<_> = (0..200).map(|one| (at(&topic, one), vec![batch(1)])).collect();
    store.commit(&[segment(&blocks)]).await.unwrap();
    let partitions: Vec<_> = (0..200).map(|one| at(&topic, one)).collect();
    let wanted: Vec<_> = partitions
        .iter()
        .map(|one| Locate { partition: *one, offset: 0, max_bytes: 1_000 })
        .collect();
    store.ping().await.unwrap();

    let before = store.statements();
    assert_eq!(store.locate(&wanted).await.unwrap().iter().flatten().count(), 200);
    assert_eq!(store.statements() - before, 1);
    let before = store.statements();
    assert_eq!(store.watermarks(&partitions).await.unwrap().iter().flatten().count(), 200);
    assert_eq!(store.statements() - before, 1);
}

/// Statements of an offset commit, of taking its groups, and of reading the offsets.
async fn statements_of_groups(groups: usize, partitions: i32) -> (u64, u64, u64) {
    let store = SqliteStore::in_memory().await.unwrap();
    let topic = store.create_topic("t", partitions, Retention::default()).await.unwrap();
    let names: Vec<Arc<str>> = (0..groups).map(|one| format!("g{one}").into()).collect();
    store.ping().await.unwrap();
    let begun = store.statements();
    let taken = store.take_groups(&names, true).await.unwrap();
    let taking = store.statements() - begun;
    let place =
        CommittedOffset { offset: 1, leader_epoch: -1, metadata: "".into(), committed_ms: 0 };
    let commits: Vec<_> = taken
        .iter()
        .flatten()
        .map(|group| OffsetCommit {
            group: group.name.clone(),
            epoch: group.epoch,
            generation: Some(0),
            offsets: (0..partitions).map(|one| (at(&topic, one), place.clone())).collect(),
        })
        .collect();
    let begun = store.statements();
    let outcomes = store.commit_offsets(&commits).await.unwrap();
    let committing = store.statements() - begun;
    let committed = |one: &&OffsetCommitOutcome| matches!(one, OffsetCommitOutcome::Committed { unknown, .. } if unknown.is_empty());
    assert_eq!(outcomes.iter().filter(committed).count(), groups);
    let begun = store.statements();
    let found = store.offsets(&names).await.unwrap();
    assert!(found.iter().all(|one| one.len() == partitions as usize));
    (taking, committing, store.statements() - begun)
}

#[tokio::test]
async fn groups_and_offsets_take_the_same_number_of_statements_whatever_they_hold() {
    let one = statements_of_groups(1, 1).await;
    assert_eq!(one, (4, 6, 1));
    for (groups, partitions) in [(1, 300), (100, 1), (50, 50)] {
        let many = statements_of_groups(groups, partitions).await;
        assert_eq!(many, one, "{groups} groups, {partitions} partitions");
    }
}

/// Statements of a trim that moves starts, removes rows and looks at others again.
async fn statements_of_a_trim(partitions: i32, runs: usize) -> u64 {
    let store = SqliteStore::in_memory().await.unwrap();
    let topic = store.create_topic("t", partitions, Retention::default()).await.unwrap();
    let all: Vec<TopicPartition> = (0..partitions).map(|one| at(&topic, one)).collect();
    let future = Batch { max_timestamp_ms: 9_000_000_000_000, ..batch(1) };
    let mut blocks: Vec<_> = all.iter().map(|one| (*one, vec![future.clone()])).collect();
    for _ in 0..runs {
        blocks.extend(all.iter().map(|one| (*one, vec![batch(1)])));
    }
    store.commit(&[segment(&blocks)]).await.unwrap();
    let wanted: Vec<_> = all.iter().map(|one| (*one, Trim::To(1))).collect();
    store.ping().await.unwrap();
    let before = store.statements();
    let outcomes = store.trim(&wanted).await.unwrap();
    assert!(outcomes.iter().all(|one| matches!(one, TrimOutcome::Trimmed(_))));
    store.statements() - before
}

#[tokio::test]
async fn a_trim_has_the_same_number_of_statements_whatever_it_removes() {
    let one = statements_of_a_trim(1, 1).await;
    for (partitions, runs) in [(200, 1), (1, 2_000), (50, 5)] {
        let many = statements_of_a_trim(partitions, runs).await;
        assert_eq!(many, one, "{partitions} partitions, {runs} runs");
    }
}

#[tokio::test]
async fn garbage_and_positions_take_the_same_number_of_statements_whatever_is_asked() {
    let store = SqliteStore::in_memory().await.unwrap();
    let topic = store.create_topic("t", 200, Retention::default()).await.unwrap();
    let lost: Vec<_> = (0..300).map(|_| segment(&[(at(&topic, 0), vec![batch(1)])])).collect();
    store.settle(&lost).await.unwrap();
    let blocks: Vec<_> = (0..200).map(|one| (at(&topic, one), vec![batch(1)])).collect();
    store.commit(&[segment(&blocks)]).await.unwrap();
    let wanted: Vec<_> = (0..200).map(|one| (at(&topic, one), 0)).collect();
    let ids: Vec<SegmentId> = lost.iter().map(|one| one.id).collect();

    let mut counts = Vec::new();
    for part in [1, 200] {
        let before = store.statements();
        let found = store.positions(&wanted[..part]).await.unwrap();
        assert_eq!(found.iter().flatten().count(), part);
        let positions = store.statements() - before;
        store.is_known(&ids[..part]).await.unwrap();
        let known = store.statements() - before - positions;
        store.forget_segments(&ids[..part]).await.unwrap();
        store.unused_segments().await.unwrap();
        counts.push((positions, known, store.statements() - before));
    }
    assert_eq!(counts, [(1, 1, 10), (1, 1, 10)]);
}
