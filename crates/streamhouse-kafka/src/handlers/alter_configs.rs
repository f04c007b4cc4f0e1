//! AlterConfigs, which replaces all that was set for a topic, and IncrementalAlterConfigs, which
//! changes what it names.

use super::configs::{BROKER, Refusal, TOPIC, note, of_agents};
use super::text;
use crate::broker::Broker;
use crate::error::of_metadata;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource as Replacing;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as Replaced;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as Changing, AlterableConfig,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as Changed;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::HashMap;
use streamhouse_metadata::RetentionChange;

/// The protocol's numbers for what is done to a setting.
const SET: i8 = 0;
const DELETE: i8 = 1;

/// A resource's type and name.
type Resource = (i8, StrBytes);
/// A resource with what became of it: a code, and why.
type Told = (Resource, i16, Option<StrBytes>);

pub(crate) async fn replace(broker: &Broker, request: AlterConfigsRequest) -> Reply {
    let key = |it: &Replacing| (it.resource_type, it.resource_name.clone());
    let asked = request.resources.iter().map(|it| (key(it), replacement(broker, it))).collect();
    let told = apply_all(broker, asked, request.validate_only).await;
    let failed = told.iter().any(|(_, code, _)| *code != 0);
    let response = |((kind, name), code, message): Told| {
        let response = Replaced::default().with_resource_type(kind).with_resource_name(name);
        response.with_error_code(code).with_error_message(message)
    };
    let responses = told.into_iter().map(response).collect();
    Reply::new(AlterConfigsResponse::default().with_responses(responses), failed)
}

pub(crate) async fn change(broker: &Broker, request: IncrementalAlterConfigsRequest) -> Reply {
    let key = |it: &Changing| (it.resource_type, it.resource_name.clone());
    let asked = request.resources.iter().map(|it| (key(it), changes(broker, it))).collect();
    let told = apply_all(broker, asked, request.validate_only).await;
    let failed = told.iter().any(|(_, code, _)| *code != 0);
    let response = |((kind, name), code, message): Told| {
        let response = Changed::default().with_resource_type(kind).with_resource_name(name);
        response.with_error_code(code).with_error_message(message)
    };
    let responses = told.into_iter().map(response).collect();
    Reply::new(IncrementalAlterConfigsResponse::default().with_responses(responses), failed)
}

/// Makes the changes that can be made, and tells of each resource in its order.
async fn apply_all(
    broker: &Broker,
    asked: Vec<(Resource, Result<RetentionChange, Refusal>)>,
    validate_only: bool,
) -> Vec<Told> {
    let mut named: HashMap<Resource, usize> = HashMap::new();
    for (resource, _) in &asked {
        *named.entry(resource.clone()).or_default() += 1;
    }
    let mut told = Vec::with_capacity(asked.len());
    for (resource, change) in asked {
        let is_alone = named.get(&resource) == Some(&1);
        told.push(match apply(broker, is_alone, &resource, change, validate_only).await {
            Ok(()) => (resource, 0, None),
            Err((code, message)) => (resource, code.code(), Some(text(message))),
        });
    }
    told
}

/// What a replacing request makes of a topic: what it does not name goes back to the default.
fn replacement(broker: &Broker, resource: &Replacing) -> Result<RetentionChange, Refusal> {
    let mut change = RetentionChange { ms: Some(None), bytes: Some(None) };
    for asked in &resource.configs {
        let (name, value) = (asked.name.as_str(), asked.value.as_ref());
        let value = value.ok_or_else(|| without_value(name))?;
        allowed(broker, resource.resource_type, name)?;
        note(&broker.config, &mut change, name, Some(value.as_str()))?;
    }
    Ok(change)
}

fn changes(broker: &Broker, resource: &Changing) -> Result<RetentionChange, Refusal> {
    let mut change = RetentionChange::default();
    for AlterableConfig { name, config_operation, value, .. } in &resource.configs {
        let name = name.as_str();
        allowed(broker, resource.resource_type, name)?;
        let value = match *config_operation {
            SET => Some(value.as_ref().ok_or_else(|| without_value(name))?.as_str()),
            DELETE => None,
            other => {
                let message = format!(
                    "operation {other} on {name} is not possible; use 0 (set) or 1 (delete): no \
                     setting that can be changed is a list"
                );
                return Err((Code::InvalidRequest, message));
            }
        };
        note(&broker.config, &mut change, name, value)?;
    }
    Ok(change)
}

fn without_value(name: &str) -> Refusal {
    (Code::InvalidRequest, format!("{name} has no value; delete it for the broker's default"))
}

/// Refuses settings of agents: they are read once, at the start.
fn allowed(broker: &Broker, resource_type: i8, name: &str) -> Result<(), Refusal> {
    if resource_type != BROKER {
        return Ok(());
    }
    if of_agents(&broker.config).iter().any(|setting| setting.name == name) {
        let message = format!("{name} is read-only; change the server's own settings and restart");
        return Err((Code::InvalidConfig, message));
    }
    Err((Code::InvalidConfig, format!("{name:?} is not a setting")))
}

async fn apply(
    broker: &Broker,
    is_alone: bool,
    (resource_type, name): &Resource,
    change: Result<RetentionChange, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    if !is_alone {
        let message = format!("{:?} is named more than once", name.as_str());
        return Err((Code::InvalidRequest, message));
    }
    match *resource_type {
        TOPIC => {}
        BROKER => return change.map(|_| ()),
        other => {
            let message = format!("resource type {other} has no settings; 2 (topic) and 4 do");
            return Err((Code::InvalidRequest, message));
        }
    }
    let stored = |error| (of_metadata(&error), error.to_string());
    let open = broker.topics.find(name).await.map_err(stored)?;
    let id = open.as_ref().and_then(|open| open.id()).ok_or_else(|| {
        let message = format!("topic {:?} does not exist", name.as_str());
        (Code::UnknownTopicOrPartition, message)
    })?;
    let change = change?;
    if validate_only || change == RetentionChange::default() {
        return Ok(());
    }
    let retention = broker.topics.set_retention(id, change).await.map_err(stored)?;
    tracing::info!(
        topic = name.as_str(),
        retention_ms = retention.ms,
        retention_bytes = retention.bytes,
        "retention changed"
    );
    Ok(())
}
