//! DeleteRecords: moves the start of logs.

use super::text;
use crate::broker::Broker;
use crate::error::of_metadata;
use crate::reply::Reply;
use crate::retention::trim;
use crate::topics::OpenTopic;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::delete_records_request::DeleteRecordsTopic;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, TopicName};
use std::collections::HashSet;
use std::time::Duration;
use streamhouse_metadata::{MetadataError, TopicPartition, Trim, TrimOutcome};
use streamhouse_observability::labels::RetentionReason;
use tokio::time::{Instant, timeout_at};

/// Stands for the end of the log.
const END: i64 = -1;

pub(crate) async fn handle(broker: &Broker, request: DeleteRecordsRequest) -> Reply {
    let wait = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = Instant::now() + wait.min(broker.config.max_wait);
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut seen = HashSet::new();
    for topic in request.topics {
        topics.push(one(broker, topic, &mut seen, deadline).await);
    }
    let mut partitions = topics.iter().flat_map(|topic| &topic.partitions);
    let failed = partitions.any(|partition| partition.error_code != 0);
    Reply::new(DeleteRecordsResponse::default().with_topics(topics), failed)
}

async fn one(
    broker: &Broker,
    topic: DeleteRecordsTopic,
    seen: &mut HashSet<TopicPartition>,
    deadline: Instant,
) -> DeleteRecordsTopicResult {
    let found = broker.topics.find(&topic.name).await;
    let mut results = Vec::with_capacity(topic.partitions.len());
    let (mut places, mut wanted) = (Vec::new(), Vec::new());
    for (place, asked) in topic.partitions.iter().enumerate() {
        let result =
            DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
        results.push(result.with_low_watermark(-1));
        let partition = match &found {
            Ok(Some(open)) => {
                open.partition(asked.partition_index).ok_or(Code::UnknownTopicOrPartition)
            }
            Ok(None) => Err(Code::UnknownTopicOrPartition),
            Err(error) => Err(of_metadata(error)),
        };
        match partition {
            Ok(partition) if seen.insert(partition) => {
                places.push(place);
                wanted.push((partition, asked.offset));
            }
            Ok(_) => results[place].error_code = Code::InvalidRequest.code(),
            Err(code) => results[place].error_code = code.code(),
        }
    }
    if let (Ok(Some(open)), false) = (&found, wanted.is_empty()) {
        let told = match timeout_at(deadline, delete(broker, open, &wanted)).await {
            Ok(Ok(told)) => told.into_iter().map(answer).collect(),
            Ok(Err(error)) => vec![Err(of_metadata(&error)); wanted.len()],
            Err(_) => vec![Err(Code::RequestTimedOut); wanted.len()],
        };
        for (place, told) in places.into_iter().zip(told) {
            match told {
                Ok(log_start) => results[place].low_watermark = log_start,
                Err(code) => results[place].error_code = code.code(),
            }
        }
    }
    DeleteRecordsTopicResult::default()
        .with_name(TopicName(text(topic.name.as_str())))
        .with_partitions(results)
}

/// Deletes up to the offsets of `wanted`.
async fn delete(
    broker: &Broker,
    open: &OpenTopic,
    wanted: &[(TopicPartition, i64)],
) -> Result<Vec<TrimOutcome>, MetadataError> {
    let trims = wanted.iter().map(|(partition, offset)| match *offset {
        END => (*partition, Trim::ToEnd),
        offset => (*partition, Trim::To(offset)),
    });
    let outcomes = trim(broker, open, trims.collect(), RetentionReason::Request).await?;
    let records = outcomes.iter().map(|outcome| match outcome {
        TrimOutcome::Trimmed(trimmed) => trimmed.records,
        TrimOutcome::UnknownPartition | TrimOutcome::OutOfRange => 0,
    });
    let records: i64 = records.sum();
    if records > 0 {
        tracing::info!(topic = open.name(), records, "records deleted on request");
    }
    Ok(outcomes)
}

fn answer(outcome: TrimOutcome) -> Result<i64, Code> {
    match outcome {
        TrimOutcome::Trimmed(trimmed) => Ok(trimmed.log_start),
        TrimOutcome::UnknownPartition => Err(Code::UnknownTopicOrPartition),
        TrimOutcome::OutOfRange => Err(Code::OffsetOutOfRange),
    }
}
