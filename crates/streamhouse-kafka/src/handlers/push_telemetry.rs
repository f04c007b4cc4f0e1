//! PushTelemetry: metrics of a client, on their way to the receiver.

use super::get_telemetry_subscriptions::milliseconds;
use crate::broker::Broker;
use crate::client_telemetry::Caller;
use crate::reply::Reply;
use kafka_protocol::messages::{PushTelemetryRequest, PushTelemetryResponse};

pub(crate) async fn handle(
    broker: &Broker,
    caller: &Caller,
    request: PushTelemetryRequest,
) -> Reply {
    match broker.client_telemetry.push(caller, request).await {
        Ok(()) => Reply::new(PushTelemetryResponse::default(), false),
        Err(refused) => {
            let response = PushTelemetryResponse::default()
                .with_error_code(refused.code.code())
                .with_throttle_time_ms(milliseconds(refused.pause));
            Reply::new(response, true)
        }
    }
}
