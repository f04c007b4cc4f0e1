//! DescribeGroups: who is in a group, and who has what.

use super::text;
use crate::broker::Broker;
use crate::groups::{Described, is_legal};
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use std::collections::HashSet;
use streamhouse_observability::labels::GroupState;

/// What a member's names take in an answer.
const MEMBER: usize = 600;
/// The first version that shows static members.
const WITH_INSTANCE: i16 = 4;

/// The protocol's name of a state.
pub(super) fn state(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "Empty",
        GroupState::PreparingRebalance => "PreparingRebalance",
        GroupState::CompletingRebalance => "CompletingRebalance",
        GroupState::Stable => "Stable",
    }
}

pub(crate) async fn handle(
    broker: &Broker,
    request: &DescribeGroupsRequest,
    version: i16,
) -> Reply {
    let mut left = broker.bulk.limit;
    let mut seen = HashSet::new();
    let mut groups = Vec::new();
    for name in request.groups.iter().filter(|name| seen.insert(name.as_str())) {
        let described = match is_legal(name) {
            true => broker.groups.describe(name).await,
            false => Err(Code::InvalidGroupId),
        };
        groups.push(match described {
            Ok(Some(described)) => within(&mut left, name, described, version),
            // A group that does not exist is described as dead.
            Ok(None) => {
                DescribedGroup::default().with_group_id(name.clone()).with_group_state(text("Dead"))
            }
            Err(code) => refused(name, code),
        });
    }
    let permit = match broker.bulk.take(broker.bulk.limit - left) {
        Ok(permit) => permit,
        Err(code) => {
            groups = groups.into_iter().map(|group| refused(&group.group_id, code)).collect();
            None
        }
    };
    let failed = groups.iter().any(|group| group.error_code != 0);
    let mut reply = Reply::new(DescribeGroupsResponse::default().with_groups(groups), failed);
    reply.delivery._permit = permit;
    reply
}

fn refused(name: &GroupId, code: Code) -> DescribedGroup {
    DescribedGroup::default().with_group_id(name.clone()).with_error_code(code.code())
}

/// Describes a group if what is `left` for the answer's bytes allows it.
fn within(left: &mut usize, name: &GroupId, described: Described, version: i16) -> DescribedGroup {
    let members = described.members.iter();
    let bytes: usize = members.map(|it| MEMBER + it.metadata.len() + it.assignment.len()).sum();
    if bytes > *left {
        return refused(name, Code::MessageTooLarge);
    }
    *left -= bytes;
    let members = described.members.into_iter().map(|member| {
        let instance = member.instance.filter(|_| version >= WITH_INSTANCE);
        DescribedGroupMember::default()
            .with_member_id(text(&*member.id))
            .with_group_instance_id(instance.map(|it| text(&*it)))
            .with_client_id(text(&*member.client))
            .with_client_host(text(format!("/{}", member.host)))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    DescribedGroup::default()
        .with_group_id(name.clone())
        .with_group_state(text(state(described.state)))
        .with_protocol_type(text(&*described.protocol_type))
        .with_protocol_data(text(&*described.protocol))
        .with_members(members.collect())
}
