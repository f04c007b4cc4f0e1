//! DescribeConfigs: the settings that exist, all read-only.

use super::configs::{Setting, of_agents, of_topics};
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

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// The protocol's number for the source of a value that comes from the server's own settings.
const STATIC_BROKER: i8 = 4;
/// The protocol's number for the source of a default.
pub(crate) const DEFAULT: i8 = 5;

pub(crate) async fn handle(broker: &Broker, request: DescribeConfigsRequest) -> Reply {
    let documented = request.include_documentation;
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let described = settings(broker, &resource).await;
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name);
        results.push(match described {
            Ok((settings, source)) => {
                let wanted = resource.configuration_keys;
                let configs = settings.into_iter().filter(|setting| match &wanted {
                    Some(keys) if !keys.is_empty() => {
                        keys.iter().any(|key| key.as_str() == setting.name)
                    }
                    _ => true,
                });
                result.with_configs(configs.map(|one| describe(one, source, documented)).collect())
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
) -> Result<(Vec<Setting>, i8), (Code, String)> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => match broker.topics.find(name).await {
            Ok(Some(_)) => Ok((of_topics(&broker.config), DEFAULT)),
            Ok(None) => {
                Err((Code::UnknownTopicOrPartition, format!("topic {name:?} does not exist")))
            }
            Err(error) => Err((of_metadata(&error), error.to_string())),
        },
        BROKER => Ok((of_agents(&broker.config), STATIC_BROKER)),
        other => {
            let message = format!("resource type {other} has no settings; 2 (topic) and 4 do");
            Err((Code::InvalidRequest, message))
        }
    }
}

fn describe(setting: Setting, source: i8, documented: bool) -> DescribeConfigsResourceResult {
    let result = DescribeConfigsResourceResult::default()
        .with_name(text(setting.name))
        .with_value(Some(text(setting.value)))
        .with_read_only(true)
        .with_config_source(source);
    // The encoder leaves both out where the version lacks them.
    result
        .with_config_type(setting.kind as i8)
        .with_documentation(documented.then(|| text(setting.about)))
}
