//! OffsetCommit: how far a group has consumed, each partition with its own answer.

use super::{Context, answered, claim, is_failure};
use crate::broker::Broker;
use crate::groups::{Committed, is_legal};
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use std::collections::BTreeMap;
use streamhouse_metadata::{CommittedOffset, TopicPartition};
use streamhouse_observability::labels::{Api, RequestOutcome};
use streamhouse_observability::spans;
use tokio::sync::oneshot;

/// The most bytes of a consumer's remark.
const MAX_REMARK: usize = 4096;

/// A partition of the request: where it is, or what is wrong with it.
type Place = Result<TopicPartition, Code>;

/// Commits; `queued` is dropped once the commit has its place behind earlier ones.
pub(crate) async fn handle(
    context: Context,
    request: OffsetCommitRequest,
    queued: oneshot::Sender<()>,
) -> Reply {
    let Context { broker, version, arrival, ids, .. } = context;
    let traced = broker.requests.begin(arrival, &[]).with_ids(ids);
    let span = || spans::group_request(Api::OffsetCommit);
    let reply = traced.run(span, answered(version, commit(&broker, request, queued))).await;
    traced.finish(reply.outcome == RequestOutcome::Error, span);
    reply
}

async fn commit(
    broker: &Broker,
    request: OffsetCommitRequest,
    queued: oneshot::Sender<()>,
) -> Reply {
    let (mut places, mut offsets) = (Vec::new(), BTreeMap::new());
    for topic in &request.topics {
        let found = broker.topics.find(&topic.name).await;
        for asked in &topic.partitions {
            let place = match &found {
                Ok(Some(open)) => open
                    .partition(asked.partition_index)
                    .ok_or(Code::UnknownTopicOrPartition)
                    .and_then(|at| check(at, asked)),
                Ok(None) => Err(Code::UnknownTopicOrPartition),
                Err(_) => Err(Code::CoordinatorNotAvailable),
            };
            if let Ok(at) = place {
                offsets.insert(at, offset(asked));
            }
            places.push(place);
        }
    }
    let committed = store(broker, &request, offsets, queued).await;
    let mut places = places.into_iter();
    let mut failed = false;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let place = places.next().unwrap_or(Err(Code::UnknownServerError));
            let code = outcome(place, &committed);
            failed |= code.is_some_and(is_failure);
            OffsetCommitResponsePartition::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(code.map_or(0, |code| code.code()))
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    let response = OffsetCommitResponse::default().with_topics(topics.collect());
    Reply::new(response, failed)
}

/// Puts the commit into the groups' lane and waits for its outcome.
async fn store(
    broker: &Broker,
    request: &OffsetCommitRequest,
    offsets: BTreeMap<TopicPartition, CommittedOffset>,
    queued: oneshot::Sender<()>,
) -> Committed {
    if !is_legal(&request.group_id) {
        return Err(Code::InvalidGroupId);
    }
    let instance = request.group_instance_id.as_ref();
    let claim = claim(&request.member_id, instance, request.generation_id_or_member_epoch);
    let committed = broker.groups.commit(&request.group_id, claim, offsets).await?;
    drop(queued);
    committed.await.map_err(|_| Code::NotCoordinator)?
}

fn check(at: TopicPartition, asked: &OffsetCommitRequestPartition) -> Place {
    let remark = asked.committed_metadata.as_ref().map_or(0, |remark| remark.len());
    match () {
        () if remark > MAX_REMARK => Err(Code::OffsetMetadataTooLarge),
        () if asked.committed_offset < 0 => Err(Code::OffsetOutOfRange),
        () => Ok(at),
    }
}

fn offset(asked: &OffsetCommitRequestPartition) -> CommittedOffset {
    CommittedOffset {
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.as_deref().unwrap_or_default().into(),
        committed_ms: 0,
    }
}

fn outcome(place: Place, committed: &Committed) -> Option<Code> {
    match (place, committed) {
        (_, Err(code)) => Some(*code),
        (Err(code), _) => Some(code),
        (Ok(at), Ok(unknown)) => unknown.contains(&at).then_some(Code::UnknownTopicOrPartition),
    }
}
