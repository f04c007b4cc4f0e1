//! ListOffsets: the ends of a partition, and offsets by time.

use super::fetch::LEADER_EPOCH;
use crate::broker::Broker;
use crate::error::of_read;
use crate::records::{Timed, first_at, latest};
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use streamhouse_metadata::TopicPartition;
use streamhouse_observability::labels::ConsumeError;
use streamhouse_observability::spans;
use streamhouse_storage::{ReadError, RecordBatch};

/// The end of the log.
const LATEST: i64 = -1;
/// Its beginning.
const EARLIEST: i64 = -2;
/// The record with the greatest timestamp.
const MAX_TIMESTAMP: i64 = -3;
/// The first version that knows it.
const WITH_MAX_TIMESTAMP: i16 = 7;
/// The first version whose answer has an epoch.
const WITH_EPOCH: i16 = 4;

type Failure = (ConsumeError, Code);

pub(crate) async fn handle(broker: &Broker, request: ListOffsetsRequest, version: i16) -> Reply {
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut failed = false;
    for topic in request.topics {
        let found = broker.topics.find(&topic.name).await;
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let (open, answer) = match &found {
                Ok(Some(open)) => (
                    open,
                    one(broker, open.partition(asked.partition_index), &asked, version).await,
                ),
                Ok(None) => (
                    broker.topics.unknown(),
                    Err((ConsumeError::UnknownTopic, Code::UnknownTopicOrPartition)),
                ),
                Err(_) => (
                    broker.topics.unknown(),
                    Err((ConsumeError::Metadata, Code::KafkaStorageError)),
                ),
            };
            if let Err((class, _)) = answer {
                open.consumed.errors.of(class).add(1);
                failed = true;
            }
            partitions.push(response(asked.partition_index, answer, version));
        }
        let response = ListOffsetsTopicResponse::default().with_name(topic.name);
        topics.push(response.with_partitions(partitions));
    }
    Reply::new(ListOffsetsResponse::default().with_topics(topics), failed)
}

async fn one(
    broker: &Broker,
    partition: Option<TopicPartition>,
    asked: &ListOffsetsPartition,
    version: i16,
) -> Result<Option<Timed>, Failure> {
    let partition = partition.ok_or((ConsumeError::UnknownTopic, Code::UnknownTopicOrPartition))?;
    if asked.current_leader_epoch > LEADER_EPOCH {
        return Err((ConsumeError::UnknownTopic, Code::UnknownLeaderEpoch));
    }
    let read = |error: ReadError| {
        tracing::debug!(partition = partition.partition, %error, "no offset can be given");
        of_read(&error)
    };
    let end = |offset| Some(Timed { offset, timestamp_ms: -1 });
    match asked.timestamp {
        LATEST => {
            let ends = broker.reader.watermarks(partition).await.map_err(read)?;
            Ok(end(ends.high_watermark))
        }
        EARLIEST => {
            let ends = broker.reader.watermarks(partition).await.map_err(read)?;
            Ok(end(ends.log_start))
        }
        MAX_TIMESTAMP if version >= WITH_MAX_TIMESTAMP => {
            let found = broker.reader.latest_batch(partition).await.map_err(read)?;
            searched(found, log_start(broker, partition), |batch, from| latest(&batch, from)).await
        }
        timestamp if timestamp >= 0 => {
            let found = broker.reader.batch_at_time(partition, timestamp).await.map_err(read)?;
            let search = move |batch: RecordBatch, from| first_at(&batch, from, timestamp);
            searched(found, log_start(broker, partition), search).await
        }
        _ => Err((ConsumeError::OffsetOutOfRange, Code::UnsupportedVersion)),
    }
}

/// Where the log began when a batch was found: records of the batch before that are removed.
fn log_start(broker: &Broker, partition: TopicPartition) -> i64 {
    broker.reader.last_known(partition).map_or(0, |ends| ends.log_start)
}

/// Searches a batch from the offset `from` on, on a thread that may take its time.
async fn searched(
    found: Option<RecordBatch>,
    from: i64,
    search: impl FnOnce(RecordBatch, i64) -> std::io::Result<Option<Timed>> + Send + 'static,
) -> Result<Option<Timed>, Failure> {
    let Some(batch) = found else { return Ok(None) };
    let offset = batch.base_offset().max(from);
    let claimed = Timed { offset, timestamp_ms: batch.max_timestamp_ms() };
    let work = spans::carry_blocking(move || search(batch, from));
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(Some(timed))) => Ok(Some(timed)),
        // The batch claims a time that none of its records has, or cannot be read by this server.
        // Its beginning is the answer that skips no record.
        Ok(Ok(None) | Err(_)) => Ok(Some(claimed)),
        Err(_) => Err((ConsumeError::Corrupt, Code::UnknownServerError)),
    }
}

fn response(
    index: i32,
    answer: Result<Option<Timed>, Failure>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
    match answer {
        Ok(Some(timed)) => {
            let epoch = if version >= WITH_EPOCH { LEADER_EPOCH } else { -1 };
            response
                .with_offset(timed.offset)
                .with_timestamp(timed.timestamp_ms)
                .with_leader_epoch(epoch)
        }
        Ok(None) => response.with_offset(-1).with_timestamp(-1),
        Err((_, code)) => response.with_offset(-1).with_timestamp(-1).with_error_code(code.code()),
    }
}
