//! The consumer that shares topics with the other members of its group.

use super::progress::Progress;
use super::received::LastTopic;
use crate::connection::{Connection, Events};
use crate::error::ClientError;
use crate::record::Received;
use crate::telemetry::{ErrorType, Polling, Reading};
use futures_util::FutureExt as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance, StreamConsumer,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where a group begins that has committed nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// At the first record there is.
    #[default]
    Earliest,
    /// After the last record there is.
    Latest,
}

/// How a member of a group reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// Where the group begins if it has committed nothing. Default: at the first record.
    pub begin: Begin,
    /// How often settled records are committed by themselves, and also when partitions go to other
    /// members; `None` leaves commits to the application. Default: every 5 s.
    pub commit_every: Option<Duration>,
    /// How long a member may be silent until its partitions go to others. Default: 45 s.
    pub session_timeout: Duration,
    /// How many received records may wait to be settled. Default: 10,000.
    pub unsettled: usize,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            begin: Begin::Earliest,
            commit_every: Some(Duration::from_secs(5)),
            session_timeout: Duration::from_secs(45),
            unsettled: 10_000,
        }
    }
}

/// A member of a consumer group: each record goes to one member, at least once. Cheap to clone.
///
/// A received record is *settled* when [`process`](Self::process) ended well or
/// [`settle`](Self::settle) was called. Only settled records are committed, and none beyond the
/// first one that is not: what a member did not settle is read again after it is gone.
///
/// End it by [`close`](Self::close): dropping the last clone leaves the group too, but blocks the
/// thread while it does.
#[derive(Clone)]
pub struct GroupConsumer(Arc<Member>);

struct Member {
    inner: StreamConsumer<GroupEvents>,
    events: Events,
    reading: Reading,
    progress: Arc<Progress>,
    names: LastTopic,
    /// What befell a poll that had records to give.
    later: Mutex<Option<ClientError>>,
}

impl fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConsumer").field("reading", &self.0.reading).finish_non_exhaustive()
    }
}

impl GroupConsumer {
    /// Joins `group` and asks for a share of `topics`. It connects when it is polled.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: a name or setting is not possible.
    pub fn subscribe(
        connection: &Connection,
        group: &str,
        topics: &[&str],
        options: GroupOptions,
    ) -> Result<Self, ClientError> {
        if group.is_empty() || topics.is_empty() {
            let why = "a group needs a name and at least one topic: give both";
            return Err(ClientError::Invalid(why.into()));
        }
        let begin = match options.begin {
            Begin::Earliest => "earliest",
            Begin::Latest => "latest",
        };
        let mut config = connection.config()?;
        config
            .set("group.id", group)
            .set("auto.offset.reset", begin)
            .set("session.timeout.ms", options.session_timeout.as_millis().to_string())
            .set("enable.auto.commit", options.commit_every.is_some().to_string())
            // Only what the application has settled may be committed.
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.error.backoff.ms", "50")
            // A slow reader must lag at the broker, where it can be seen, not in its own memory.
            .set("queued.max.messages.kbytes", "65536");
        if let Some(every) = options.commit_every {
            config.set("auto.commit.interval.ms", every.as_millis().max(1).to_string());
        }
        let events = connection.events();
        let progress = Arc::new(Progress::new(options.unsettled));
        let context = GroupEvents { events: events.clone(), progress: progress.clone() };
        let inner: StreamConsumer<GroupEvents> = config
            .create_with_context(context)
            .map_err(|error| events.explain("making a consumer", "the consumer", &error))?;
        inner
            .subscribe(topics)
            .map_err(|error| events.explain("subscribing", &format!("{topics:?}"), &error))?;
        let reading =
            Reading::new(&connection.telemetry(), Some(group), Some(&connection.client_id));
        let (names, later) = (LastTopic::default(), Mutex::default());
        Ok(Self(Arc::new(Member { inner, events, reading, progress, names, later })))
    }

    /// Waits for the next record.
    ///
    /// Poll at least every five minutes (`max.poll.interval.ms`), or the partitions go to others.
    /// # Errors
    /// [`ClientError::Unsettled`]: settle some records first.
    /// [`ClientError::Unknown`]: a topic does not exist; it may be created yet, call again.
    /// [`ClientError::Fenced`]: end this consumer.
    /// Any that [is retryable](ClientError::is_retryable): call again.
    /// # Cancel safety
    /// Dropping the future loses no record.
    pub async fn recv(&self) -> Result<Received, ClientError> {
        let polling = self.0.reading.begin();
        match self.0.receive().await {
            Ok(received) => {
                self.0.reading.polled_one(polling, &received);
                Ok(received)
            }
            Err(error) => Err(self.0.failed(polling, error)),
        }
    }

    /// Waits at most `wait` for a record, and returns it with those that are there by then, at most
    /// `max` of them. They are told as one poll, linked with the contexts of their creation.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    /// # Cancel safety
    /// Dropping the future loses no record.
    pub async fn poll(&self, max: usize, wait: Duration) -> Result<Vec<Received>, ClientError> {
        let polling = self.0.reading.begin();
        if let Some(error) = self.0.later().take() {
            return Err(self.0.failed(polling, error));
        }
        let mut records = Vec::new();
        match tokio::time::timeout(wait, self.0.receive()).await {
            Ok(Ok(first)) => records.push(first),
            Ok(Err(error)) => return Err(self.0.failed(polling, error)),
            Err(_nothing_came) => {}
        }
        while !records.is_empty() && records.len() < max {
            match self.0.receive().now_or_never() {
                Some(Ok(next)) => records.push(next),
                Some(Err(ClientError::Unsettled { .. })) | None => break,
                Some(Err(error)) => {
                    *self.0.later() = Some(error);
                    break;
                }
            }
        }
        self.0.reading.polled(polling, &records);
        Ok(records)
    }

    /// Runs `work` on `record`, and settles the record if it ends well.
    ///
    /// It counts in `messaging.process.duration`. Where the record or the work at hand is sampled,
    /// `work` runs in a `process` span, linked with the record's creation; outside a trace it
    /// continues that of the creation.
    /// # Errors
    /// Those of `work`: the record is not settled, so nothing from it on is committed until it is
    /// processed again or [settled](Self::settle).
    /// # Cancel safety
    /// Dropped before its end, `work` counts as cancelled and the record is not settled.
    pub async fn process<T, E>(
        &self,
        record: &Received,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let result = self.0.reading.process(record, work).await;
        if result.is_ok() {
            self.settle(record);
        }
        result
    }

    /// Says that `record` need not be read again: it was worked on elsewhere, or is to be skipped.
    pub fn settle(&self, record: &Received) {
        let created = self.0.reading.link(record);
        self.0.progress.settled(&record.topic, record.partition, record.offset, created, |next| {
            self.0.store(&record.topic, record.partition, next);
        });
    }

    /// Commits what is settled, and waits until the broker has it.
    ///
    /// # Errors
    /// [`ClientError::Rebalanced`]: partitions went to other members, which read again what was
    /// not committed; go on. Any that [is retryable](ClientError::is_retryable): call again.
    /// # Cancel safety
    /// Dropping the future does not take the commit back, which is then not recorded.
    pub async fn commit(&self) -> Result<(), ClientError> {
        self.commit_begun(self.0.reading.begin()).await
    }

    /// Commits what is settled and does not wait; a failure is only recorded.
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn commit_soon(&self) {
        let (member, committing) = (self.clone(), self.0.reading.begin());
        tokio::spawn(async move {
            if let Err(error) = member.commit_begun(committing).await {
                tracing::debug!(%error, "a commit failed; the next one covers it");
            }
        });
    }

    async fn commit_begun(&self, committing: Polling) -> Result<(), ClientError> {
        let links = self.0.progress.take_created();
        let result = self.blocking("committing", |member| {
            match member.inner.commit_consumer_state(CommitMode::Sync) {
                Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
                result => result,
            }
        });
        let result = result.await;
        let error = result.as_ref().err().map(ErrorType::from);
        self.0.reading.committed(committing, links, error);
        result
    }

    /// The partitions that this member has now, by topic and number.
    ///
    /// # Errors
    /// [`ClientError::Refused`]: the consumer has failed.
    pub fn assignment(&self) -> Result<Vec<(String, i32)>, ClientError> {
        let list = self.0.inner.assignment().map_err(|error| self.0.explain(&error))?;
        let mut all: Vec<_> =
            list.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect();
        all.sort();
        Ok(all)
    }

    /// Commits what is settled and leaves the group, so that others get the partitions at once.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); the group is left all the same once the last clone is gone.
    pub async fn close(self) -> Result<(), ClientError> {
        let committed = self.commit().await;
        // Leaving waits for the broker.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
        committed
    }

    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        call: impl FnOnce(&Member) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let member = self.clone();
        match tokio::task::spawn_blocking(move || call(&member.0)).await {
            Ok(result) => {
                result.map_err(|error| self.0.events.explain(action, "the topic", &error))
            }
            Err(_) => Err(ClientError::TimedOut { action, after: self.0.events.timeout() }),
        }
    }
}

impl Member {
    async fn receive(&self) -> Result<Received, ClientError> {
        if let Some(error) = self.later().take() {
            return Err(error);
        }
        self.progress.room().map_err(|waiting| ClientError::Unsettled { waiting })?;
        match self.inner.recv().await {
            Ok(message) => {
                let received = self.names.received(&message);
                self.progress.received(&received.topic, received.partition, received.offset);
                Ok(received)
            }
            Err(error) => Err(self.explain(&error)),
        }
    }

    fn later(&self) -> std::sync::MutexGuard<'_, Option<ClientError>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, polling: Polling, error: ClientError) -> ClientError {
        self.reading.poll_failed(polling, ErrorType::from(&error));
        error
    }

    fn explain(&self, error: &KafkaError) -> ClientError {
        self.events.explain("reading", "a subscribed topic", error)
    }

    fn store(&self, topic: &str, partition: i32, next: i64) {
        let mut list = TopicPartitionList::with_capacity(1);
        let stored = list
            .add_partition_offset(topic, partition, Offset::Offset(next))
            .and_then(|()| self.inner.store_offsets(&list));
        if let Err(error) = stored {
            // Another member has the partition by now and reads the record again.
            tracing::debug!(%error, topic, partition, "a settled record cannot be committed");
        }
    }
}

/// What librdkafka says to a member of a group. Nothing here waits.
#[derive(Clone, Debug)]
pub(super) struct GroupEvents {
    events: Events,
    progress: Arc<Progress>,
}

impl ClientContext for GroupEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.events.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ConsumerContext for GroupEvents {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                tracing::debug!(partitions = list.count(), "partitions are assigned");
            }
            Rebalance::Revoke(list) => {
                for one in list.elements() {
                    self.progress.revoked(one.topic(), one.partition());
                }
                tracing::debug!(partitions = list.count(), "partitions go to other members");
            }
            Rebalance::Error(error) => tracing::info!(%error, "a rebalance failed"),
        }
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _: &TopicPartitionList) {
        match result {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => tracing::debug!(%error, "a commit failed; the next one covers it"),
        }
    }
}
