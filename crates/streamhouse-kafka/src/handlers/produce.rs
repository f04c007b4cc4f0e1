//! Produce: validated batches into the writer's queue, then their outcomes.

use super::{Context, text};
use crate::attempt::{Attempt, BatchAttempt, Kind};
use crate::broker::Broker;
use crate::error::{of_append, of_batch};
use crate::reply::Reply;
use crate::topics::OpenTopic;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::TopicPartition;
use streamhouse_observability::labels::ProduceError;
use streamhouse_observability::spans;
use streamhouse_storage::{Append, AppendError, Appended, RecordBatch};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// The first version whose answer has room for a message.
const WITH_MESSAGE: i16 = 8;

/// Why a partition's records are refused: the class, the code, and words for the producer.
type Refusal = (ProduceError, Code, String);

/// What is to be done for one partition of the request.
struct Part {
    topic: usize,
    index: i32,
    open: Arc<OpenTopic>,
    batches: Result<(TopicPartition, Vec<RecordBatch>), Refusal>,
}

/// A batch on its way, and its place in the metrics. `None`: the server stopped waiting.
type Appending = (JoinHandle<Option<Result<Appended, AppendError>>>, BatchAttempt);

/// One partition on its way.
struct Write {
    topic: usize,
    index: i32,
    outcome: Result<(TopicPartition, Vec<Appending>), Refusal>,
}

/// Where appends go on when nobody waits for them any more.
struct Aside {
    tasks: TaskTracker,
    abort: CancellationToken,
}

/// Answers a produce request. `queued` is dropped as soon as its batches have their place in the
/// order of the log.
pub(crate) async fn handle(
    context: Context,
    request: ProduceRequest,
    queued: oneshot::Sender<()>,
) -> Reply {
    let Context { broker, version, arrival, ids, gone, tasks, abort, .. } = context;
    let silent = request.acks == 0;
    let deadline = Instant::from_std(arrival.at) + wait(&request, broker.config.max_wait);
    let names: Vec<_> = request.topic_data.iter().map(|topic| text(topic.name.as_str())).collect();
    let parts = plan(&broker, request).await;
    let batches =
        || parts.iter().filter_map(|part| part.batches.as_ref().ok()).flat_map(|it| &it.1);
    let kind = Kind::Produce {
        partitions: parts.len(),
        bytes: batches().map(|batch| batch.bytes().len()).sum(),
    };
    let remote = broker.peek.contexts(&broker.requests, batches());
    let traced = broker.requests.begin(arrival, &remote).with_ids(ids);
    let attempt = Attempt::new(broker.clone(), kind, traced, arrival.at);
    let aside = Aside { tasks, abort };
    let (response, failed) = attempt
        .run(async {
            let writes: Vec<_> =
                parts.into_iter().map(|part| start(&broker, part, &aside)).collect();
            drop(queued);
            let (response, failed) = finish(&broker, names, writes, deadline, version).await;
            tracing::debug!(version, failed, "produce request answered");
            (response, failed)
        })
        .await;
    if silent || !gone.is_cancelled() {
        attempt.settle(failed);
    }
    Reply::new(response, failed)
}

/// How long the outcomes are waited for: as long as the client does, if it says so.
fn wait(request: &ProduceRequest, longest: Duration) -> Duration {
    match u64::try_from(request.timeout_ms) {
        Ok(timeout @ 1..) if request.acks != 0 => Duration::from_millis(timeout).min(longest),
        _ => longest,
    }
}

/// Finds the topics and validates the batches.
async fn plan(broker: &Broker, request: ProduceRequest) -> Vec<Part> {
    let refused = refusal(&request);
    let mut parts = Vec::new();
    for (topic, data) in request.topic_data.into_iter().enumerate() {
        let (open, missing) = match broker.topics.find(&data.name).await {
            Ok(Some(open)) => (open, None),
            Ok(None) => {
                let message = format!("topic {:?} does not exist", data.name.as_str());
                let refusal = (ProduceError::UnknownTopic, Code::UnknownTopicOrPartition, message);
                (broker.topics.unknown().clone(), Some(refusal))
            }
            Err(error) => {
                let refusal = (ProduceError::Metadata, Code::KafkaStorageError, error.to_string());
                (broker.topics.unknown().clone(), Some(refusal))
            }
        };
        for data in data.partition_data {
            let index = data.index;
            let batches = match refused.clone().or_else(|| missing.clone()) {
                Some(refusal) => Err(refusal),
                None => validate(broker, &open, data),
            };
            parts.push(Part { topic, index, open: open.clone(), batches });
        }
    }
    parts
}

/// Why the request as a whole is refused, if it is.
fn refusal(request: &ProduceRequest) -> Option<Refusal> {
    if request.transactional_id.is_some() {
        let message = "transactions are not supported; unset transactional.id".into();
        return Some((ProduceError::Invalid, Code::TransactionalIdAuthorizationFailed, message));
    }
    if !matches!(request.acks, -1..=1) {
        let message = format!("acks is {}; use 0, 1 or -1 (all)", request.acks);
        return Some((ProduceError::Invalid, Code::InvalidRequiredAcks, message));
    }
    None
}

fn validate(
    broker: &Broker,
    open: &OpenTopic,
    data: PartitionProduceData,
) -> Result<(TopicPartition, Vec<RecordBatch>), Refusal> {
    let partition = open.partition(data.index).ok_or_else(|| {
        let message = format!("topic {:?} has no partition {}", open.name(), data.index);
        (ProduceError::UnknownTopic, Code::UnknownTopicOrPartition, message)
    })?;
    let records = data.records.unwrap_or_default();
    let batches = RecordBatch::split(records, broker.config.max_batch_bytes).map_err(|error| {
        let (class, code) = of_batch(&error);
        (class, code, error.to_string())
    })?;
    Ok((partition, batches))
}

/// Gives a partition's batches their place in the order of the log.
fn start(broker: &Arc<Broker>, part: Part, aside: &Aside) -> Write {
    let Part { topic, index, open, batches } = part;
    let outcome = match batches {
        Ok((partition, batches)) => {
            let start = |batch: RecordBatch| {
                let records = batch.records();
                let attempt = BatchAttempt::new(broker.clone(), open.clone(), records);
                (append(broker, partition, &open, batch, aside), attempt)
            };
            Ok((partition, batches.into_iter().map(start).collect()))
        }
        Err(refusal) => {
            open.produced.errors.of(refusal.0).add(1);
            Err(refusal)
        }
    };
    Write { topic, index, outcome }
}

/// Queues a batch now, and counts it when it has become part of the log, whoever still waits.
fn append(
    broker: &Broker,
    partition: TopicPartition,
    open: &Arc<OpenTopic>,
    batch: RecordBatch,
    aside: &Aside,
) -> JoinHandle<Option<Result<Appended, AppendError>>> {
    let (records, bytes) = (batch.records(), batch.bytes().len());
    let length = i64::try_from(bytes).unwrap_or(i64::MAX);
    let number = partition.partition;
    let span = spans::partition_write(open.name(), number, i64::from(records), length);
    let context = spans::sampled_context(&span);
    let appending = broker.writer.append(Append { partition, batch, span: context });
    let (open, abort, within) = (open.clone(), aside.abort.clone(), span.clone());
    let counting = async move {
        let appended = appending.await;
        match &appended {
            Ok(appended) => {
                // What was part of the log before was counted before.
                if !appended.duplicate {
                    open.produced.records.add(u64::from(records.unsigned_abs()));
                    open.produced.bytes.add(bytes as u64);
                }
                if let Some(flush) = &appended.flush {
                    spans::link(&within, flush);
                }
            }
            Err(error) => {
                use streamhouse_observability::declare::ClosedLabel as _;
                spans::failed(&within, of_append(error).0.as_str());
                tracing::debug!(topic = open.name(), number, %error, "a batch was not accepted");
            }
        }
        appended
    };
    let counting = async move { abort.run_until_cancelled(counting).await };
    aside.tasks.spawn(spans::carry(counting.instrument(span)))
}

/// Waits for all outcomes, no longer than until `deadline`.
async fn finish(
    broker: &Broker,
    names: Vec<kafka_protocol::protocol::StrBytes>,
    writes: Vec<Write>,
    deadline: Instant,
    version: i16,
) -> (ProduceResponse, bool) {
    let mut responses: Vec<_> = names
        .into_iter()
        .map(|name| TopicProduceResponse::default().with_name(TopicName(name)))
        .collect();
    let mut failed = false;
    for write in writes {
        let outcome = match write.outcome {
            Ok((partition, batches)) => {
                settle(batches, deadline).await.map(|offset| (partition, offset))
            }
            Err((_, code, message)) => Err((code, message)),
        };
        failed |= outcome.is_err();
        let response = PartitionProduceResponse::default().with_index(write.index);
        let response = match outcome {
            Ok((partition, offset)) => {
                let log_start = log_start(broker, partition, deadline).await;
                response.with_base_offset(offset).with_log_start_offset(log_start)
            }
            Err((code, message)) => {
                let message = (version >= WITH_MESSAGE).then(|| text(message));
                let response = response.with_error_code(code.code()).with_base_offset(-1);
                response.with_error_message(message)
            }
        };
        if let Some(topic) = responses.get_mut(write.topic) {
            topic.partition_responses.push(response);
        }
    }
    (ProduceResponse::default().with_responses(responses), failed)
}

/// Where a partition's log begins: as last known, or read once; −1 if that cannot be told.
async fn log_start(broker: &Broker, partition: TopicPartition, deadline: Instant) -> i64 {
    if let Some(ends) = broker.reader.last_known(partition) {
        return ends.log_start;
    }
    let ends = tokio::time::timeout_at(deadline, broker.reader.watermarks(partition)).await;
    ends.ok().and_then(Result::ok).map_or(-1, |ends| ends.log_start)
}

/// The first offset of a partition's batches, or the first thing that went wrong.
async fn settle(batches: Vec<Appending>, deadline: Instant) -> Result<i64, (Code, String)> {
    let mut first = None;
    for (append, attempt) in batches {
        let (class, code, message) = match tokio::time::timeout_at(deadline, append).await {
            Ok(Ok(Some(Ok(appended)))) => {
                attempt.settle(None);
                first.get_or_insert(Ok(appended.base_offset));
                continue;
            }
            Ok(Ok(Some(Err(error)))) => {
                let (class, code) = of_append(&error);
                (class, code, error.to_string())
            }
            Ok(Ok(None)) => {
                let message = "the server is shutting down".to_owned();
                (ProduceError::ShuttingDown, Code::NotEnoughReplicas, message)
            }
            Ok(Err(error)) => (ProduceError::Storage, Code::KafkaStorageError, error.to_string()),
            Err(_) => {
                let message = "not durable within the request's timeout".to_owned();
                (ProduceError::Timeout, Code::RequestTimedOut, message)
            }
        };
        attempt.settle(Some(class));
        if first.as_ref().is_none_or(Result::is_ok) {
            first = Some(Err((code, message)));
        }
    }
    first.unwrap_or_else(|| Err((Code::InvalidRecord, "there is no batch".into())))
}
