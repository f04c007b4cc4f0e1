//! The number of statements does not grow.

use crate::make::{at, batch, from, segment};
use streamhouse_metadata::{Locate, MetadataStore, SqliteStore};

async fn statements_of_a_commit(partitions: i32, segments: usize, batches: i32) -> u64 {
    let store = SqliteStore::in_memory().await.unwrap();
    let topic = store.create_topic("t", partitions).await.unwrap();
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
    assert!(one <= 10, "{one} statements");
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
    let topic = store.create_topic("t", 200).await.unwrap();
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
