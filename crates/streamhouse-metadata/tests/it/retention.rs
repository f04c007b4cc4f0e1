//! How much of a topic is kept, of every store.

use crate::conformance::Store;
use streamhouse_metadata::{MetadataError, Retention, RetentionChange};

conformance! {
    a_topic_tells_its_retention_and_changes_it_field_by_field,
    a_retention_below_no_limit_is_refused,
}

async fn a_topic_tells_its_retention_and_changes_it_field_by_field(store: Store) {
    let own = Retention { ms: Some(5_000), bytes: None };
    let topic = store.create_topic("t", 1, own).await.unwrap();
    assert_eq!(topic.retention, own);
    assert_eq!(store.create_partitions(topic.id, 2).await.unwrap().retention, own);

    let none = RetentionChange::default();
    let mut expected = streamhouse_metadata::Topic { partitions: 2, ..topic.clone() };
    assert_eq!(store.set_retention(topic.id, none).await.unwrap(), expected);
    for (change, ms, bytes) in [
        (RetentionChange { bytes: Some(Some(7)), ..none }, Some(5_000), Some(7)),
        (RetentionChange { ms: Some(None), ..none }, None, Some(7)),
        (RetentionChange { ms: Some(Some(-1)), bytes: Some(None) }, Some(-1), None),
        (RetentionChange { ms: Some(Some(0)), bytes: Some(Some(0)) }, Some(0), Some(0)),
    ] {
        expected.retention = Retention { ms, bytes };
        assert_eq!(store.set_retention(topic.id, change).await.unwrap(), expected);
        assert_eq!(store.topics().await.unwrap(), vec![expected.clone()]);
    }
    store.delete_topic(topic.id).await.unwrap();
    let error = store.set_retention(topic.id, none).await.unwrap_err();
    assert!(matches!(error, MetadataError::NotFound(_)), "{error}");
}

async fn a_retention_below_no_limit_is_refused(store: Store) {
    let below = Retention { ms: Some(-2), bytes: None };
    let error = store.create_topic("t", 1, below).await.unwrap_err();
    assert!(error.to_string().contains("retention.ms cannot be -2"), "{error}");
    let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
    let below = RetentionChange { ms: None, bytes: Some(Some(-7)) };
    let error = store.set_retention(topic.id, below).await.unwrap_err();
    assert!(error.to_string().contains("retention.bytes cannot be -7"), "{error}");
    assert_eq!(store.topics().await.unwrap(), vec![topic]);
}
