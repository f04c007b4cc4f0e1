//! The consumer without a group: reads partitions that it chooses itself.

use super::received::LastTopic;
use crate::connection::{Connection, Events};
use crate::error::ClientError;
use crate::record::Received;
use crate::telemetry::{ErrorType, Reading};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first record there is.
    Earliest,
    /// After the last record there is.
    Latest,
    /// At this offset.
    Offset(i64),
    /// At the first record whose timestamp is at or after these milliseconds since the epoch.
    Timestamp(i64),
}

/// A partition that is read, and where reading began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The partition.
    pub partition: i32,
    /// The offset of the first record asked for.
    pub start: i64,
}

/// Reads records of one topic. It belongs to no group and commits nothing.
pub struct Consumer {
    inner: Arc<StreamConsumer<Events>>,
    events: Events,
    topic: String,
    assigned: Vec<Assigned>,
    reading: Reading,
    names: LastTopic,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("topic", &self.topic)
            .field("assigned", &self.assigned)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer of `partitions` of `topic` (all, if none is given), beginning at `start`.
    ///
    /// # Errors
    /// [`ClientError::Unknown`]: topic or partition does not exist.
    /// [`ClientError::Unreachable`], [`ClientError::TimedOut`]: try again.
    pub async fn new(
        connection: &Connection,
        topic: &str,
        partitions: &[i32],
        start: Start,
    ) -> Result<Self, ClientError> {
        let mut config = connection.config()?;
        config
            // librdkafka assigns partitions only to members of a group; nobody else is in this one.
            .set("group.id", format!("{}-alone", connection.client_id))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.error.backoff.ms", "50")
            .set("fetch.message.max.bytes", "8388608")
            // A slow reader must lag at the broker, where it can be seen, not in its own memory.
            .set("queued.min.messages", "100")
            .set("queued.max.messages.kbytes", "65536");
        let events = connection.events();
        let inner: StreamConsumer<Events> = config
            .create_with_context(events.clone())
            .map_err(|error| events.explain("making a consumer", "the consumer", &error))?;
        let reading = Reading::new(&connection.telemetry(), None, Some(&connection.client_id));
        let mut consumer = Self {
            inner: Arc::new(inner),
            events,
            topic: topic.to_owned(),
            assigned: Vec::new(),
            reading,
            names: LastTopic::default(),
        };
        let partitions = consumer.existing(partitions).await?;
        consumer.assigned = consumer.resolve(partitions, start).await?;
        consumer.assign()?;
        Ok(consumer)
    }

    /// The partitions that are read, by number, and where reading began: every start is settled
    /// when [`new`](Self::new) returns, so that nothing produced afterwards is missed.
    pub fn assigned(&self) -> &[Assigned] {
        &self.assigned
    }

    /// Waits for the next record.
    ///
    /// # Errors
    /// [`ClientError::OffsetOutOfRange`]: retention has passed by; begin at earliest.
    /// Any that [is retryable](ClientError::is_retryable): call again.
    /// # Cancel safety
    /// Dropping the future loses no record.
    pub async fn next(&self) -> Result<Received, ClientError> {
        let polling = self.reading.begin();
        let error = match self.inner.recv().await {
            Ok(message) => {
                let received = self.names.received(&message);
                self.reading.polled_one(polling, &received);
                return Ok(received);
            }
            Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            )) => self.out_of_range().await,
            Err(error) => self.explain(&error),
        };
        self.reading.poll_failed(polling, ErrorType::from(&error));
        Err(error)
    }

    /// Runs `work` on `record`, in a `process` span if it has one, and notes how long it took. The
    /// span is linked with the record's creation, and its child where there is no trace yet.
    ///
    /// # Errors
    /// Those of `work`.
    /// # Cancel safety
    /// Dropped before its end, `work` counts as cancelled.
    pub async fn process<T, E>(
        &self,
        record: &Received,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.reading.process(record, work).await
    }

    /// The offset after the last record of each partition, in the order of
    /// [`assigned`](Self::assigned).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn ends(&self) -> Result<Vec<i64>, ClientError> {
        let partitions = self.assigned.iter().map(|assigned| assigned.partition).collect();
        let watermarks = self.watermarks(partitions).await?;
        Ok(watermarks.into_iter().map(|(_, (_, end))| end).collect())
    }

    /// `wanted`, or all partitions if none is wanted, by number.
    async fn existing(&self, wanted: &[i32]) -> Result<Vec<i32>, ClientError> {
        let topic = self.topic.clone();
        let mut known = self
            .blocking(move |consumer, timeout| {
                let metadata = consumer.fetch_metadata(Some(&topic), timeout)?;
                let found = metadata.topics().iter().find(|found| found.name() == topic);
                let ids = found.map(|found| found.partitions().iter().map(|p| p.id()).collect());
                Ok(ids.unwrap_or_else(Vec::new))
            })
            .await?;
        known.sort_unstable();
        let Some(last) = known.last() else {
            return Err(ClientError::Unknown(format!("topic {:?}", self.topic)));
        };
        if let Some(missing) = wanted.iter().find(|wanted| !known.contains(wanted)) {
            return Err(ClientError::no_partition(&self.topic, *missing, *last));
        }
        if !wanted.is_empty() {
            known.retain(|partition| wanted.contains(partition));
        }
        Ok(known)
    }

    async fn resolve(
        &self,
        partitions: Vec<i32>,
        start: Start,
    ) -> Result<Vec<Assigned>, ClientError> {
        if let Start::Offset(start) = start {
            let assigned = |partition| Assigned { partition, start };
            return Ok(partitions.into_iter().map(assigned).collect());
        }
        let ends = self.watermarks(partitions).await?;
        let times = match start {
            Start::Timestamp(timestamp) => self.first_at(&ends, timestamp).await?,
            _ => Vec::new(),
        };
        let assigned = |(partition, (first, end))| {
            let time = times.iter().find(|(at, _)| *at == partition).map(|(_, offset)| *offset);
            let start = match start {
                Start::Earliest => first,
                _ => time.unwrap_or(end),
            };
            Assigned { partition, start }
        };
        Ok(ends.into_iter().map(assigned).collect())
    }

    /// The offset of the first record at or after `timestamp` where there is one.
    async fn first_at(
        &self,
        partitions: &[(i32, (i64, i64))],
        timestamp: i64,
    ) -> Result<Vec<(i32, i64)>, ClientError> {
        let wanted = partitions.iter().map(|(partition, _)| (*partition, timestamp));
        let list = self.list(wanted)?;
        let found =
            self.blocking(move |consumer, timeout| consumer.offsets_for_times(list, timeout));
        let mut offsets = Vec::new();
        for element in found.await?.elements() {
            element.error().map_err(|error| self.explain(&error))?;
            if let Offset::Offset(offset) = element.offset() {
                offsets.push((element.partition(), offset));
            }
        }
        Ok(offsets)
    }

    async fn watermarks(
        &self,
        partitions: Vec<i32>,
    ) -> Result<Vec<(i32, (i64, i64))>, ClientError> {
        let topic = self.topic.clone();
        self.blocking(move |consumer, timeout| {
            let ends =
                |partition| Ok((partition, consumer.fetch_watermarks(&topic, partition, timeout)?));
            partitions.into_iter().map(ends).collect()
        })
        .await
    }

    fn assign(&self) -> Result<(), ClientError> {
        let starts = self.assigned.iter().map(|assigned| (assigned.partition, assigned.start));
        let list = self.list(starts)?;
        self.inner.assign(&list).map_err(|error| self.explain(&error))
    }

    fn list(
        &self,
        partitions: impl Iterator<Item = (i32, i64)>,
    ) -> Result<TopicPartitionList, ClientError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in partitions {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .map_err(|error| self.explain(&error))?;
        }
        Ok(list)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&StreamConsumer<Events>, std::time::Duration) -> Result<T, KafkaError>
        + Send
        + 'static,
    ) -> Result<T, ClientError> {
        let (inner, timeout) = (self.inner.clone(), self.events.timeout());
        match tokio::task::spawn_blocking(move || call(&inner, timeout)).await {
            Ok(result) => result.map_err(|error| self.explain(&error)),
            Err(_) => Err(ClientError::TimedOut { action: "reading", after: timeout }),
        }
    }

    fn explain(&self, error: &KafkaError) -> ClientError {
        self.events.explain("reading", &format!("topic {:?}", self.topic), error)
    }

    /// The error does not say which partition it befell: those that began outside their log.
    async fn out_of_range(&self) -> ClientError {
        let all = self.assigned.iter().map(|assigned| assigned.partition).collect();
        let logs = self.watermarks(all).await.unwrap_or_default();
        let is_outside = |assigned: &&Assigned| {
            let log = logs.iter().find(|(partition, _)| *partition == assigned.partition);
            log.is_none_or(|(_, (first, end))| !(*first..=*end).contains(&assigned.start))
        };
        let mut outside: Vec<_> = self.assigned.iter().filter(is_outside).collect();
        if outside.is_empty() {
            outside = self.assigned.iter().collect();
        }
        let starts: BTreeSet<_> = outside.iter().map(|assigned| assigned.start).collect();
        let noun = if outside.len() == 1 { "partition" } else { "partitions" };
        let partitions = join(outside.iter().map(|assigned| i64::from(assigned.partition)));
        ClientError::OffsetOutOfRange {
            topic: self.topic.clone(),
            partitions: format!("{noun} {partitions}"),
            offset: join(starts.into_iter()),
        }
    }
}

fn join(numbers: impl Iterator<Item = i64>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
}
