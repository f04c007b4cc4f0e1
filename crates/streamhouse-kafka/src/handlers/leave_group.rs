//! LeaveGroup: members go, one or, by newer versions, several at once.

use super::claim;
use crate::broker::Broker;
use crate::groups::is_legal;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

/// The first version that names several members.
const BATCHED: i16 = 3;

pub(crate) async fn handle(broker: &Broker, request: LeaveGroupRequest, version: i16) -> Reply {
    let leaving = if version >= BATCHED {
        let of = |it: &kafka_protocol::messages::leave_group_request::MemberIdentity| {
            claim(&it.member_id, it.group_instance_id.as_ref(), -1)
        };
        request.members.iter().map(of).collect()
    } else {
        vec![claim(&request.member_id, None, -1)]
    };
    let left = match is_legal(&request.group_id) {
        true => broker.groups.leave(&request.group_id, leaving).await,
        false => Err(Code::InvalidGroupId),
    };
    let number = |code: Option<Code>| code.map_or(0, |code| code.code());
    let response = LeaveGroupResponse::default();
    match left {
        Err(code) => Reply::new(response.with_error_code(code.code()), true),
        Ok(codes) if version < BATCHED => {
            let code = number(codes.into_iter().next().flatten());
            Reply::new(response.with_error_code(code), code != 0)
        }
        Ok(codes) => {
            let failed = codes.iter().any(Option::is_some);
            let members = request.members.into_iter().zip(codes).map(|(member, code)| {
                MemberResponse::default()
                    .with_member_id(member.member_id)
                    .with_group_instance_id(member.group_instance_id)
                    .with_error_code(number(code))
            });
            Reply::new(response.with_members(members.collect()), failed)
        }
    }
}
