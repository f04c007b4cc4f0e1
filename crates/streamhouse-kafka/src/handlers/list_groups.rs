//! ListGroups: the groups that this agent coordinates.

use super::describe_groups::state;
use super::text;
use crate::broker::Broker;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

/// What a group takes in an answer beside its names.
const GROUP: usize = 64;
/// The first version that asks for states and shows them.
const WITH_STATE: i16 = 4;

pub(crate) async fn handle(broker: &Broker, request: &ListGroupsRequest, version: i16) -> Reply {
    let response = ListGroupsResponse::default();
    if !broker.groups.is_loaded().await {
        let code = Code::CoordinatorLoadInProgress.code();
        return Reply::new(response.with_error_code(code), true);
    }
    let wanted = &request.states_filter;
    let is_wanted = |state: &str| {
        wanted.is_empty() || wanted.iter().any(|it| it.as_str().eq_ignore_ascii_case(state))
    };
    let seen = broker.groups.table().all().into_iter().map(|view| {
        let facts = view.read(|facts| (state(facts.state), facts.protocol_type.clone()));
        (view, facts)
    });
    let seen: Vec<_> = seen.filter(|(_, (state, _))| is_wanted(state)).collect();
    let bytes = seen.iter().map(|(view, (_, kind))| GROUP + view.name.len() + kind.len()).sum();
    let permit = match broker.bulk.take(bytes) {
        Ok(permit) => permit,
        Err(code) => return Reply::new(response.with_error_code(code.code()), true),
    };
    let groups = seen.into_iter().map(|(view, (state, protocol_type))| {
        let listed = ListedGroup::default()
            .with_group_id(GroupId(text(&*view.name)))
            .with_protocol_type(text(&*protocol_type));
        if version >= WITH_STATE { listed.with_group_state(text(state)) } else { listed }
    });
    let mut reply = Reply::new(response.with_groups(groups.collect()), false);
    reply.delivery._permit = permit;
    reply
}
