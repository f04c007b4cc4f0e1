//! FindCoordinator: which agent coordinates a group. Transactions are refused for good.

use super::text;
use crate::broker::Broker;
use crate::groups::is_legal;
use crate::placement;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use streamhouse_metadata::Agent;

/// The key type of groups.
const GROUP: i8 = 0;
/// The key type of transactional ids.
const TRANSACTION: i8 = 1;
/// The first version whose answer has a message.
const WITH_MESSAGE: i16 = 1;
/// The first version that asks for several keys at once.
const BATCHED: i16 = 4;

type Refusal = (Code, &'static str);

pub(crate) fn handle(broker: &Broker, request: &FindCoordinatorRequest, version: i16) -> Reply {
    let agents = broker.live();
    let find = |key: &str| find(&agents, request.key_type, key);
    let response = FindCoordinatorResponse::default();
    if version >= BATCHED {
        let mut failed = false;
        let coordinators = request.coordinator_keys.iter().map(|key| {
            let coordinator = Coordinator::default().with_key(text(key.as_str()));
            match find(key) {
                Ok(agent) => coordinator
                    .with_node_id(BrokerId(agent.id))
                    .with_host(text(agent.host.as_str()))
                    .with_port(i32::from(agent.port)),
                Err((code, message)) => {
                    failed = true;
                    coordinator
                        .with_node_id(BrokerId(-1))
                        .with_port(-1)
                        .with_error_code(code.code())
                        .with_error_message(Some(text(message)))
                }
            }
        });
        let coordinators = coordinators.collect();
        return Reply::new(response.with_coordinators(coordinators), failed);
    }
    match find(&request.key) {
        Ok(agent) => {
            let response = response
                .with_node_id(BrokerId(agent.id))
                .with_host(text(agent.host.as_str()))
                .with_port(i32::from(agent.port));
            Reply::new(response, false)
        }
        Err((code, message)) => {
            let response = response
                .with_error_code(code.code())
                .with_error_message((version >= WITH_MESSAGE).then(|| text(message)))
                .with_node_id(BrokerId(-1))
                .with_port(-1);
            Reply::new(response, true)
        }
    }
}

fn find<'a>(agents: &'a [Agent], kind: i8, key: &str) -> Result<&'a Agent, Refusal> {
    match kind {
        TRANSACTION => Err((
            Code::TransactionalIdAuthorizationFailed,
            "transactions are not supported; unset transactional.id",
        )),
        GROUP if !is_legal(key) => Err((
            Code::InvalidGroupId,
            "a group's name has 1 to 255 bytes and is neither <other> nor <all>",
        )),
        GROUP => placement::coordinator(agents, key)
            .ok_or((Code::CoordinatorNotAvailable, "no agent is known yet; ask again")),
        _ => Err((Code::InvalidRequest, "only groups have coordinators")),
    }
}
