//! DeleteGroups: groups without members, with their offsets.

use crate::broker::Broker;
use crate::groups::is_legal;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

pub(crate) async fn handle(broker: &Broker, request: DeleteGroupsRequest) -> Reply {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for name in request.groups_names {
        let deleted = match is_legal(&name) {
            true => broker.groups.delete(&name).await,
            false => Err(Code::InvalidGroupId),
        };
        let code = deleted.err().map_or(0, |code| code.code());
        results.push(DeletableGroupResult::default().with_group_id(name).with_error_code(code));
    }
    let failed = results.iter().any(|result| result.error_code != 0);
    Reply::new(DeleteGroupsResponse::default().with_results(results), failed)
}
