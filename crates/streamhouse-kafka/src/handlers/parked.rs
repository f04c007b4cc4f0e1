//! Requests that wait for the other members of a group: joining, and asking for a part.

use super::{Context, join_group, sync_group};
use crate::groups::state::Answer;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::{ApiVersionsResponse, RequestKind};
use std::time::Instant;
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::labels::{Api, RequestOutcome};
use streamhouse_observability::spans::{self, Request};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Parked {
    api: Api,
    request: Request,
    draining: CancellationToken,
}

/// Answers a request that waits for others; `done` is dropped when its answer is written.
pub(crate) async fn handle(
    context: Context,
    request: RequestKind,
    done: oneshot::Sender<()>,
) -> Reply {
    let mut reply = match request {
        RequestKind::JoinGroup(request) => join_group::handle(context, request).await,
        RequestKind::SyncGroup(request) => sync_group::handle(context, request).await,
        // Not reachable: the connection sends the two above here and no others.
        _ => Reply::new(
            ApiVersionsResponse::default().with_error_code(Code::UnsupportedVersion.code()),
            true,
        ),
    };
    reply.delivery._done = Some(done);
    reply
}

impl Parked {
    pub fn new(context: Context, api: Api) -> Self {
        let Context { broker, arrival, ids, draining, .. } = context;
        Self { api, request: broker.requests.begin(arrival, &[]).with_ids(ids), draining }
    }

    /// Asks, and waits for the answer; a server that drains sends the member elsewhere.
    ///
    /// # Errors
    /// What to answer.
    pub async fn answer(
        &mut self,
        ask: impl Future<Output = Result<oneshot::Receiver<Answer>, Code>>,
    ) -> Result<Answer, Code> {
        let api = self.api;
        let answer = self.request.run(|| spans::group_request(api), ask).await?;
        let waiting = Instant::now();
        let answer = tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| Code::NotCoordinator),
            () = self.draining.cancelled() => Err(Code::NotCoordinator),
        };
        self.request.waited(waiting.elapsed());
        answer
    }

    pub async fn finish(self, version: i16, reply: Reply) -> Reply {
        let (api, outcome) = (self.api, reply.outcome);
        let span = || spans::group_request(api);
        let log =
            async { tracing::debug!(version, outcome = outcome.as_str(), "request answered") };
        self.request.run(span, log).await;
        self.request.finish(outcome == RequestOutcome::Error, span);
        reply
    }
}
