//! SyncGroup: the leader brings the assignment, everybody gets their part.

use super::parked::Parked;
use super::{Context, claim, is_failure, text};
use crate::groups::is_legal;
use crate::groups::state::{Answer, Syncing};
use crate::reply::Reply;
use bytes::Bytes;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;
use streamhouse_observability::labels::Api;

/// The first version that names the protocol.
const WITH_PROTOCOL: i16 = 5;

pub(super) async fn handle(context: Context, request: SyncGroupRequest) -> Reply {
    let (broker, version) = (context.broker.clone(), context.version);
    let group: Arc<str> = request.group_id.as_str().into();
    let sync = parse(request);
    let mut parked = Parked::new(context, Api::SyncGroup);
    let asked = async {
        if !is_legal(&group) {
            return Err(Code::InvalidGroupId);
        }
        broker.groups.sync(&group, |ticket| Syncing { ticket, ..sync }).await
    };
    let answer = match parked.answer(asked).await {
        Ok(Answer::Synced(answer)) => answer,
        Ok(_) => Err(Code::UnknownServerError),
        Err(code) => Err(code),
    };
    let failed = matches!(&answer, Err(code) if is_failure(*code));
    let response = match answer {
        Ok(synced) => {
            let response = SyncGroupResponse::default().with_assignment(synced.assignment);
            match version >= WITH_PROTOCOL {
                true => response
                    .with_protocol_type(Some(text(&*synced.protocol_type)))
                    .with_protocol_name(Some(text(&*synced.protocol))),
                false => response,
            }
        }
        Err(code) => SyncGroupResponse::default().with_error_code(code.code()),
    };
    parked.finish(version, Reply::new(response, failed)).await
}

/// Copies what is kept of a request: nothing of its frame stays behind.
fn parse(request: SyncGroupRequest) -> Syncing {
    let name = |it: &StrBytes| -> Arc<str> { it.as_str().into() };
    let instance = request.group_instance_id.as_ref();
    Syncing {
        ticket: 0,
        claim: claim(&request.member_id, instance, request.generation_id),
        protocol_type: request.protocol_type.as_ref().map(name),
        protocol: request.protocol_name.as_ref().map(name),
        assignments: request
            .assignments
            .iter()
            .map(|one| (name(&one.member_id), Bytes::copy_from_slice(&one.assignment)))
            .collect(),
    }
}
