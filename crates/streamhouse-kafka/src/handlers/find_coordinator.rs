//! FindCoordinator: a refusal that keeps clients calm.
//!
//! Consumer groups are not served. Clients take "not available" for a start-up that takes its
//! time: they wait and go on with everything else. Transactions are refused for good.

use super::text;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};

/// The key type of transactional ids.
const TRANSACTION: i8 = 1;
/// The first version that asks for several keys at once.
const BATCHED: i16 = 4;

pub(crate) fn handle(request: &FindCoordinatorRequest, version: i16) -> Reply {
    let (code, message) = match request.key_type {
        TRANSACTION => (
            Code::TransactionalIdAuthorizationFailed,
            "transactions are not supported; unset transactional.id",
        ),
        _ => {
            (Code::CoordinatorNotAvailable, "consumer groups are not available; assign partitions")
        }
    };
    let response = FindCoordinatorResponse::default();
    let response = if version >= BATCHED {
        let coordinators = request.coordinator_keys.iter().map(|key| {
            Coordinator::default()
                .with_key(text(key.as_str()))
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_code(code.code())
                .with_error_message(Some(text(message)))
        });
        response.with_coordinators(coordinators.collect())
    } else {
        let message = (version >= 1).then(|| text(message));
        response
            .with_error_code(code.code())
            .with_error_message(message)
            .with_node_id(BrokerId(-1))
            .with_port(-1)
    };
    Reply::new(response, true)
}
