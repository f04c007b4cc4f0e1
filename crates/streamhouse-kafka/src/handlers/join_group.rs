//! JoinGroup: become a member, and wait until the generation begins.

use super::parked::Parked;
use super::{Context, is_failure, text};
use crate::broker::Broker;
use crate::groups::is_legal;
use crate::groups::state::{Answer, Join, Joined, Protocol};
use crate::reply::Reply;
use bytes::Bytes;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use std::sync::Arc;
use std::time::Duration;
use streamhouse_observability::labels::Api;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

/// The first version whose members come again with the id that they are given.
const INVITED: i16 = 4;
/// The first version that knows static members.
const WITH_INSTANCE: i16 = 5;
/// The first version whose answer names the type of protocol.
const WITH_TYPE: i16 = 7;
/// The first version whose leader can be told that there is nothing to assign.
const WITH_SKIP: i16 = 9;
/// What a member's names take in an answer.
const MEMBER: usize = 400;
/// Bytes of a client's name, an instance id or a type of protocol that are kept.
const MAX_NAME: usize = 255;

/// The most protocols that a member may offer; clients offer one for each way of assignment that
/// they know.
const MAX_PROTOCOLS: usize = 64;

/// A generation, or the error and the member's id.
type Outcome = Result<Joined, (Code, Arc<str>)>;

pub(super) async fn handle(context: Context, request: JoinGroupRequest) -> Reply {
    let (broker, version) = (context.broker.clone(), context.version);
    let member = request.member_id.to_string();
    let group: Arc<str> = request.group_id.as_str().into();
    let join = parse(&context, request);
    let mut parked = Parked::new(context, Api::JoinGroup);
    let asked = async {
        if !is_legal(&group) {
            return Err(Code::InvalidGroupId);
        }
        let join = join?;
        broker.groups.join(&group, |ticket| Join { ticket, ..join }).await
    };
    let answer = match parked.answer(asked).await {
        Ok(Answer::Joined(answer)) => answer,
        Ok(_) => Err((Code::UnknownServerError, member.into())),
        Err(code) => Err((code, member.into())),
    };
    let (answer, permit) = with_memory(&broker, answer);
    let failed = matches!(&answer, Err((code, _)) if is_failure(*code));
    let response = match answer {
        Ok(joined) => joined_response(joined, version),
        Err((code, member)) => JoinGroupResponse::default()
            .with_error_code(code.code())
            .with_generation_id(-1)
            .with_member_id(text(&*member)),
    };
    let mut reply = Reply::new(response, failed);
    reply.delivery._permit = permit;
    parked.finish(version, reply).await
}

/// Takes memory for what a leader is told of the members; without it the leader comes again.
fn with_memory(broker: &Broker, answer: Outcome) -> (Outcome, Option<OwnedSemaphorePermit>) {
    let Ok(joined) = answer else { return (answer, None) };
    let bytes = joined.members.iter().map(|it| MEMBER + it.metadata.len()).sum();
    match broker.bulk.take(bytes) {
        Ok(permit) => (Ok(joined), permit),
        Err(code) => (Err((code, joined.member)), None),
    }
}

/// Copies what is kept of a request: nothing of its frame stays behind.
fn parse(context: &Context, request: JoinGroupRequest) -> Result<Join, Code> {
    let version = context.version;
    let milliseconds = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let session = milliseconds(request.session_timeout_ms);
    // Version 0 has one timeout for both.
    let rebalance = match request.rebalance_timeout_ms {
        ms if version == 0 || ms < 0 => session,
        ms => milliseconds(ms),
    };
    let instance: Option<Arc<str>> = request.group_instance_id.map(|it| it.as_str().into());
    if instance.as_ref().is_some_and(|it| it.is_empty() || it.len() > MAX_NAME) {
        return Err(Code::InvalidRequest);
    }
    if request.protocol_type.len() > MAX_NAME || request.member_id.len() > 2 * MAX_NAME {
        return Err(Code::InvalidRequest);
    }
    let offers = request.protocols.len();
    if offers > MAX_PROTOCOLS {
        tracing::warn!(
            group = request.group_id.as_str(),
            offers,
            limit = MAX_PROTOCOLS,
            "a member that offers too many protocols was refused"
        );
        return Err(Code::InconsistentGroupProtocol);
    }
    let mut protocols: Vec<Protocol> = Vec::with_capacity(request.protocols.len());
    let mut seen = std::collections::HashSet::new();
    for offered in &request.protocols {
        if seen.insert(offered.name.as_str()) {
            let metadata = Bytes::copy_from_slice(&offered.metadata);
            protocols.push(Protocol { name: offered.name.as_str().into(), metadata });
        }
    }
    let client = cut(context.ids.client_id.as_deref().unwrap_or_default());
    let stem = if client.is_empty() { "member" } else { client };
    Ok(Join {
        ticket: 0,
        member: request.member_id.as_str().into(),
        instance,
        fresh: format!("{stem}-{}", Uuid::new_v4()).into(),
        invites: version >= INVITED,
        skips_assignment: version >= WITH_SKIP,
        client: client.into(),
        host: context.peer.clone(),
        session,
        rebalance,
        protocol_type: request.protocol_type.as_str().into(),
        protocols,
    })
}

/// The beginning of a client's name.
fn cut(name: &str) -> &str {
    let ends = (0..=MAX_NAME).rev();
    ends.filter_map(|end| name.get(..end.min(name.len()))).next().unwrap_or_default()
}

fn joined_response(joined: Joined, version: i16) -> JoinGroupResponse {
    let member = |member: crate::groups::state::JoinedMember| {
        let instance = member.instance.filter(|_| version >= WITH_INSTANCE);
        JoinGroupResponseMember::default()
            .with_member_id(text(&*member.id))
            .with_group_instance_id(instance.map(|it| text(&*it)))
            .with_metadata(member.metadata)
    };
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type((version >= WITH_TYPE).then(|| text(&*joined.protocol_type)))
        .with_protocol_name(Some(text(&*joined.protocol)))
        .with_leader(text(&*joined.leader))
        .with_skip_assignment(version >= WITH_SKIP && joined.skip_assignment)
        .with_member_id(text(&*joined.member))
        .with_members(joined.members.into_iter().map(member).collect())
}
