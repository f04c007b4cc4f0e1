//! Heartbeat: a member is alive, and learns of a rebalance.

use super::{claim, is_failure};
use crate::broker::Broker;
use crate::groups::is_legal;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

pub(crate) async fn handle(broker: &Broker, request: &HeartbeatRequest) -> Reply {
    let instance = request.group_instance_id.as_ref();
    let claim = claim(&request.member_id, instance, request.generation_id);
    let code = match is_legal(&request.group_id) {
        true => broker.groups.heartbeat(&request.group_id, claim).await.err(),
        false => Some(Code::InvalidGroupId),
    };
    let response = HeartbeatResponse::default().with_error_code(code.map_or(0, |it| it.code()));
    Reply::new(response, code.is_some_and(is_failure))
}
