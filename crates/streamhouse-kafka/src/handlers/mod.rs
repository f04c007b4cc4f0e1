//! One file per API.

pub(crate) mod alter_configs;
pub(crate) mod api_versions;
pub(crate) mod configs;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod get_telemetry_subscriptions;
pub(crate) mod heartbeat;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_fetch;
pub(crate) mod parked;
pub(crate) mod produce;
pub(crate) mod push_telemetry;
pub(crate) mod sync_group;

use crate::broker::Broker;
use crate::client_telemetry::{Caller, Software};
use crate::groups::state::Claim;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::{ApiVersionsResponse, RequestKind};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::labels::{Api, RequestOutcome};
use streamhouse_observability::spans::{self, Arrival, RequestIds};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

/// What a handler knows of its request beside the request.
#[derive(Debug)]
pub(crate) struct Context {
    pub broker: Arc<Broker>,
    pub version: i16,
    pub arrival: Arrival,
    pub ids: RequestIds,
    /// The client's address.
    pub peer: Arc<str>,
    /// The client's library.
    pub software: Arc<Software>,
    /// Cancelled when the server drains: long polls end.
    pub draining: CancellationToken,
    /// Cancelled when the connection has ended.
    pub gone: CancellationToken,
    /// Cancelled when the drain's time is over.
    pub abort: CancellationToken,
    /// Where work goes on that must outlive the connection.
    pub tasks: TaskTracker,
}

/// Answers any request that moves no records.
pub(crate) async fn handle(context: Context, request: RequestKind) -> Reply {
    let Context { broker, version, arrival, ids, software, .. } = context;
    let caller = Caller { id: ids.client_id.clone(), software };
    let traced = broker.requests.begin(arrival, &[]).with_ids(ids);
    let api = of_groups(&request);
    let answer = answer(&broker, &caller, version, request);
    let Some(api) = api else {
        return traced.run(Span::none, answered(version, answer)).await;
    };
    let span = || spans::group_request(api);
    let reply = traced.run(span, answered(version, answer)).await;
    traced.finish(reply.outcome == RequestOutcome::Error, span);
    reply
}

/// The API of a request about a group.
fn of_groups(request: &RequestKind) -> Option<Api> {
    match request {
        RequestKind::FindCoordinator(_) => Some(Api::FindCoordinator),
        RequestKind::OffsetFetch(_) => Some(Api::OffsetFetch),
        RequestKind::Heartbeat(_) => Some(Api::Heartbeat),
        RequestKind::LeaveGroup(_) => Some(Api::LeaveGroup),
        RequestKind::DescribeGroups(_) => Some(Api::DescribeGroups),
        RequestKind::ListGroups(_) => Some(Api::ListGroups),
        RequestKind::DeleteGroups(_) => Some(Api::DeleteGroups),
        _ => None,
    }
}

async fn answer(broker: &Broker, caller: &Caller, version: i16, request: RequestKind) -> Reply {
    match request {
        RequestKind::ApiVersions(_) => api_versions::handle(),
        RequestKind::Metadata(request) => metadata::handle(broker, request, version).await,
        RequestKind::ListOffsets(request) => list_offsets::handle(broker, request, version).await,
        RequestKind::FindCoordinator(request) => {
            find_coordinator::handle(broker, &request, version)
        }
        RequestKind::CreateTopics(request) => create_topics::handle(broker, request, version).await,
        RequestKind::DeleteTopics(request) => delete_topics::handle(broker, request, version).await,
        RequestKind::CreatePartitions(request) => create_partitions::handle(broker, request).await,
        RequestKind::DescribeConfigs(request) => describe_configs::handle(broker, request).await,
        RequestKind::AlterConfigs(request) => alter_configs::replace(broker, request).await,
        RequestKind::IncrementalAlterConfigs(request) => {
            alter_configs::change(broker, request).await
        }
        RequestKind::DeleteRecords(request) => delete_records::handle(broker, request).await,
        RequestKind::DescribeCluster(request) => describe_cluster::handle(broker, &request).await,
        RequestKind::OffsetFetch(request) => offset_fetch::handle(broker, request, version).await,
        RequestKind::Heartbeat(request) => heartbeat::handle(broker, &request).await,
        RequestKind::LeaveGroup(request) => leave_group::handle(broker, request, version).await,
        RequestKind::DescribeGroups(request) => {
            describe_groups::handle(broker, &request, version).await
        }
        RequestKind::ListGroups(request) => list_groups::handle(broker, &request, version).await,
        RequestKind::DeleteGroups(request) => delete_groups::handle(broker, request).await,
        RequestKind::InitProducerId(request) => init_producer_id::handle(broker, &request).await,
        RequestKind::GetTelemetrySubscriptions(request) => {
            get_telemetry_subscriptions::handle(broker, caller, &request)
        }
        RequestKind::PushTelemetry(request) => {
            push_telemetry::handle(broker, caller, request).await
        }
        // Not reachable: the table of what is offered names the APIs above and no others.
        _ => Reply::new(
            ApiVersionsResponse::default().with_error_code(Code::UnsupportedVersion.code()),
            true,
        ),
    }
}

/// Writes the request's log line.
async fn answered(version: i16, reply: impl Future<Output = Reply>) -> Reply {
    let reply = reply.await;
    tracing::debug!(version, outcome = reply.outcome.as_str(), "request answered");
    reply
}

/// Who a request about a group says to be.
fn claim(member: &str, instance: Option<&StrBytes>, generation: i32) -> Claim {
    Claim { member: member.into(), instance: instance.map(|it| it.as_str().into()), generation }
}

/// Whether a member's request failed: to be told to come again is a matter of course.
fn is_failure(code: Code) -> bool {
    !matches!(code, Code::MemberIdRequired | Code::RebalanceInProgress)
}

/// A text of the protocol.
fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}
