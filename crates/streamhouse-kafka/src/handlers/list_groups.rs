//! ListGroups: the groups that this agent coordinates.

use super::describe_groups::state;
use super::text;
use crate::broker::Broker;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

/// The first version that asks for states and shows them.
const WITH_STATE: i16 = 4;

pub(crate) async fn handle(broker: &Broker, request: &ListGroupsRequest, version: i16) -> Reply {
    let response = ListGroupsResponse::default();
    if !broker.groups.is_loaded().await {
        let code = Code::CoordinatorLoadInProgress.code();
        return Reply::new(response.with_error_code(code), true);
    }
    let wanted = &request.states_filter;
    let groups = broker.groups.table().all().into_iter().filter_map(|view| {
        let (state, protocol_type) =
            view.read(|facts| (state(facts.state), facts.protocol_type.clone()));
        if !wanted.is_empty() && !wanted.iter().any(|it| it.as_str().eq_ignore_ascii_case(state)) {
            return None;
        }
        let listed = ListedGroup::default()
            .with_group_id(GroupId(text(&*view.name)))
            .with_protocol_type(text(&*protocol_type));
        Some(if version >= WITH_STATE { listed.with_group_state(text(state)) } else { listed })
    });
    Reply::new(response.with_groups(groups.collect()), false)
}
