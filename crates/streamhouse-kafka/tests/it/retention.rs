//! Old records leave the log: on request, by age, by size. Configuration decides.

use crate::server::{PATIENCE, Server};
use crate::versions::{fetch, offsets, text};
use crate::wire::{Wire, name};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    AlterConfigsRequest, CreateTopicsRequest, DeleteRecordsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, alter_configs_request, incremental_alter_configs_request,
};
use std::sync::Arc;
use std::time::Duration;
use streamhouse_kafka::BrokerConfig;
use streamhouse_metadata::{
    CommittedOffset, MetadataStore, OffsetCommit, SqliteStore, TopicPartition,
};
use streamhouse_observability::spans::Requests;
use streamhouse_storage::testing::BatchSpec;
use uuid::Uuid;

const REMOVED: &str = "streamhouse.retention.records";
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
/// Where a value comes from: topic, broker, default.
const OF_TOPIC: i8 = 1;
const OF_BROKER: i8 = 4;
const OF_NOBODY: i8 = 5;

/// Looks for old records all the time.
fn eager() -> BrokerConfig {
    BrokerConfig { retention_interval: Duration::from_millis(10), ..BrokerConfig::default() }
}

async fn create(wire: &mut Wire, topic: &str, configs: &[(&str, &str)]) -> (i16, String) {
    let configs = configs.iter().map(|(name, value)| {
        let config = CreatableTopicConfig::default().with_name(text(name));
        config.with_value(Some(text(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(1)
        .with_replication_factor(-1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    let answer = wire.ask(&request, 7).await;
    let message = answer.topics[0].error_message.as_ref().map_or("", |it| it.as_str());
    (answer.topics[0].error_code, message.to_owned())
}

fn deletion(topic: &str, offsets: &[(i32, i64)]) -> DeleteRecordsRequest {
    let partitions = offsets.iter().map(|(partition, offset)| {
        DeleteRecordsPartition::default().with_partition_index(*partition).with_offset(*offset)
    });
    let topic =
        DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(partitions.collect());
    DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(20_000)
}

async fn delete(
    wire: &mut Wire,
    topic: &str,
    offsets: &[(i32, i64)],
    version: i16,
) -> Vec<(i16, i64)> {
    let answer = wire.ask(&deletion(topic, offsets), version).await;
    let partitions = answer.topics[0].partitions.iter();
    partitions.map(|one| (one.error_code, one.low_watermark)).collect()
}

/// The answers to requests for offsets: earliest, latest, the greatest timestamp.
async fn ends(wire: &mut Wire, topic: &str) -> [i64; 3] {
    let answer = wire.ask(&offsets(topic, &[-2, -1, -3]), 7).await;
    let found: Vec<_> = answer.topics[0].partitions.iter().map(|one| one.offset).collect();
    found.try_into().unwrap()
}

async fn code_of_fetch(wire: &mut Wire, topic: &str, offset: i64) -> i16 {
    let answer = wire.ask(&fetch(topic, &[(0, offset)]), 12).await;
    answer.responses[0].partitions[0].error_code
}

fn changing(kind: i8, name: &str, configs: &[(&str, i8, Option<&str>)]) -> Changing {
    let configs = configs.iter().map(|(name, operation, value)| {
        incremental_alter_configs_request::AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    Changing::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.collect())
}

type Changing = incremental_alter_configs_request::AlterConfigsResource;

async fn change(
    wire: &mut Wire,
    resources: Vec<Changing>,
    validate_only: bool,
    version: i16,
) -> Vec<(i16, String)> {
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(resources)
        .with_validate_only(validate_only);
    let answer = wire.ask(&request, version).await;
    let told = answer.responses.into_iter().map(|one| {
        (one.error_code, one.error_message.map_or_else(String::new, |it| it.as_str().to_owned()))
    });
    told.collect()
}

async fn set(wire: &mut Wire, topic: &str, name: &str, value: &str) {
    let resource = changing(TOPIC, topic, &[(name, SET, Some(value))]);
    assert_eq!(change(wire, vec![resource], false, 1).await, [(0, String::new())]);
}

async fn replace(
    wire: &mut Wire,
    topic: &str,
    configs: &[(&str, Option<&str>)],
    validate_only: bool,
    version: i16,
) -> (i16, String) {
    let configs = configs.iter().map(|(name, value)| {
        alter_configs_request::AlterableConfig::default()
            .with_name(text(name))
            .with_value(value.map(text))
    });
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(configs.collect());
    let request = AlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(validate_only);
    let answer = wire.ask(&request, version).await;
    let one = answer.responses[0].clone();
    (one.error_code, one.error_message.map_or_else(String::new, |it| it.as_str().to_owned()))
}

/// `retention.ms` and `retention.bytes` of a topic, with where each comes from.
async fn described(wire: &mut Wire, topic: &str) -> [(String, i8); 2] {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configuration_keys(Some(vec![text("retention.ms"), text("retention.bytes")]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = wire.ask(&request, 4).await;
    let told = answer.results[0].configs.iter().map(|one| {
        assert!(!one.read_only, "{}", one.name);
        (one.value.as_ref().unwrap().as_str().to_owned(), one.config_source)
    });
    told.collect::<Vec<_>>().try_into().unwrap()
}

fn owned(values: [(&str, i8); 2]) -> [(String, i8); 2] {
    values.map(|(value, source)| (value.to_owned(), source))
}

/// Waits until the log of a topic begins at `offset`.
async fn begins_at(wire: &mut Wire, topic: &str, offset: i64) {
    let begins = async {
        while ends(wire, topic).await[0] != offset {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let begun = tokio::time::timeout(PATIENCE, begins).await;
    assert!(begun.is_ok(), "{topic} never began at {offset}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_deleted_on_request_in_every_version() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    for version in 0..=2 {
        let topic = format!("orders-{version}");
        wire.topic(&topic).await;
        for _ in 0..3 {
            wire.produce(&topic, 0, BatchSpec::new(5).encode()).await;
        }
        let told = delete(&mut wire, &topic, &[(0, 7), (0, 8), (1, 0)], version).await;
        assert_eq!(told, [(0, 7), (42, -1), (3, -1)], "a partition may be named once");
        assert_eq!(code_of_fetch(&mut wire, &topic, 6).await, 1, "below the start of the log");
        assert_eq!(code_of_fetch(&mut wire, &topic, 7).await, 0, "within a batch");
        assert_eq!(ends(&mut wire, &topic).await, [7, 15, 9]);
        let told = delete(&mut wire, &topic, &[(0, 3)], version).await;
        assert_eq!(told, [(0, 7)], "a start never moves back");
        assert_eq!(delete(&mut wire, &topic, &[(0, 16)], version).await, [(1, -1)]);
        assert_eq!(delete(&mut wire, &topic, &[(0, -2)], version).await, [(1, -1)]);
        assert_eq!(delete(&mut wire, &topic, &[(0, -1)], version).await, [(0, 15)]);
        assert_eq!(ends(&mut wire, &topic).await, [15, 15, -1]);
        let labels = [("topic", topic.as_str()), ("reason", "request")];
        assert_eq!(server.count(REMOVED, &labels), 15);
        wire.produce(&topic, 0, BatchSpec::new(1).encode()).await;
        assert_eq!(ends(&mut wire, &topic).await, [15, 16, 15]);
        assert_eq!(delete(&mut wire, "nowhere", &[(0, 0)], version).await, [(3, -1)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_group_had_not_consumed_of_removed_records_is_counted_as_lost() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    for _ in 0..3 {
        wire.produce("orders", 0, BatchSpec::new(5).encode()).await;
    }
    let group: Arc<str> = "billing".into();
    let taken =
        server.metadata.take_groups(std::slice::from_ref(&group), true).await.unwrap().remove(0);
    let topic = server.metadata.topics().await.unwrap().remove(0).id;
    let place =
        CommittedOffset { offset: 4, leader_epoch: -1, metadata: "".into(), committed_ms: 0 };
    let commit = OffsetCommit {
        group,
        epoch: taken.unwrap().epoch,
        generation: None,
        offsets: vec![(TopicPartition { topic, partition: 0 }, place)],
    };
    server.metadata.commit_offsets(&[commit]).await.unwrap();
    let lost = [("group", "billing"), ("topic", "orders")];
    assert_eq!(delete(&mut wire, "orders", &[(0, 3)], 2).await, [(0, 3)]);
    assert_eq!(server.count("streamhouse.consumer.records_lost", &lost), 0);
    assert_eq!(delete(&mut wire, "orders", &[(0, 12)], 2).await, [(0, 12)]);
    assert_eq!(server.count("streamhouse.consumer.records_lost", &lost), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_by_time_never_lie_before_the_start_of_the_log() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let at = |timestamp_ms| BatchSpec { timestamp_ms, ..BatchSpec::new(3) };
    // Two batches of one request lie in one row: the greatest timestamp is in its first part.
    let both = [at(9_000).encode(), at(1_000).encode()].concat();
    wire.produce("orders", 0, both.into()).await;
    wire.produce("orders", 0, at(2_000).encode()).await;
    wire.produce("orders", 0, at(500).encode()).await;
    assert_eq!(ends(&mut wire, "orders").await, [0, 12, 2]);
    delete(&mut wire, "orders", &[(0, 4)], 2).await;
    assert_eq!(ends(&mut wire, "orders").await, [4, 12, 8], "the latest of what is left");
    let answer = wire.ask(&offsets("orders", &[0, 1_002, 1_003, 2_003]), 7).await;
    let found = answer.topics[0].partitions.iter().map(|one| (one.offset, one.timestamp));
    assert_eq!(
        found.collect::<Vec<_>>(),
        [(4, 1_001), (5, 1_002), (6, 2_000), (-1, -1)],
        "none of the removed ones"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_is_set_replaced_deleted_and_told_in_every_version() {
    let server =
        Server::with(BrokerConfig { retention_bytes: 77, ..BrokerConfig::default() }).await;
    let mut wire = server.wire().await;
    let defaults = owned([("604800000", OF_NOBODY), ("77", OF_BROKER)]);
    assert_eq!(create(&mut wire, "plain", &[]).await.0, 0);
    assert_eq!(described(&mut wire, "plain").await, defaults);
    let own = [("retention.ms", "1000"), ("cleanup.policy", "delete"), ("retention.bytes", "-1")];
    assert_eq!(create(&mut wire, "own", &own).await.0, 0);
    assert_eq!(described(&mut wire, "own").await, owned([("1000", OF_TOPIC), ("-1", OF_TOPIC)]));

    for version in 0..=1 {
        let both = || {
            vec![
                changing(TOPIC, "own", &[("retention.ms", DELETE, None)]),
                changing(TOPIC, "plain", &[("retention.bytes", SET, Some("5"))]),
            ]
        };
        let before = described(&mut wire, "plain").await;
        let fine = [(0, String::new()), (0, String::new())];
        assert_eq!(change(&mut wire, both(), true, version).await, fine);
        assert_eq!(described(&mut wire, "plain").await, before, "only validated");
        assert_eq!(change(&mut wire, both(), false, version).await, fine);
        let told = owned([("604800000", OF_NOBODY), ("5", OF_TOPIC)]);
        assert_eq!(described(&mut wire, "plain").await, told);
        let told = owned([("604800000", OF_NOBODY), ("-1", OF_TOPIC)]);
        assert_eq!(described(&mut wire, "own").await, told);
    }
    for version in 0..=2 {
        let all = [("retention.ms", Some("8"))];
        assert_eq!(replace(&mut wire, "own", &all, true, version).await.0, 0);
        assert_eq!(described(&mut wire, "own").await[0].1, OF_NOBODY, "only validated");
        assert_eq!(replace(&mut wire, "own", &all, false, version).await.0, 0);
        let told = owned([("8", OF_TOPIC), ("77", OF_BROKER)]);
        assert_eq!(described(&mut wire, "own").await, told, "what is absent goes to the default");
        assert_eq!(replace(&mut wire, "own", &[], false, version).await.0, 0);
        assert_eq!(described(&mut wire, "own").await, defaults);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_cannot_be_is_refused_with_its_name_and_value_and_changes_nothing() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let before = described(&mut wire, "orders").await;
    for (resource, code, words) in [
        (changing(TOPIC, "orders", &[("retention.hours", SET, Some("1"))]), 40, "retention.hours"),
        (changing(TOPIC, "orders", &[("retention.ms", SET, Some("1d"))]), 40, "\"1d\""),
        (changing(TOPIC, "orders", &[("cleanup.policy", SET, Some("compact"))]), 40, "compact"),
        (changing(TOPIC, "orders", &[("retention.ms", APPEND, Some("1"))]), 42, "operation 2"),
        (changing(TOPIC, "orders", &[("retention.ms", SET, None)]), 42, "no value"),
        (
            changing(
                TOPIC,
                "orders",
                &[("retention.ms", SET, Some("1")), ("retention.ms", SET, Some("2"))],
            ),
            42,
            "more than once",
        ),
        (changing(BROKER, "1", &[("num.partitions", SET, Some("2"))]), 40, "read-only"),
        (changing(BROKER, "1", &[("nonsense", SET, Some("2"))]), 40, "nonsense"),
        (changing(TOPIC, "nowhere", &[("retention.ms", SET, Some("1"))]), 3, "nowhere"),
        (changing(99, "orders", &[]), 42, "resource type 99"),
    ] {
        let told = change(&mut wire, vec![resource], false, 1).await;
        assert_eq!(told[0].0, code, "{told:?}");
        assert!(told[0].1.contains(words), "{told:?}");
    }
    let one = || changing(TOPIC, "orders", &[("retention.ms", SET, Some("1"))]);
    let told = change(&mut wire, vec![one(), one()], false, 1).await;
    assert!(told.iter().all(|(code, _)| *code == 42), "{told:?}");
    for (configs, code) in [
        (("retention.ms", Some("-7")), 40),
        (("nonsense", Some("1")), 40),
        (("max.message.bytes", Some("1")), 40),
        (("retention.ms", None), 42),
    ] {
        let told = replace(&mut wire, "orders", &[configs], false, 2).await;
        assert_eq!(told.0, code, "{told:?}");
        assert!(told.1.contains(configs.0), "{told:?}");
    }
    let told = create(&mut wire, "other", &[("retention.bytes", "many")]).await;
    assert_eq!(told.0, 40);
    assert!(told.1.contains("retention.bytes cannot be \"many\""), "{told:?}");
    assert_eq!(described(&mut wire, "orders").await, before);
    assert_eq!(server.metadata.topics().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_by_the_time_of_their_arrival_whatever_their_timestamps_say() {
    let server = Server::with(eager()).await;
    let mut wire = server.wire().await;
    for (topic, timestamp_ms) in [("past", 1), ("future", 32_503_680_000_000)] {
        wire.topic(topic).await;
        wire.produce(topic, 0, BatchSpec { timestamp_ms, ..BatchSpec::new(5) }.encode()).await;
    }
    let rounds = [("outcome", "ok")];
    server.counted("streamhouse.retention.duration", &rounds, 3).await;
    assert_eq!(ends(&mut wire, "past").await, [0, 5, 4], "they arrived just now");
    for topic in ["past", "future"] {
        set(&mut wire, topic, "retention.ms", "1").await;
        begins_at(&mut wire, topic, 5).await;
        let labels = [("topic", topic), ("reason", "time")];
        assert_eq!(server.count(REMOVED, &labels), 5);
        assert_eq!(code_of_fetch(&mut wire, topic, 4).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_records_go_from_partitions_that_nobody_has_used_since_the_start() {
    let store: Arc<dyn MetadataStore> = Arc::new(SqliteStore::in_memory().await.unwrap());
    let before = Server::on(store.clone(), BrokerConfig::default(), Requests::untraced()).await;
    let mut wire = before.wire().await;
    wire.topic("orders").await;
    wire.produce("orders", 0, BatchSpec::new(5).encode()).await;
    before.shutdown.cancel();
    before.serving.await.unwrap().unwrap();
    let config = BrokerConfig { incarnation: Uuid::new_v4(), retention_ms: 1, ..eager() };
    let server = Server::on(store, config, Requests::untraced()).await;
    // No request is sent, which would be a use.
    let labels = [("topic", "orders"), ("reason", "time")];
    assert_eq!(server.counted(REMOVED, &labels, 5).await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_keeps_its_newest_records_up_to_the_size_that_it_may_have() {
    let server = Server::with(eager()).await;
    let mut wire = server.wire().await;
    let batch = BatchSpec::new(1).value_bytes(1_000).encode();
    let most = (batch.len() * 4).to_string();
    create(&mut wire, "orders", &[("retention.bytes", &most)]).await;
    for _ in 0..10 {
        wire.produce("orders", 0, batch.clone()).await;
    }
    begins_at(&mut wire, "orders", 6).await;
    let labels = [("topic", "orders"), ("reason", "size")];
    assert_eq!(server.count(REMOVED, &labels), 6);
    wire.produce("orders", 0, batch).await;
    begins_at(&mut wire, "orders", 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_agent_removed_is_not_read_from_memory_for_long() {
    let store: Arc<dyn MetadataStore> = Arc::new(SqliteStore::in_memory().await.unwrap());
    let config = || BrokerConfig { incarnation: Uuid::new_v4(), ..BrokerConfig::default() };
    let one = Server::on(store.clone(), config(), Requests::untraced()).await;
    let two = Server::on(store, config(), Requests::untraced()).await;
    let mut wire = one.wire().await;
    wire.topic("orders").await;
    for _ in 0..3 {
        wire.produce("orders", 0, BatchSpec::new(5).encode()).await;
    }
    assert_eq!(code_of_fetch(&mut wire, "orders", 0).await, 0);
    let mut other = two.wire().await;
    other.topic("orders").await;
    assert_eq!(delete(&mut other, "orders", &[(0, 12)], 2).await, [(0, 12)]);
    let learned = async {
        while code_of_fetch(&mut wire, "orders", 0).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, learned).await.unwrap();
    assert_eq!(code_of_fetch(&mut wire, "orders", 12).await, 0);
}
