//! Metadata: agents, topics, and which agent each partition prefers.

use super::text;
use crate::broker::Broker;
use crate::error::of_metadata;
use crate::placement::preferred;
use crate::reply::Reply;
use crate::topics::{OpenTopic, is_legal};
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use std::sync::Arc;
use streamhouse_metadata::{Agent, MetadataError, Retention, TopicId};

/// The first version whose requests carry topic ids.
const WITH_IDS: i16 = 10;

pub(crate) async fn handle(broker: &Broker, request: MetadataRequest, version: i16) -> Reply {
    let agents = broker.live();
    // Version 0 has no null: there an empty list asks for all topics.
    let wanted = request.topics.filter(|topics| version > 0 || !topics.is_empty());
    // Versions without the flag create.
    let create =
        broker.config.auto_create_topics && (version < 4 || request.allow_auto_topic_creation);
    let topics = match wanted {
        None => match broker.topics.refresh().await {
            Ok(()) => broker.topics.all().iter().map(|open| describe(open, &agents)).collect(),
            Err(error) => {
                tracing::warn!(%error, "topics could not be read");
                broker.topics.all().iter().map(|open| describe(open, &agents)).collect()
            }
        },
        Some(wanted) => {
            let mut topics = Vec::with_capacity(wanted.len());
            for topic in wanted {
                topics.push(one(broker, topic, create, version, &agents).await);
            }
            topics
        }
    };
    let failed = topics.iter().any(|topic: &MetadataResponseTopic| topic.error_code != 0);
    let cluster = broker.cluster_id().await.ok().map(|id| text(id.to_string()));
    let brokers = agents.iter().map(|agent| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(agent.id))
            .with_host(text(agent.host.as_str()))
            .with_port(i32::from(agent.port))
    });
    let response = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(cluster)
        .with_controller_id(BrokerId(agents.first().map_or(-1, |agent| agent.id)))
        .with_topics(topics);
    Reply::new(response, failed)
}

async fn one(
    broker: &Broker,
    wanted: MetadataRequestTopic,
    create: bool,
    version: i16,
    agents: &[Agent],
) -> MetadataResponseTopic {
    let Some(name) = wanted.name else {
        let id = TopicId(wanted.topic_id);
        return match broker.topics.get_by_id(id) {
            Some(open) => describe(&open, agents),
            None => refused(None, Code::UnknownTopicId, version).with_topic_id(id.0),
        };
    };
    if !is_legal(&name) {
        return refused(Some(name), Code::InvalidTopicException, version);
    }
    match find_or_create(broker, &name, create).await {
        Ok(Some(open)) => describe(&open, agents),
        Ok(None) => refused(Some(name), Code::UnknownTopicOrPartition, version),
        Err(error) => {
            tracing::warn!(%error, "a topic could not be looked up");
            // Retried by every client, as when a leader is being chosen.
            let code = match of_metadata(&error) {
                Code::RequestTimedOut => Code::LeaderNotAvailable,
                code => code,
            };
            refused(Some(name), code, version)
        }
    }
}

async fn find_or_create(
    broker: &Broker,
    name: &str,
    create: bool,
) -> Result<Option<Arc<OpenTopic>>, MetadataError> {
    if let Some(open) = broker.topics.find(name).await? {
        return Ok(Some(open));
    }
    if !create {
        return Ok(None);
    }
    match broker.topics.create(name, broker.config.default_partitions, Retention::default()).await {
        Ok(open) => {
            tracing::info!(topic = name, "topic created because a client asked for it");
            Ok(Some(open))
        }
        // Another agent was first.
        Err(MetadataError::AlreadyExists(_)) => {
            broker.topics.refresh().await?;
            Ok(broker.topics.get(name))
        }
        Err(error) => Err(error),
    }
}

fn refused(name: Option<TopicName>, code: Code, version: i16) -> MetadataResponseTopic {
    // A null name is only possible where ids are.
    let name = if version < WITH_IDS { Some(name.unwrap_or_default()) } else { name };
    MetadataResponseTopic::default().with_error_code(code.code()).with_name(name)
}

fn describe(open: &OpenTopic, agents: &[Agent]) -> MetadataResponseTopic {
    let partitions = (0..open.partitions()).filter_map(|number| {
        let agent = BrokerId(preferred(agents, open.partition(number)?));
        Some(
            MetadataResponsePartition::default()
                .with_error_code(if agent.0 < 0 { Code::LeaderNotAvailable.code() } else { 0 })
                .with_partition_index(number)
                .with_leader_id(agent)
                .with_leader_epoch(super::fetch::LEADER_EPOCH)
                .with_replica_nodes(vec![agent])
                .with_isr_nodes(vec![agent]),
        )
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(open.name()))))
        .with_topic_id(open.id().map_or_else(Default::default, |id| id.0))
        .with_partitions(partitions.collect())
}
