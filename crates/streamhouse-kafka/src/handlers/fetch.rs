//! Fetch: reads what is there, and waits for what is not.

use super::{Context, text};
use crate::attempt::{Attempt, Kind};
use crate::broker::Broker;
use crate::error::of_read;
use crate::reply::{Delivery, Reply, Turn};
use crate::topics::OpenTopic;
use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::{TopicPartition, Watermarks};
use streamhouse_observability::labels::ConsumeError;
use streamhouse_storage::{Fetched, ReadError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The epoch of every partition's leader: there is no election that could raise it.
pub(crate) const LEADER_EPOCH: i32 = 0;

/// One partition of the request.
struct Wanted {
    topic: usize,
    open: Arc<OpenTopic>,
    partition: Result<TopicPartition, (ConsumeError, Code)>,
    index: i32,
    offset: i64,
    max_bytes: usize,
}

/// One reading of all partitions.
#[derive(Default)]
struct Read {
    parts: Vec<PartitionData>,
    /// What to count once it is sent.
    delivered: Vec<(Arc<OpenTopic>, u64, u64)>,
    bytes: usize,
    failed: bool,
    /// From where on further records are waited for.
    ends: Vec<(TopicPartition, i64)>,
    /// The memory of the records.
    permit: Option<OwnedSemaphorePermit>,
    /// There is no more room, by the request's limit or in memory.
    full: bool,
}

/// What bounds the reading of all partitions.
struct Bounds {
    /// Bytes of records in all.
    limit: usize,
    /// Until when memory is waited for.
    deadline: Instant,
    draining: CancellationToken,
}

pub(crate) async fn handle(context: Context, request: FetchRequest, turn: Turn) -> Reply {
    if request.session_id != 0 {
        // No session was ever given out: the client asks again for everything it wants.
        let code = Code::FetchSessionIdNotFound.code();
        return Reply::new(FetchResponse::default().with_error_code(code), true);
    }
    let Context { broker, version, arrival, ids, draining, .. } = context;
    // Copied, so that the answer does not keep the frame.
    let names: Vec<_> = request.topics.iter().map(|topic| text(topic.topic.as_str())).collect();
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = Instant::from_std(arrival.at) + wait.min(broker.config.max_wait);
    let limit = usize::try_from(request.max_bytes).unwrap_or(0);
    let limit = limit.clamp(1, broker.config.max_fetch_bytes);
    let min = usize::try_from(request.min_bytes).unwrap_or(0).min(limit);
    let partitions = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    let traced = broker.requests.begin(arrival, &[]).with_ids(ids);
    let kind = Kind::Fetch { partitions };
    let mut attempt = Attempt::new(broker.clone(), kind, traced, arrival.at);
    let wanted = attempt.run(plan(&broker, request)).await;
    if let Some(before) = turn.before {
        let _ = attempt.wait(before).await; // however it ended
    }
    let bounds = Bounds { limit, deadline, draining };
    let read = loop {
        let read = attempt.run(read(&broker, &wanted, &bounds)).await;
        let draining = &bounds.draining;
        let enough = read.bytes >= min && (min > 0 || read.bytes > 0 || wait.is_zero());
        // Where there is no more room, waiting brings nothing.
        if enough
            || read.full
            || read.failed
            || draining.is_cancelled()
            || Instant::now() >= deadline
        {
            break read;
        }
        let ends = read.into_ends();
        let news = async {
            tokio::select! {
                () = more(&broker, &ends) => {}
                () = tokio::time::sleep_until(deadline) => {}
                () = draining.cancelled() => {}
            }
        };
        attempt.wait(news).await;
    };
    attempt.run(async { tracing::debug!(version, bytes = read.bytes, "fetch answered") }).await;
    let failed = read.failed;
    let delivery =
        Delivery { topics: read.delivered, _permit: read.permit, _done: Some(turn.done) };
    let response = FetchResponse::default().with_responses(by_topic(names, &wanted, read.parts));
    attempt.settle(failed);
    Reply { delivery, ..Reply::new(response, failed) }
}

/// Finds the topics.
async fn plan(broker: &Broker, request: FetchRequest) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (topic, asked) in request.topics.into_iter().enumerate() {
        let found = broker.topics.find(&asked.topic).await;
        for partition in asked.partitions {
            let (open, checked) = match &found {
                Ok(Some(open)) => (open.clone(), check(open, &partition)),
                Ok(None) => (
                    broker.topics.unknown().clone(),
                    Err((ConsumeError::UnknownTopic, Code::UnknownTopicOrPartition)),
                ),
                Err(_) => (
                    broker.topics.unknown().clone(),
                    Err((ConsumeError::Metadata, Code::KafkaStorageError)),
                ),
            };
            wanted.push(Wanted {
                topic,
                open,
                partition: checked,
                index: partition.partition,
                offset: partition.fetch_offset,
                max_bytes: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
            });
        }
    }
    wanted
}

fn check(open: &OpenTopic, asked: &FetchPartition) -> Result<TopicPartition, (ConsumeError, Code)> {
    if asked.current_leader_epoch > LEADER_EPOCH {
        return Err((ConsumeError::UnknownTopic, Code::UnknownLeaderEpoch));
    }
    open.partition(asked.partition)
        .ok_or((ConsumeError::UnknownTopic, Code::UnknownTopicOrPartition))
}

/// Waits for records beyond `ends`. Appends of other agents are not heard of: where there are
/// some, it is time to look again after a while.
async fn more(broker: &Broker, ends: &[(TopicPartition, i64)]) {
    if ends.is_empty() {
        std::future::pending::<()>().await;
    }
    if broker.agents.live().len() <= 1 {
        return broker.reader.wait(ends).await;
    }
    let _ = tokio::time::timeout(broker.config.tail_poll, broker.reader.wait(ends)).await;
}

/// Reads every partition once, in the order asked, within `bounds`; at least one batch if there is
/// one, and memory for it.
async fn read(broker: &Broker, wanted: &[Wanted], bounds: &Bounds) -> Read {
    let mut read = Read::default();
    for one in wanted {
        let part = PartitionData::default()
            .with_partition_index(one.index)
            .with_high_watermark(-1)
            .with_aborted_transactions(None)
            .with_records(Some(Bytes::new()));
        let part = match one.partition {
            Ok(partition) => read.partition(broker, one, partition, bounds, part).await,
            Err((class, code)) => read.refused(one, class, code, part),
        };
        read.parts.push(part);
    }
    read
}

impl Read {
    async fn partition(
        &mut self,
        broker: &Broker,
        one: &Wanted,
        partition: TopicPartition,
        bounds: &Bounds,
        part: PartitionData,
    ) -> PartitionData {
        match self.fetched(broker, one, partition, bounds).await {
            Ok(fetched) => {
                self.ends.push((partition, fetched.watermarks.high_watermark));
                let part = with_ends(part, fetched.watermarks);
                let length = length(&fetched.batches);
                if length == 0 {
                    return part;
                }
                self.bytes += length;
                self.delivered.push((one.open.clone(), fetched.records, length as u64));
                part.with_records(Some(joined(fetched.batches, length)))
            }
            Err(error) => {
                let (class, code) = of_read(&error);
                tracing::debug!(topic = one.open.name(), one.index, %error, "not readable");
                let part = match error {
                    ReadError::OutOfRange { log_start, high_watermark, .. } => {
                        with_ends(part, Watermarks { log_start, high_watermark })
                    }
                    _ => part,
                };
                self.refused(one, class, code, part)
            }
        }
    }

    /// Reads a partition; only its ends where there is no room for its records.
    async fn fetched(
        &mut self,
        broker: &Broker,
        one: &Wanted,
        partition: TopicPartition,
        bounds: &Bounds,
    ) -> Result<Fetched, ReadError> {
        let left = bounds.limit.saturating_sub(self.bytes);
        let max_bytes = left.min(one.max_bytes).max(1);
        self.full |= left == 0;
        let permit = match self.full {
            true => None,
            false => self.memory(broker, max_bytes, bounds).await,
        };
        let Some(permit) = permit else {
            self.full = true;
            return ends(broker, one, partition).await;
        };
        let mut fetched = broker.reader.fetch(partition, one.offset, max_bytes).await?;
        let length = length(&fetched.batches);
        // Beyond the limit only the answer's first batch goes out: a consumer must not get stuck
        // before a batch that is larger than what it asks for.
        if length > left && self.bytes > 0 {
            self.full = true;
            fetched.batches.clear();
        } else {
            self.keep(permit, length);
        }
        Ok(fetched)
    }

    /// Takes memory for up to `bytes` of records, and waits for it while the answer is empty.
    /// Who has some does not wait for more: those who do could wait for each other.
    async fn memory(
        &self,
        broker: &Broker,
        bytes: usize,
        bounds: &Bounds,
    ) -> Option<OwnedSemaphorePermit> {
        let deliveries = broker.deliveries.clone();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.bytes > 0 {
            return deliveries.try_acquire_many_owned(bytes).ok();
        }
        tokio::select! {
            biased;
            permit = deliveries.acquire_many_owned(bytes) => permit.ok(),
            () = tokio::time::sleep_until(bounds.deadline) => None,
            () = bounds.draining.cancelled() => None,
        }
    }

    /// What is waited for; what was read is too little, and gives its memory back.
    fn into_ends(self) -> Vec<(TopicPartition, i64)> {
        self.ends
    }

    /// Keeps as much of `permit` as was read, and frees the rest.
    fn keep(&mut self, mut permit: OwnedSemaphorePermit, bytes: usize) {
        let Some(kept) = permit.split(bytes.min(permit.num_permits())) else { return };
        match &mut self.permit {
            Some(all) => all.merge(kept),
            None => self.permit = Some(kept),
        }
    }

    fn refused(
        &mut self,
        one: &Wanted,
        class: ConsumeError,
        code: Code,
        part: PartitionData,
    ) -> PartitionData {
        one.open.consumed.errors.of(class).add(1);
        self.failed = true;
        part.with_error_code(code.code())
    }
}

/// A partition's ends without its records, from memory if they can be right.
async fn ends(
    broker: &Broker,
    one: &Wanted,
    partition: TopicPartition,
) -> Result<Fetched, ReadError> {
    let holds = |ends: &Watermarks| (ends.log_start..=ends.high_watermark).contains(&one.offset);
    let watermarks = match broker.reader.last_known(partition).filter(holds) {
        Some(known) => known,
        None => broker.reader.watermarks(partition).await?,
    };
    if !holds(&watermarks) {
        let Watermarks { log_start, high_watermark } = watermarks;
        return Err(ReadError::OutOfRange { offset: one.offset, log_start, high_watermark });
    }
    Ok(Fetched { watermarks, batches: Vec::new(), records: 0 })
}

fn length(batches: &[Bytes]) -> usize {
    batches.iter().map(Bytes::len).sum()
}

fn with_ends(part: PartitionData, ends: Watermarks) -> PartitionData {
    part.with_high_watermark(ends.high_watermark)
        .with_last_stable_offset(ends.high_watermark)
        .with_log_start_offset(ends.log_start)
}

/// The batches as one piece, copied only if there are several.
fn joined(mut batches: Vec<Bytes>, length: usize) -> Bytes {
    if let [_] = batches.as_slice() {
        return batches.pop().unwrap_or_default();
    }
    let mut joined = BytesMut::with_capacity(length);
    for batch in batches {
        joined.extend_from_slice(&batch);
    }
    joined.freeze()
}

fn by_topic(
    names: Vec<StrBytes>,
    wanted: &[Wanted],
    parts: Vec<PartitionData>,
) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<_> = names
        .into_iter()
        .map(|name| FetchableTopicResponse::default().with_topic(TopicName(name)))
        .collect();
    for (one, part) in wanted.iter().zip(parts) {
        if let Some(topic) = topics.get_mut(one.topic) {
            topic.partitions.push(part);
        }
    }
    topics
}
