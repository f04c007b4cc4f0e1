//! The commits of a member of a group. Each is recorded once, with the records that it settles.
//!
//! What is asked for, and what is due, is committed by a call that waits, one at a time, on a thread
//! that may wait. What is settled of partitions that go to other members is only *stored* in the
//! callback of the rebalance: librdkafka commits it before it gives them up, and nothing waits. Its
//! commit callback tells of that second kind alone, so that no commit is recorded twice.

use super::progress::{Batch, Part, Progress};
use crate::connection::Events;
use crate::error::ClientError;
use crate::telemetry::{Committing, ErrorType, Reading};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often it is told that commits fail.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// How many partitions a line names.
const NAMED: usize = 10;

/// What a member commits, and what of it is under way.
pub(super) struct Commits {
    pub(super) progress: Progress,
    pub(super) events: Events,
    reading: Reading,
    group: String,
    /// Whether what is settled of partitions that go is committed.
    on_revoke: bool,
    one_at_a_time: Mutex<()>,
    /// What librdkafka commits before it gives partitions up.
    revoking: Mutex<VecDeque<(Committing, Batch)>>,
    complaint: Mutex<Complaint>,
}

/// A commit that failed, and what it was to settle.
pub(super) struct Failed {
    pub(super) error: ClientError,
    partitions: String,
}

/// When it was last told that commits fail, and how many have failed since.
#[derive(Default)]
struct Complaint {
    last: Option<Instant>,
    failed: u64,
}

impl Commits {
    pub(super) fn new(
        progress: Progress,
        events: Events,
        reading: Reading,
        group: &str,
        on_revoke: bool,
    ) -> Self {
        let (one_at_a_time, revoking, complaint) = Default::default();
        let group = group.to_owned();
        Self { progress, events, reading, group, on_revoke, one_at_a_time, revoking, complaint }
    }

    /// A commit begins that nobody asks for.
    pub(super) fn begin_own(&self) -> Committing {
        self.reading.begin_own_commit()
    }

    /// Waits until no call of [`commit`](Self::commit) is under way, and lets none begin.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits what is settled and waits for the answer. Two at once would mix up what they settle:
    /// call it while [`alone`](Self::alone).
    pub(super) fn commit(
        &self,
        consumer: &impl Consumer<GroupEvents>,
        committing: Committing,
    ) -> Result<(), Failed> {
        let mut stored = Ok(());
        let batch = self.progress.take(|batch| stored = store(consumer, batch));
        if batch.is_empty() {
            return Ok(());
        }
        let result = stored.and_then(|()| consumer.commit_consumer_state(CommitMode::Sync));
        match result {
            Ok(()) => {
                let links = batch.links();
                // Stored any longer, it would be committed again when its partition goes.
                self.progress.committed(batch, |batch| forget(consumer, batch));
                self.reading.committed(committing, links, None);
                Ok(())
            }
            // The partitions went in between. librdkafka has committed what was stored of them.
            Err(
                KafkaError::StoreOffset(_) | KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset),
            ) => Ok(()),
            Err(error) => {
                let failed = self.failed(committing, &batch, &error);
                self.progress.put_back(batch);
                Err(failed)
            }
        }
    }

    fn failed(&self, committing: Committing, batch: &Batch, error: &KafkaError) -> Failed {
        let partitions = named(batch.parts());
        let error = self.events.explain("committing", &partitions, error);
        self.reading.committed(committing, batch.links(), Some(ErrorType::from(&error)));
        Failed { error, partitions }
    }

    /// These partitions go to other members as soon as the callback that tells of it has returned.
    fn revoked(&self, consumer: &BaseConsumer<GroupEvents>, list: &TopicPartitionList) {
        // Lost ones have their new members already.
        let is_in_time = self.on_revoke && !consumer.assignment_lost();
        let committing = self.begin_own();
        let elements = list.elements();
        let gone = elements.iter().map(|one| (one.topic(), one.partition()));
        let mut is_stored = false;
        let batch = self.progress.revoked(gone, |batch| {
            is_stored = is_in_time && store(consumer, batch).is_ok();
        });
        if is_stored {
            self.revoking().push_back((committing, batch));
        } else if !batch.is_empty() {
            let partitions = named(batch.parts());
            tracing::debug!(partitions, "settled and not committed: others read it again");
        }
    }

    /// librdkafka has committed what was stored of partitions that go.
    fn answered(&self, result: Result<(), KafkaError>) {
        // Without one here, it has committed again what a waiting call was about to commit.
        let Some((committing, batch)) = self.revoking().pop_front() else { return };
        match result {
            Ok(()) => self.reading.committed(committing, batch.links(), None),
            Err(error) => self.tell(&self.failed(committing, &batch, &error)),
        }
    }

    /// What librdkafka has not answered by now it never will: the partitions were lost before it
    /// came to it.
    fn unanswered(&self, error: ErrorType) {
        for (committing, batch) in std::mem::take(&mut *self.revoking()) {
            self.reading.committed(committing, batch.links(), Some(error));
        }
    }

    fn revoking(&self) -> MutexGuard<'_, VecDeque<(Committing, Batch)>> {
        self.revoking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a commit whose failure nobody is given: at most one line every 30 seconds.
    pub(super) fn tell(&self, failed: &Failed) {
        let Failed { error, partitions } = failed;
        if *error == ClientError::Rebalanced {
            let group = &self.group;
            tracing::info!(group, partitions, "a commit came too late: others read it again");
            return;
        }
        let mut complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        complaint.failed += 1;
        if complaint.last.is_some_and(|last| last.elapsed() < TELL_EVERY) {
            return;
        }
        let failed = std::mem::take(&mut complaint.failed);
        complaint.last = Some(Instant::now());
        tracing::warn!(
            group = self.group,
            partitions,
            %error,
            failed,
            "a commit failed: what it was to settle is committed later, or read again"
        );
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.unanswered(ErrorType::Cancelled);
    }
}

/// The partitions as they stand in a line.
fn named(parts: &[Part]) -> String {
    let mut out = String::new();
    for (at, Part { topic, partition, .. }) in parts.iter().take(NAMED).enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        let _ = write!(out, "{separator}{topic}-{partition}");
    }
    if parts.len() > NAMED {
        let _ = write!(out, " and {} more", parts.len() - NAMED);
    }
    out
}

/// Makes the offsets of `batch` what librdkafka commits next.
fn store(consumer: &impl Consumer<GroupEvents>, batch: &Batch) -> Result<(), KafkaError> {
    store_each(consumer, batch, |part| Offset::Offset(part.next))
}

/// Leaves librdkafka nothing to commit of `batch`.
fn forget(consumer: &impl Consumer<GroupEvents>, batch: &Batch) {
    if let Err(error) = store_each(consumer, batch, |_| Offset::Invalid) {
        tracing::debug!(%error, "what is committed may be committed again");
    }
}

fn store_each(
    consumer: &impl Consumer<GroupEvents>,
    batch: &Batch,
    offset: impl Fn(&Part) -> Offset,
) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::with_capacity(batch.parts().len());
    for part in batch.parts() {
        list.add_partition_offset(&part.topic, part.partition, offset(part))?;
    }
    consumer.store_offsets(&list)
}

/// What librdkafka says to a member of a group. Nothing here waits.
pub(super) struct GroupEvents(pub(super) Arc<Commits>);

impl ClientContext for GroupEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.0.events.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.events.error(error, reason);
    }
}

impl ConsumerContext for GroupEvents {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                self.0.unanswered(ErrorType::Rebalanced);
                tracing::debug!(partitions = list.count(), "partitions are assigned");
            }
            Rebalance::Revoke(list) => {
                self.0.revoked(consumer, list);
                tracing::debug!(partitions = list.count(), "partitions go to other members");
            }
            Rebalance::Error(error) => tracing::info!(%error, "a rebalance failed"),
        }
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _: &TopicPartitionList) {
        self.0.answered(result);
    }
}
