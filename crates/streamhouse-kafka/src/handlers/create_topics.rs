//! CreateTopics.

use super::configs::{note, of_topic};
use super::text;
use crate::broker::Broker;
use crate::error::of_metadata;
use crate::reply::Reply;
use crate::topics::is_legal;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use std::collections::HashMap;
use streamhouse_metadata::{Retention, RetentionChange, TopicId};

/// The first version whose answer tells a topic's partitions and settings.
const WITH_DETAIL: i16 = 5;

struct Created {
    id: Option<TopicId>,
    partitions: i32,
    retention: Retention,
}

pub(crate) async fn handle(broker: &Broker, request: CreateTopicsRequest, version: i16) -> Reply {
    let mut named = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_insert(0) += 1;
    }
    let mut results = Vec::with_capacity(named.len());
    for topic in request.topics {
        // Topics named more than once are all answered once.
        let created = match named.remove(&topic.name) {
            Some(1) => create(broker, &topic, request.validate_only).await,
            Some(_) => Err((Code::InvalidRequest, "the topic is named more than once".into())),
            None => continue,
        };
        results.push(result(broker, topic, created, version));
    }
    let failed = results.iter().any(|result| result.error_code != 0);
    Reply::new(CreateTopicsResponse::default().with_topics(results), failed)
}

async fn create(
    broker: &Broker,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<Created, (Code, String)> {
    let (partitions, retention) = validate(broker, topic)?;
    let stored = |error: &_| (of_metadata(error), ToString::to_string(error));
    if validate_only {
        return match broker.topics.find(&topic.name).await {
            Ok(None) => Ok(Created { id: None, partitions, retention }),
            Ok(Some(_)) => {
                let message = format!("topic {:?} already exists", topic.name.as_str());
                Err((Code::TopicAlreadyExists, message))
            }
            Err(error) => Err(stored(&error)),
        };
    }
    match broker.topics.create(&topic.name, partitions, retention).await {
        Ok(open) => {
            tracing::info!(topic = open.name(), partitions, "topic created");
            Ok(Created { id: open.id(), partitions, retention })
        }
        Err(error) => Err(stored(&error)),
    }
}

/// The number of partitions and the retention, if the topic may be created as asked.
fn validate(broker: &Broker, topic: &CreatableTopic) -> Result<(i32, Retention), (Code, String)> {
    let limit = broker.config.max_partitions;
    let partitions = match topic.num_partitions {
        -1 => broker.config.default_partitions,
        count => count,
    };
    if !is_legal(&topic.name) {
        let message = "a topic's name has 1 to 249 letters, digits, '.', '_' or '-'";
        return Err((Code::InvalidTopicException, message.into()));
    }
    if !topic.assignments.is_empty() {
        let message = "any agent serves any partition; leave the assignment out";
        return Err((Code::InvalidReplicaAssignment, message.into()));
    }
    if !(1..=limit).contains(&partitions) {
        let message = format!("{partitions} partitions are outside 1..={limit}");
        return Err((Code::InvalidPartitions, message));
    }
    // Durability is the object store's: any number of replicas is as good as any other.
    if topic.replication_factor == 0 || topic.replication_factor < -1 {
        let message = format!("{} replicas; use -1", topic.replication_factor);
        return Err((Code::InvalidReplicationFactor, message));
    }
    let mut change = RetentionChange::default();
    for asked in &topic.configs {
        let value = asked.value.as_ref().map_or("", |value| value.as_str());
        note(&broker.config, &mut change, asked.name.as_str(), Some(value))?;
    }
    let retention = Retention { ms: change.ms.flatten(), bytes: change.bytes.flatten() };
    Ok((partitions, retention))
}

fn result(
    broker: &Broker,
    topic: CreatableTopic,
    created: Result<Created, (Code, String)>,
    version: i16,
) -> CreatableTopicResult {
    let result = CreatableTopicResult::default().with_name(topic.name);
    match created {
        Err((code, message)) => {
            result.with_error_code(code.code()).with_error_message(Some(text(message)))
        }
        Ok(created) => {
            let result = result.with_topic_id(created.id.map_or_else(Default::default, |id| id.0));
            if version < WITH_DETAIL {
                return result;
            }
            let settings = of_topic(&broker.config, created.retention).into_iter();
            let configs = settings.map(|setting| {
                CreatableTopicConfigs::default()
                    .with_name(text(setting.name))
                    .with_value(Some(text(setting.value)))
                    .with_read_only(!setting.changeable)
                    .with_config_source(setting.source as i8)
            });
            result
                .with_num_partitions(created.partitions)
                .with_replication_factor(1)
                .with_configs(Some(configs.collect()))
        }
    }
}
