//! DescribeConfigs: the settings that exist, and where their values come from.

use super::configs::{BROKER, Setting, TOPIC, of_agents, of_topic};
use super::text;
use crate::broker::Broker;
use crate::error::of_metadata;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

pub(crate) async fn handle(broker: &Broker, request: DescribeConfigsRequest) -> Reply {
    let documented = request.include_documentation;
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let described = settings(broker, &resource).await;
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name);
        results.push(match described {
            Ok(settings) => {
                let wanted = resource.configuration_keys;
                let configs = settings.into_iter().filter(|setting| match &wanted {
                    Some(keys) if !keys.is_empty() => {
                        keys.iter().any(|key| key.as_str() == setting.name)
                    }
                    _ => true,
                });
                result.with_configs(configs.map(|one| describe(one, documented)).collect())
            }
            Err((code, message)) => {
                result.with_error_code(code.code()).with_error_message(Some(text(message)))
            }
        });
    }
    let failed = results.iter().any(|result| result.error_code != 0);
    Reply::new(DescribeConfigsResponse::default().with_results(results), failed)
}

async fn settings(
    broker: &Broker,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Setting>, (Code, String)> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => match broker.topics.find(name).await {
            Ok(Some(open)) => {
                let retention = open.topic.as_ref().map(|topic| topic.retention);
                Ok(of_topic(&broker.config, retention.unwrap_or_default()))
            }
            Ok(None) => {
                Err((Code::UnknownTopicOrPartition, format!("topic {name:?} does not exist")))
            }
            Err(error) => Err((of_metadata(&error), error.to_string())),
        },
        BROKER => Ok(of_agents(&broker.config)),
        other => {
            let message = format!("resource type {other} has no settings; 2 (topic) and 4 do");
            Err((Code::InvalidRequest, message))
        }
    }
}

fn describe(setting: Setting, documented: bool) -> DescribeConfigsResourceResult {
    let result = DescribeConfigsResourceResult::default()
        .with_name(text(setting.name))
        .with_value(Some(text(setting.value)))
        .with_read_only(!setting.changeable)
        .with_config_source(setting.source as i8);
    // The encoder leaves both out where the version lacks them.
    result
        .with_config_type(setting.kind as i8)
        .with_documentation(documented.then(|| text(setting.about)))
}
