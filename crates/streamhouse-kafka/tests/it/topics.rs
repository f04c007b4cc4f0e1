//! Topics as clients and metrics see them.

use crate::server::{Server, eventually};
use crate::versions::fetch;
use crate::wire::{error_codes, metadata, name};
use kafka_protocol::messages::DeleteTopicsRequest;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_kafka::BrokerConfig;
use streamhouse_metadata::{MetadataStore, Retention, SqliteStore};
use streamhouse_observability::spans::Requests;
use streamhouse_storage::testing::BatchSpec;
use uuid::Uuid;

const RECORDS: &str = "streamhouse.producer.records";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_for_a_topic_creates_it_only_where_both_sides_allow_it() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    let timid = metadata(&["timid"]).with_allow_auto_topic_creation(false);
    assert_eq!(error_codes(&wire.ask(&timid, 9).await), [3]);
    assert_eq!(error_codes(&wire.ask(&metadata(&["bold"]), 9).await), [0]);
    let strict = BrokerConfig { auto_create_topics: false, ..BrokerConfig::default() };
    let server = Server::with(strict).await;
    let mut wire = server.wire().await;
    assert_eq!(error_codes(&wire.ask(&metadata(&["bold"]), 9).await), [3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topics_series_begin_at_its_creation_and_end_with_its_deletion() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let labels = [("topic", "orders")];
    assert_eq!(server.seen.value(RECORDS, &labels), Some(0.0), "at 0 before the first record");
    let throttled = [("topic", "orders"), ("error", "throttling")];
    assert_eq!(server.seen.value("streamhouse.producer.errors", &throttled), Some(0.0));
    wire.produce("orders", 0, BatchSpec::new(3).encode()).await;
    let doomed = DeleteTopicsRequest::default().with_topic_names(vec![name("orders")]);
    wire.ask(&doomed, 5).await;
    server.seen.skip(Duration::from_secs(120));
    eventually("the end of the series", || {
        server.seen.text(); // an ended counter stays until a scrape has shown its last value
        let series = server.seen.series(RECORDS);
        let left = series.iter().any(|one| one.labels.iter().any(|(_, value)| value == "orders"));
        (!left).then_some(())
    })
    .await;
    let answer = wire.produce("orders", 0, BatchSpec::new(3).encode()).await;
    assert_eq!(answer.error_code, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_created_again_begins_at_offset_0() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    wire.produce("orders", 0, BatchSpec::new(3).encode()).await;
    let doomed = DeleteTopicsRequest::default().with_topic_names(vec![name("orders")]);
    wire.ask(&doomed, 5).await;
    wire.topic("orders").await;
    assert_eq!(wire.produce("orders", 0, BatchSpec::new(2).encode()).await.base_offset, 0);
    let fetched = wire.ask(&fetch("orders", &[(0, 0)]), 12).await;
    assert_eq!(fetched.responses[0].partitions[0].high_watermark, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_fetch_ends_when_its_topic_is_deleted() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let waiting = fetch("orders", &[(0, 0)]).with_min_bytes(1).with_max_wait_ms(60_000);
    wire.send(&waiting, 12).await;
    let mut other = server.wire().await;
    let doomed = DeleteTopicsRequest::default().with_topic_names(vec![name("orders")]);
    other.ask(&doomed, 5).await;
    let (_, fetched) = wire.receive::<kafka_protocol::messages::FetchRequest>(12).await;
    assert_eq!(fetched.responses[0].partitions[0].error_code, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_topics_share_one_series_and_do_not_hammer_the_store() {
    let config = BrokerConfig {
        refresh: Duration::from_secs(600),
        refresh_on_miss: Duration::from_secs(600),
        ..BrokerConfig::default()
    };
    let server = Server::with(config).await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    for n in 0..100 {
        let answer = wire.produce(&format!("made-up-{n}"), 0, BatchSpec::new(1).encode()).await;
        assert_eq!(answer.error_code, 3);
    }
    let unknown = [("topic", "<unknown>"), ("error", "unknown_topic")];
    assert_eq!(server.count("streamhouse.producer.errors", &unknown), 100);
    assert_eq!(server.seen.series(RECORDS).len(), 2);
    // One reading at the start and none for the names: a topic made behind the broker stays unknown.
    server.metadata.create_topic("behind", 1, Retention::default()).await.unwrap();
    assert_eq!(wire.produce("behind", 0, BatchSpec::new(1).encode()).await.error_code, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_on_one_store_share_topics_and_partitions() {
    let metadata_store: Arc<dyn MetadataStore> = Arc::new(SqliteStore::in_memory().await.unwrap());
    let config = || BrokerConfig {
        refresh: Duration::from_millis(20),
        refresh_on_miss: Duration::ZERO,
        incarnation: Uuid::new_v4(),
        ..BrokerConfig::default()
    };
    let one = Server::on(metadata_store.clone(), config(), Requests::untraced()).await;
    let two = Server::on(metadata_store, config(), Requests::untraced()).await;
    one.gauge("streamhouse.agents.active", 2.0).await;
    two.gauge("streamhouse.agents.active", 2.0).await;
    let mut wire = one.wire().await;
    wire.topic("orders").await;
    let mut other = two.wire().await;
    let seen = other.ask(&metadata(&["orders"]).with_allow_auto_topic_creation(false), 9).await;
    assert_eq!(error_codes(&seen), [0], "found on a miss");
    let told = wire.ask(&metadata(&["orders"]), 9).await;
    assert_eq!(told.brokers.len(), 2);
    assert_eq!(
        told.topics[0].partitions[0].leader_id, seen.topics[0].partitions[0].leader_id,
        "both prefer the same agent"
    );
    let first = wire.produce("orders", 0, BatchSpec::new(2).encode()).await;
    let second = other.produce("orders", 0, BatchSpec::new(2).encode()).await;
    assert_eq!((first.base_offset, second.base_offset), (0, 2));
    two.shutdown.cancel();
    one.gauge("streamhouse.agents.active", 1.0).await;
}
