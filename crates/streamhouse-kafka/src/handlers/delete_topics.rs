//! DeleteTopics: by name, or by id.

use super::text;
use crate::broker::Broker;
use crate::error::of_metadata;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use streamhouse_metadata::TopicId;

/// The first version that may name topics by id.
const WITH_IDS: i16 = 6;

pub(crate) async fn handle(broker: &Broker, request: DeleteTopicsRequest, version: i16) -> Reply {
    let wanted = if version >= WITH_IDS {
        request.topics
    } else {
        let by_name = |name| DeleteTopicState::default().with_name(Some(name));
        request.topic_names.into_iter().map(by_name).collect()
    };
    let mut responses = Vec::with_capacity(wanted.len());
    for topic in wanted {
        responses.push(delete(broker, topic).await);
    }
    let failed = responses.iter().any(|result| result.error_code != 0);
    Reply::new(DeleteTopicsResponse::default().with_responses(responses), failed)
}

async fn delete(broker: &Broker, wanted: DeleteTopicState) -> DeletableTopicResult {
    let result = DeletableTopicResult::default()
        .with_name(wanted.name.clone())
        .with_topic_id(wanted.topic_id);
    let refused = |result: DeletableTopicResult, code: Code, message: String| {
        result.with_error_code(code.code()).with_error_message(Some(text(message)))
    };
    let found = match &wanted.name {
        Some(name) => broker.topics.find(name).await,
        None => match broker.topics.refresh().await {
            Ok(()) => Ok(broker.topics.get_by_id(TopicId(wanted.topic_id))),
            Err(error) => Err(error),
        },
    };
    let open = match found {
        Ok(Some(open)) => open,
        Ok(None) if wanted.name.is_some() => {
            return refused(result, Code::UnknownTopicOrPartition, "no such topic".into());
        }
        Ok(None) => return refused(result, Code::UnknownTopicId, "no topic has this id".into()),
        Err(error) => return refused(result, of_metadata(&error), error.to_string()),
    };
    let Some(id) = open.id() else {
        return refused(result, Code::UnknownTopicOrPartition, "no such topic".into());
    };
    let result = result.with_name(Some(TopicName(text(open.name())))).with_topic_id(id.0);
    match broker.topics.delete(id).await {
        Ok(()) => {
            tracing::info!(topic = open.name(), "topic deleted");
            result
        }
        Err(error) => refused(result, of_metadata(&error), error.to_string()),
    }
}
