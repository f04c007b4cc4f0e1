//! GetTelemetrySubscriptions: which metrics a client is to push, and how often.

use crate::broker::Broker;
use crate::client_telemetry::{COMPRESSIONS, Caller};
use crate::reply::Reply;
use kafka_protocol::messages::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
};
use std::time::Duration;

pub(crate) fn handle(
    broker: &Broker,
    caller: &Caller,
    request: &GetTelemetrySubscriptionsRequest,
) -> Reply {
    let telemetry = &broker.client_telemetry;
    let told = telemetry.subscribe(caller, request.client_instance_id);
    let subscription = told.subscription;
    let response = GetTelemetrySubscriptionsResponse::default()
        .with_client_instance_id(told.instance)
        .with_subscription_id(subscription.id)
        .with_accepted_compression_types(COMPRESSIONS.to_vec())
        .with_push_interval_ms(milliseconds(subscription.interval))
        .with_telemetry_max_bytes(i32::try_from(telemetry.max_push_bytes()).unwrap_or(i32::MAX))
        .with_delta_temporality(false)
        .with_requested_metrics(subscription.metrics.clone());
    match told.refused {
        None => Reply::new(response, false),
        Some(refused) => {
            let response = response
                .with_error_code(refused.code.code())
                .with_throttle_time_ms(milliseconds(refused.pause));
            Reply::new(response, true)
        }
    }
}

pub(super) fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
