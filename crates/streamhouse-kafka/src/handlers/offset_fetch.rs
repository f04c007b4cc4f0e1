//! OffsetFetch: how far groups have consumed.

use super::text;
use crate::broker::Broker;
use crate::bulk::Bulk;
use crate::groups::is_legal;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use std::collections::BTreeMap;
use streamhouse_metadata::{CommittedOffset, TopicPartition};
use tokio::sync::OwnedSemaphorePermit;

/// The first version whose answer has an error for the whole group.
const WITH_ERROR: i16 = 2;
/// The first version whose answer has the epoch that the consumer named.
const WITH_EPOCH: i16 = 5;
/// The first version that asks for several groups.
const BATCHED: i16 = 8;

/// What a partition takes in an answer, beyond the consumer's remark.
const PARTITION: usize = 128;

/// Topics and partitions that are asked for; `None`: all that the group has committed.
type Wanted = Option<Vec<(TopicName, Vec<i32>)>>;
/// A topic with its partitions; no offset where the group has committed none.
type Found = Vec<(TopicName, Vec<(i32, Option<CommittedOffset>)>)>;

pub(crate) async fn handle(broker: &Broker, request: OffsetFetchRequest, version: i16) -> Reply {
    if version >= BATCHED {
        let mut groups = Vec::with_capacity(request.groups.len());
        let (mut failed, mut left) = (false, broker.bulk.limit);
        for asked in request.groups {
            let topics = asked.topics.map(|topics| {
                topics.into_iter().map(|it| (it.name, it.partition_indexes)).collect()
            });
            let found = find(broker, &asked.group_id, topics, &mut left).await;
            failed |= found.is_err();
            let group = OffsetFetchResponseGroup::default().with_group_id(asked.group_id);
            groups.push(match found {
                Ok(found) => group.with_topics(found.into_iter().map(topic).collect()),
                Err(code) => group.with_error_code(code.code()),
            });
        }
        let permit = match with_memory(&broker.bulk, broker.bulk.limit - left) {
            Ok(permit) => permit,
            Err(code) => {
                failed = true;
                for group in &mut groups {
                    group.topics = Vec::new();
                    group.error_code = code.code();
                }
                None
            }
        };
        let mut reply = Reply::new(OffsetFetchResponse::default().with_groups(groups), failed);
        reply.delivery._permit = permit;
        return reply;
    }
    of_one(broker, request, version).await
}

/// Answers by the versions that ask for one group.
async fn of_one(broker: &Broker, request: OffsetFetchRequest, version: i16) -> Reply {
    let topics: Wanted = request
        .topics
        .map(|topics| topics.into_iter().map(|it| (it.name, it.partition_indexes)).collect());
    let asked = topics.clone().unwrap_or_default();
    let response = OffsetFetchResponse::default();
    let mut left = broker.bulk.limit;
    let found = find(broker, &request.group_id, topics, &mut left).await;
    let permit = with_memory(&broker.bulk, broker.bulk.limit - left);
    match found.and_then(|found| Ok((found, permit?))) {
        Ok((found, permit)) => {
            let old = |it| old_topic(it, 0, version);
            let response = response.with_topics(found.into_iter().map(old).collect());
            let mut reply = Reply::new(response, false);
            reply.delivery._permit = permit;
            reply
        }
        Err(code) if version >= WITH_ERROR => {
            Reply::new(response.with_error_code(code.code()), true)
        }
        Err(code) => {
            let failed = asked.into_iter().map(|(name, partitions)| {
                let none = partitions.into_iter().map(|partition| (partition, None)).collect();
                old_topic((name, none), code.code(), version)
            });
            Reply::new(response.with_topics(failed.collect()), true)
        }
    }
}

/// Takes memory for an answer. Consumers give up on this request where others come again: without
/// memory they are told that the group is being loaded, which they wait for.
fn with_memory(bulk: &Bulk, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Code> {
    bulk.take(bytes).map_err(|code| match code {
        Code::CoordinatorNotAvailable => Code::CoordinatorLoadInProgress,
        code => code,
    })
}

/// Finds what is asked for, if what is `left` for the answer's bytes allows it.
async fn find(
    broker: &Broker,
    group: &str,
    wanted: Wanted,
    left: &mut usize,
) -> Result<Found, Code> {
    if !is_legal(group) {
        return Err(Code::InvalidGroupId);
    }
    let Some(wanted) = wanted else {
        let all = broker.groups.offsets(group, |offsets| {
            let all: usize = offsets.values().map(|one| PARTITION + one.metadata.len()).sum();
            *left = left.checked_sub(all)?;
            Some(offsets.clone())
        });
        return match all.await? {
            Some(all) => Ok(by_topic(broker, all.ok_or(Code::MessageTooLarge)?)),
            None => Ok(Vec::new()),
        };
    };
    let place = |name: &TopicName, partition| broker.topics.get(name)?.partition(partition);
    let mut pick = |offsets: &BTreeMap<TopicPartition, CommittedOffset>| {
        let mut of = |name: &TopicName, partition| {
            let found = place(name, partition).and_then(|at| offsets.get(&at));
            let bytes = PARTITION + found.map_or(0, |one| one.metadata.len());
            *left = left.checked_sub(bytes)?;
            Some((partition, found.cloned()))
        };
        let topic = |(name, partitions): &(TopicName, Vec<i32>)| {
            let each = partitions.iter().map(|it| of(name, *it)).collect::<Option<_>>()?;
            Some((name.clone(), each))
        };
        wanted.iter().map(topic).collect::<Option<Found>>()
    };
    let found = match broker.groups.offsets(group, &mut pick).await? {
        Some(found) => found,
        None => pick(&BTreeMap::new()),
    };
    found.ok_or(Code::MessageTooLarge)
}

fn by_topic(broker: &Broker, all: BTreeMap<TopicPartition, CommittedOffset>) -> Found {
    let mut found: Found = Vec::new();
    let mut last = None;
    for (at, offset) in all {
        // A deleted topic has no name, and nothing that could be asked of it.
        let Some(open) = broker.topics.get_by_id(at.topic) else { continue };
        if last != Some(at.topic) {
            found.push((TopicName(text(open.name())), Vec::new()));
            last = Some(at.topic);
        }
        if let Some((_, partitions)) = found.last_mut() {
            partitions.push((at.partition, Some(offset)));
        }
    }
    found
}

fn topic(
    (name, partitions): (TopicName, Vec<(i32, Option<CommittedOffset>)>),
) -> OffsetFetchResponseTopics {
    let partitions = partitions.into_iter().map(|(index, offset)| {
        let part = OffsetFetchResponsePartitions::default().with_partition_index(index);
        match offset {
            Some(offset) => part
                .with_committed_offset(offset.offset)
                .with_committed_leader_epoch(offset.leader_epoch)
                .with_metadata(Some(text(&*offset.metadata))),
            None => part.with_committed_offset(-1).with_metadata(Some(text(""))),
        }
    });
    OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
}

fn old_topic(
    (name, partitions): (TopicName, Vec<(i32, Option<CommittedOffset>)>),
    code: i16,
    version: i16,
) -> OffsetFetchResponseTopic {
    let partitions = partitions.into_iter().map(|(index, offset)| {
        let part = OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_error_code(code);
        match offset {
            Some(offset) => part
                .with_committed_offset(offset.offset)
                .with_committed_leader_epoch(if version >= WITH_EPOCH {
                    offset.leader_epoch
                } else {
                    -1
                })
                .with_metadata(Some(text(&*offset.metadata))),
            None => part.with_committed_offset(-1).with_metadata(Some(text(""))),
        }
    });
    OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerConfig;

    #[test]
    fn consumers_wait_while_there_is_no_memory_for_what_they_committed() {
        let bulk = Bulk::new(&BrokerConfig::default());
        let held: Vec<_> = std::iter::from_fn(|| bulk.take(bulk.limit).ok()).collect();
        assert!(matches!(with_memory(&bulk, bulk.limit), Err(Code::CoordinatorLoadInProgress)));
        assert!(matches!(with_memory(&bulk, bulk.limit + 1), Err(Code::MessageTooLarge)));
        drop(held);
        assert!(matches!(with_memory(&bulk, bulk.limit), Ok(Some(_))));
    }
}
