//! Consumers that somebody else has made.

use super::Consumer;
use crate::connection::Events;
use crate::telemetry::{ErrorType, Reading, Telemetry};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer as KafkaConsumer, ConsumerContext, StreamConsumer,
};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::util::{AsyncRuntime, Timeout};
use std::fmt;
use std::time::Duration;

/// librdkafka's own consumer `S`, with what it does recorded. Settings, subscriptions and the
/// storing of offsets stay as its user has made them, through [`inner`](Self::inner). Only commits
/// made here are recorded: not those that librdkafka makes by itself with `enable.auto.commit`, its
/// default.
pub struct WrappedConsumer<S> {
    inner: S,
    events: Events,
    reading: Reading,
}

impl<S> fmt::Debug for WrappedConsumer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedConsumer").field("reading", &self.reading).finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer around one that exists: `inner` is a `StreamConsumer` or a `BaseConsumer`, with
    /// any context. `group` is what its `group.id` is set to, which librdkafka does not tell.
    pub fn wrap<S>(inner: S, group: Option<&str>, telemetry: &Telemetry) -> WrappedConsumer<S> {
        let reading = Reading::new(telemetry, group, None);
        WrappedConsumer { inner, events: Events::of_wrapped(Duration::from_secs(30)), reading }
    }
}

impl<C: ConsumerContext + 'static, R: AsyncRuntime> WrappedConsumer<StreamConsumer<C, R>> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// As `StreamConsumer::recv`.
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub async fn recv(&self) -> KafkaResult<BorrowedMessage<'_>> {
        let polling = self.reading.begin();
        let result = self.inner.recv().await;
        match &result {
            Ok(message) => self.reading.polled_one(polling, message),
            Err(KafkaError::PartitionEOF(_)) => {}
            Err(error) => self.reading.poll_failed(polling, self.class(error)),
        }
        result
    }
}

impl<C: ConsumerContext + 'static> WrappedConsumer<BaseConsumer<C>> {
    /// Waits at most `timeout` for the next message, on this thread.
    pub fn poll(&self, timeout: impl Into<Timeout>) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        let polling = self.reading.begin();
        let result = self.inner.poll(timeout);
        match &result {
            Some(Ok(message)) => self.reading.polled_one(polling, message),
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => self.reading.poll_failed(polling, self.class(error)),
        }
        result
    }
}

impl<S> WrappedConsumer<S> {
    /// The consumer itself.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The consumer itself, no longer recorded.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Runs `work` on `message`, in a `process` span if it has one, and notes how long it took.
    /// Storing or committing the message's offset is left to the caller.
    ///
    /// # Errors
    /// Those of `work`.
    /// # Cancel safety
    /// Dropped before its end, `work` counts as cancelled.
    pub async fn process<T, E>(
        &self,
        message: &impl Message,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.reading.process(message, work).await
    }

    /// As [`process`](Self::process), on this thread.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn process_here<T, E>(
        &self,
        message: &impl Message,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.reading.process_here(message, work)
    }

    /// Commits `offsets`. In asynchronous mode what is recorded is the handing over.
    ///
    /// # Errors
    /// As `Consumer::commit`.
    pub fn commit<C>(&self, offsets: &TopicPartitionList, mode: CommitMode) -> KafkaResult<()>
    where
        C: ConsumerContext,
        S: KafkaConsumer<C>,
    {
        self.committing(|inner| inner.commit(offsets, mode))
    }

    /// Commits the offset after `message`. In asynchronous mode what is recorded is the handing
    /// over.
    ///
    /// # Errors
    /// As `Consumer::commit_message`.
    pub fn commit_message<C>(
        &self,
        message: &BorrowedMessage<'_>,
        mode: CommitMode,
    ) -> KafkaResult<()>
    where
        C: ConsumerContext,
        S: KafkaConsumer<C>,
    {
        self.committing(|inner| inner.commit_message(message, mode))
    }

    /// Commits the stored offsets. In asynchronous mode what is recorded is the handing over.
    ///
    /// # Errors
    /// As `Consumer::commit_consumer_state`.
    pub fn commit_consumer_state<C>(&self, mode: CommitMode) -> KafkaResult<()>
    where
        C: ConsumerContext,
        S: KafkaConsumer<C>,
    {
        self.committing(|inner| inner.commit_consumer_state(mode))
    }

    fn committing(&self, commit: impl FnOnce(&S) -> KafkaResult<()>) -> KafkaResult<()> {
        let committing = self.reading.begin_commit();
        let result = commit(&self.inner);
        let error = match &result {
            // There was nothing to commit.
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => None,
            Err(error) => Some(self.class(error)),
        };
        self.reading.committed(committing, Vec::new(), error);
        result
    }

    fn class(&self, error: &KafkaError) -> ErrorType {
        ErrorType::from(&self.events.explain("reading", "the topic", error))
    }
}
