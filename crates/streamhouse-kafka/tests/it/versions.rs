//! Every answer of every offered version is one that the client's codec reads to its last byte.

use crate::server::Server;
use crate::wire::{Wire, metadata, name, produce};
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use streamhouse_storage::testing::BatchSpec;

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn fetch(topic: &str, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions.iter().map(|(partition, offset)| {
        FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(1 << 20)
    });
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(partitions.collect());
    FetchRequest::default().with_max_bytes(16 << 20).with_topics(vec![topic])
}

pub fn offsets(topic: &str, timestamps: &[i64]) -> ListOffsetsRequest {
    let partitions = timestamps
        .iter()
        .map(|timestamp| ListOffsetsPartition::default().with_timestamp(*timestamp));
    let topic =
        ListOffsetsTopic::default().with_name(name(topic)).with_partitions(partitions.collect());
    ListOffsetsRequest::default().with_topics(vec![topic])
}

async fn with_records(server: &Server) -> Wire {
    let mut wire = server.wire().await;
    wire.topic("here").await;
    assert_eq!(wire.produce("here", 0, BatchSpec::new(5).encode()).await.error_code, 0);
    wire
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn produce_is_answered_in_every_version() {
    let server = Server::start().await;
    let mut wire = with_records(&server).await;
    for version in 3..=9 {
        for (topic, code) in [("here", 0), ("nowhere", 3)] {
            let request = produce(topic, 0, 1, BatchSpec::new(5).encode());
            let answer: ProduceResponse = wire.ask(&request, version).await;
            let part = &answer.responses[0].partition_responses[0];
            assert_eq!(part.error_code, code, "version {version}");
            assert_eq!(part.log_append_time_ms, -1, "timestamps are the producer's");
            let log_start = if version >= 5 && code == 0 { 0 } else { -1 };
            assert_eq!(part.log_start_offset, log_start, "version {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetch_is_answered_in_every_version() {
    let server = Server::start().await;
    let mut wire = with_records(&server).await;
    for version in 4..=12 {
        let request = fetch("here", &[(0, 2), (1, 0), (0, 6)]);
        let answer = wire.ask(&request, version).await;
        let parts = &answer.responses[0].partitions;
        let codes: Vec<_> = parts.iter().map(|part| part.error_code).collect();
        assert_eq!(codes, [0, 3, 1], "version {version}");
        assert_eq!(parts[0].high_watermark, 5);
        assert_eq!(parts[0].records.as_ref().unwrap().len(), BatchSpec::new(5).encode().len());
        assert_eq!(parts[2].high_watermark, 5, "out of range tells the ends");
        assert_eq!(answer.session_id, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_offsets_is_answered_in_every_version() {
    let server = Server::start().await;
    let mut wire = with_records(&server).await;
    let first = BatchSpec::new(5).timestamp_ms;
    for version in 1..=7 {
        let asked = [-1, -2, first + 2, first + 5, -3];
        let answer = wire.ask(&offsets("here", &asked), version).await;
        let parts = &answer.topics[0].partitions;
        let found: Vec<_> = parts.iter().map(|part| (part.offset, part.timestamp)).collect();
        assert_eq!(found[..4], [(5, -1), (0, -1), (2, first + 2), (-1, -1)], "version {version}");
        if version >= 7 {
            assert_eq!(found[4], (4, first + 4));
        } else {
            assert_eq!(parts[4].error_code, Code::UnsupportedVersion.code());
        }
        let epoch = if version >= 4 { 0 } else { -1 };
        assert_eq!(parts[0].leader_epoch, epoch);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_is_answered_in_every_version() {
    let server = Server::start().await;
    let mut wire = with_records(&server).await;
    for version in 0..=12 {
        let mut request = metadata(&["here", "not/legal"]);
        let answer = wire.ask(&request, version).await;
        assert_eq!(answer.brokers[0].port, i32::from(server.addr.port()));
        assert_eq!(
            answer.controller_id,
            if version >= 1 { answer.brokers[0].node_id } else { BrokerId(-1) }
        );
        let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, Code::InvalidTopicException.code()], "version {version}");
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(partition.leader_id, answer.brokers[0].node_id);
        assert_eq!(partition.leader_epoch, if version >= 7 { 0 } else { -1 });
        assert_eq!(answer.topics[0].topic_id.is_nil(), version < 10);
        assert_eq!(answer.cluster_id.is_some(), version >= 2);
        request.topics = if version == 0 { Some(vec![]) } else { None };
        let all = wire.ask(&request, version).await;
        assert_eq!(all.topics.len(), 1, "version {version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_created_grown_and_deleted_in_every_version() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    for version in 2..=7 {
        let topic = |it: &str| CreatableTopic::default().with_name(name(it)).with_num_partitions(2);
        let config = |name, value| {
            let config = CreatableTopicConfig::default();
            vec![config.with_name(text(name)).with_value(Some(text(value)))]
        };
        let new = format!("created-in-{version}");
        let request = CreateTopicsRequest::default().with_topics(vec![
            topic(&new).with_replication_factor(3).with_configs(config("cleanup.policy", "delete")),
            topic("no/name").with_replication_factor(1),
            topic("compacted")
                .with_replication_factor(1)
                .with_configs(config("cleanup.policy", "compact")),
            topic("none").with_replication_factor(1).with_num_partitions(0),
        ]);
        let answer = wire.ask(&request, version).await;
        let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, 17, 40, 37], "version {version}");
        let again = wire.ask(&request, version).await;
        assert_eq!(again.topics[0].error_code, Code::TopicAlreadyExists.code());
    }
    for version in 0..=3 {
        let topic = |it: &str, count| {
            CreatePartitionsTopic::default().with_name(name(it)).with_count(count)
        };
        let total = 3 + i32::from(version);
        let request = CreatePartitionsRequest::default().with_topics(vec![
            topic("created-in-7", total).with_assignments(None),
            topic("created-in-7", 1).with_assignments(None),
            topic("nowhere", 5).with_assignments(None),
        ]);
        let answer = wire.ask(&request, version).await;
        let codes: Vec<_> = answer.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [0, 37, 3], "version {version}");
    }
    server.gauge("streamhouse.topics.total", 6.0).await;
    server.gauge("streamhouse.partitions.total", 16.0).await;
    for version in 1..=6 {
        let doomed = [format!("created-in-{}", version + 1), "nowhere".into()];
        let request = DeleteTopicsRequest::default();
        let request = if version < 6 {
            request.with_topic_names(doomed.iter().map(|it| name(it)).collect())
        } else {
            let by_name = |it: &String| DeleteTopicState::default().with_name(Some(name(it)));
            request.with_topics(doomed.iter().map(by_name).collect())
        };
        let answer = wire.ask(&request, version).await;
        let codes: Vec<_> = answer.responses.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [0, 3], "version {version}");
    }
    server.gauge("streamhouse.topics.total", 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_else_is_answered_in_every_version() {
    let server = Server::start().await;
    let mut wire = with_records(&server).await;
    for version in 0..=4 {
        let answer = wire.ask(&ApiVersionsRequest::default(), version).await;
        assert_eq!((answer.error_code, answer.api_keys.len()), (0, 26));
        let request = FindCoordinatorRequest::default();
        let request = if version < 4 {
            request.with_key(text("group"))
        } else {
            request.with_coordinator_keys(vec![text("a"), text("b")])
        };
        let answer = wire.ask(&request, version).await;
        let found: Vec<_> = match version {
            4 => answer.coordinators.iter().map(|one| (one.error_code, one.port)).collect(),
            _ => vec![(answer.error_code, answer.port); 2],
        };
        assert_eq!(found, [(0, i32::from(server.addr.port())); 2], "version {version}");
        let answer =
            wire.ask(&InitProducerIdRequest::default().with_transactional_id(None), version).await;
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
    }
    for version in 1..=4 {
        let resource = |kind, name: &str| {
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configuration_keys(None)
        };
        let request = DescribeConfigsRequest::default()
            .with_include_documentation(version >= 3)
            .with_resources(vec![
                resource(2, "here"),
                resource(4, "1"),
                resource(2, "nowhere"),
                resource(99, "x"),
            ]);
        let answer = wire.ask(&request, version).await;
        let codes: Vec<_> = answer.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [0, 0, 3, 42], "version {version}");
        let configs = &answer.results[0].configs;
        for config in configs {
            assert_eq!(config.read_only, !config.name.starts_with("retention."), "{}", config.name);
        }
        let policy = configs.iter().find(|it| it.name.as_str() == "cleanup.policy").unwrap();
        assert_eq!(policy.value.as_ref().unwrap().as_str(), "delete");
        let told = policy.documentation.as_ref().is_some_and(|told| !told.is_empty());
        assert_eq!(told, version >= 3);
    }
    let subscription = wire.ask(&GetTelemetrySubscriptionsRequest::default(), 0).await;
    assert_eq!(subscription.error_code, 0);
    let push = wire.ask(&PushTelemetryRequest::default(), 0).await;
    assert_eq!(push.error_code, Code::UnknownSubscriptionId.code());
    for version in 0..=1 {
        let answer = wire.ask(&DescribeClusterRequest::default(), version).await;
        assert_eq!((answer.error_code, answer.brokers.len()), (0, 1));
        assert!(!answer.cluster_id.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_is_counted_with_its_outcome() {
    let server = Server::start().await;
    let mut wire = with_records(&server).await;
    wire.ask(&fetch("here", &[(0, 0)]), 12).await;
    wire.ask(&fetch("nowhere", &[(0, 0)]), 12).await;
    for (api, outcome) in
        [("produce", "ok"), ("metadata", "ok"), ("fetch", "ok"), ("fetch", "error")]
    {
        let labels = [("api", api), ("outcome", outcome)];
        assert_eq!(server.counted("streamhouse.kafka.requests", &labels, 1).await, 1, "{api}");
    }
    assert_eq!(server.count("streamhouse.kafka.duration", &[("api", "fetch")]), 2);
}
