//! The decorator: every call is timed by outcome and every failure counted by class.

use crate::make::{at, batch, segment};
use streamhouse_metadata::{
    MetadataStore, Metered, Retention, RetentionChange, SqliteStore, TopicId,
};
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::instruments::MetadataMetrics;
use streamhouse_observability::labels::{self, MetadataOperation};
use streamhouse_observability::spans::{self, Arrival};
use streamhouse_observability::testing::{self, Seen};
use tracing::Span;
use uuid::Uuid;

const DURATION: &str = "streamhouse.metadata.duration";
const ERRORS: &str = "streamhouse.metadata.errors";

async fn metered() -> (Metered<SqliteStore>, Seen) {
    let (declare, seen) = testing::in_memory();
    let metrics = MetadataMetrics::declare(&declare);
    (Metered::new(&metrics, SqliteStore::in_memory().await.unwrap()), seen)
}

fn calls(seen: &Seen, operation: MetadataOperation, outcome: &str) -> u64 {
    seen.count(DURATION, &[("operation", operation.as_str()), ("outcome", outcome)])
}

#[tokio::test]
async fn each_call_is_counted_once_under_its_operation() {
    let (store, seen) = metered().await;
    let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
    store.create_partitions(topic.id, 2).await.unwrap();
    let one = segment(&[(at(&topic, 0), vec![batch(1)])]);
    store.commit(std::slice::from_ref(&one)).await.unwrap();
    store.settle(&[one]).await.unwrap();
    store.locate(&[]).await.unwrap();
    store.locate_time(at(&topic, 0), 0).await.unwrap();
    store.watermarks(&[]).await.unwrap();
    store.topics().await.unwrap();
    store.init_producer(None).await.unwrap();
    let agent = Uuid::new_v4();
    store.register_agent(agent, "localhost", 1, 1_000).await.unwrap();
    store.agents().await.unwrap();
    store.remove_agent(agent).await.unwrap();
    store.cluster_id().await.unwrap();
    store.totals().await.unwrap();
    store.ping().await.unwrap();
    store.set_retention(topic.id, RetentionChange::default()).await.unwrap();
    store.groups().await.unwrap();
    store.take_groups(&["g".into()], true).await.unwrap();
    store.begin_generation("g", 1, 1, "consumer", 1, None).await.unwrap();
    store.commit_offsets(&[]).await.unwrap();
    store.offsets(&[]).await.unwrap();
    store.delete_group("g", 1).await.unwrap();
    store.expire_groups(1_000).await.unwrap();
    store.trim(&[]).await.unwrap();
    store.positions(&[]).await.unwrap();
    store.raise_floor(1_000).await.unwrap();
    store.unused_segments().await.unwrap();
    store.forget_segments(&[]).await.unwrap();
    store.is_known(&[]).await.unwrap();
    store.delete_topic(topic.id).await.unwrap();

    use MetadataOperation as Op;
    for (operation, expected) in [
        (Op::Commit, 1),
        (Op::Locate, 3),
        (Op::Watermarks, 1),
        (Op::Topics, 1),
        (Op::Alter, 4),
        (Op::Producer, 1),
        (Op::Fate, 1),
        (Op::Agents, 3),
        (Op::Stats, 2),
        (Op::Groups, 5),
        (Op::Offsets, 2),
        (Op::Trim, 1),
        (Op::Garbage, 4),
        (Op::Ping, 1),
    ] {
        assert_eq!(calls(&seen, operation, "ok"), expected, "{operation:?}");
    }
    assert_eq!(seen.count(DURATION, &[]), 30);
    assert_eq!(seen.count(ERRORS, &[]), 0);
}

#[tokio::test]
async fn failures_are_counted_by_class() {
    let (store, seen) = metered().await;
    store.create_topic("t", 1, Retention::default()).await.unwrap();
    store.create_topic("t", 1, Retention::default()).await.unwrap_err();
    store.create_topic("t", 0, Retention::default()).await.unwrap_err();
    store.delete_topic(TopicId(Uuid::nil())).await.unwrap_err();
    assert_eq!(calls(&seen, MetadataOperation::Alter, "error"), 3);
    for class in ["conflict", "refused", "not_found"] {
        let labels = [("operation", "alter"), ("error", class)];
        assert_eq!(seen.count(ERRORS, &labels), 1, "{class}");
    }
}

#[tokio::test]
async fn a_dropped_call_counts_as_cancelled() {
    let (store, seen) = metered().await;
    {
        let call = store.ping();
        tokio::pin!(call);
        assert!(futures_util::poll!(&mut call).is_pending());
    }
    assert_eq!(calls(&seen, MetadataOperation::Ping, "cancelled"), 1);
    assert_eq!(calls(&seen, MetadataOperation::Ping, "ok"), 0);
    assert_eq!(seen.count(ERRORS, &[]), 0);
}

#[tokio::test]
async fn every_series_of_errors_exists_from_the_start() {
    let (_store, seen) = metered().await;
    let expected = MetadataOperation::ALL.len() * labels::MetadataError::ALL.len();
    assert_eq!(seen.series(ERRORS).len(), expected);
}

#[tokio::test]
async fn a_call_within_a_traced_request_is_a_span_that_tells_its_failure() {
    let (store, _seen) = metered().await;
    let traces = testing::traces(1.0);
    let request = traces.requests().begin(Arrival::now(), &[]);
    let work = async {
        store.ping().await.unwrap();
        store.create_topic("t", 0, Retention::default()).await.unwrap_err();
    };
    request.run(|| spans::produce_request(1, 1), work).await;
    request.finish(false, Span::none).unwrap();

    let spans = traces.named("metadata");
    let shown: Vec<_> = spans
        .iter()
        .map(|span| {
            let value = |key| {
                let pair = span.attributes.iter().find(|pair| pair.key.as_str() == key);
                pair.map(|pair| pair.value.to_string())
            };
            (value("db.operation.name"), value("error.type"))
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(shown, vec![(some("ping"), None), (some("alter"), some("refused"))]);
}
