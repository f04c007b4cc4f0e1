//! CreatePartitions: more partitions for a topic; never fewer.

use super::text;
use crate::broker::Broker;
use crate::error::of_metadata;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

pub(crate) async fn handle(broker: &Broker, request: CreatePartitionsRequest) -> Reply {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let grown = grow(broker, &topic, request.validate_only).await;
        let result = CreatePartitionsTopicResult::default().with_name(topic.name);
        results.push(match grown {
            Ok(()) => result,
            Err((code, message)) => {
                result.with_error_code(code.code()).with_error_message(Some(text(message)))
            }
        });
    }
    let failed = results.iter().any(|result| result.error_code != 0);
    Reply::new(CreatePartitionsResponse::default().with_results(results), failed)
}

async fn grow(
    broker: &Broker,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), (Code, String)> {
    let unknown = || {
        let message = format!("topic {:?} does not exist", topic.name.as_str());
        (Code::UnknownTopicOrPartition, message)
    };
    let found = broker.topics.find(&topic.name).await;
    let open = found.map_err(|error| (of_metadata(&error), error.to_string()))?;
    let open = open.ok_or_else(unknown)?;
    let id = open.id().ok_or_else(unknown)?;
    let (now, limit) = (open.partitions(), broker.config.max_partitions);
    if topic.count <= now || topic.count > limit {
        let message = format!("{} partitions are outside {}..={limit}", topic.count, now + 1);
        return Err((Code::InvalidPartitions, message));
    }
    if topic.assignments.as_ref().is_some_and(|assignments| !assignments.is_empty()) {
        let message = "any agent serves any partition; leave the assignment out".into();
        return Err((Code::InvalidReplicaAssignment, message));
    }
    if validate_only {
        return Ok(());
    }
    let grown = broker.topics.grow(id, topic.count).await;
    grown.map_err(|error| (of_metadata(&error), error.to_string()))?;
    tracing::info!(topic = open.name(), partitions = topic.count, "partitions created");
    Ok(())
}
