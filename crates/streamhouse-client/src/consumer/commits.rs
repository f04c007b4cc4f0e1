//! The commits of a member of a group. Each is recorded once, with the records that it settles.
//!
//! What is asked for, and what is due, is committed by a call that waits, one at a time, on a
//! thread of its own: librdkafka can wait for ever where no broker answers, and a runtime would wait
//! for its own threads when it ends. What is settled of partitions that go to other members is only
//! *stored* in the callback of the rebalance: librdkafka commits it before it gives them up, and
//! nothing waits. Its commit callback tells of that second kind alone, so that no commit is recorded
//! twice.

use super::progress::{Batch, Part, Progress};
use crate::connection::Events;
use crate::error::ClientError;
use crate::telemetry::{Committing, ErrorType, Reading};
use opentelemetry::trace::SpanContext;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

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
    /// Two commits at once would mix up what they settle.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Whether a thread commits.
    busy: Mutex<bool>,
    rest: Condvar,
    /// Whether a commit that nobody waits for waits for its turn.
    pub(super) soon: AtomicBool,
    /// What librdkafka commits before it gives partitions up.
    revoking: Mutex<VecDeque<(Committing, Batch)>>,
    complaint: Mutex<Complaint>,
}

/// A commit that is waited for. Whoever knows first what becomes of it records it: the thread that
/// makes it, or who has waited for too long.
pub(super) struct Underway(Mutex<Option<Open>>);

struct Open {
    committing: Committing,
    links: Vec<SpanContext>,
    partitions: String,
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
        Self {
            progress,
            events,
            reading,
            group: group.to_owned(),
            on_revoke,
            turn: Arc::default(),
            busy: Mutex::default(),
            rest: Condvar::new(),
            soon: AtomicBool::new(false),
            revoking: Mutex::default(),
            complaint: Mutex::default(),
        }
    }

    /// A commit begins that the work at hand asks for.
    pub(super) fn begin(&self) -> Arc<Underway> {
        Underway::new(self.reading.begin_commit())
    }

    /// A commit begins that nobody asks for.
    pub(super) fn begin_own(&self) -> Arc<Underway> {
        Underway::new(self.reading.begin_own_commit())
    }

    /// Commits what is settled, with what `member` gives, unless it is gone: then it has done so
    /// already.
    ///
    /// # Cancel safety
    /// Dropping the future does not take back what was sent.
    pub(super) async fn commit<M, C>(
        self: Arc<Self>,
        member: Weak<M>,
        underway: Arc<Underway>,
    ) -> Result<(), Failed>
    where
        M: AsRef<C> + Send + Sync + 'static,
        C: Consumer<GroupEvents>,
    {
        let turn = self.turn.clone().lock_owned().await;
        self.soon.store(false, Ordering::Release);
        if self.progress.is_idle() {
            return Ok(());
        }
        let (done, result) = oneshot::channel();
        let (commits, mine) = (self.clone(), underway.clone());
        let thread = std::thread::Builder::new().name("commit".into()).spawn(move || {
            // Let go in the reverse order: who waits for rest then holds the last of the member.
            let _turn = turn;
            let _busy = Busy::begin(&commits);
            let Some(member) = member.upgrade() else { return };
            let _ = done.send(commits.commit_here((*member).as_ref(), &mine));
        });
        if let Err(error) = thread {
            let (action, reason) = ("committing", error.to_string());
            let error = ClientError::Refused { action, reason, retryable: true };
            return Err(self.give_up(&underway, error));
        }
        result.await.unwrap_or(Ok(()))
    }

    /// Nobody waits any longer for a commit.
    pub(super) fn too_late(&self, underway: &Underway) -> Failed {
        let after = self.events.timeout();
        self.give_up(underway, ClientError::TimedOut { action: "committing", after })
    }

    fn give_up(&self, underway: &Underway, error: ClientError) -> Failed {
        let partitions = self.record(underway, Some(&error));
        Failed { error, partitions }
    }

    /// Records what becomes of a commit, unless that is done; returns what it was about.
    fn record(&self, underway: &Underway, error: Option<&ClientError>) -> String {
        let Some(open) = underway.lock().take() else { return String::new() };
        self.reading.committed(open.committing, open.links, error.map(ErrorType::from));
        open.partitions
    }

    /// Waits until no thread commits, but no longer than one call may take.
    pub(super) fn wait_for_rest(&self) {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.rest.wait_timeout_while(busy, self.events.timeout(), |busy| *busy));
    }

    fn commit_here(
        &self,
        consumer: &impl Consumer<GroupEvents>,
        underway: &Underway,
    ) -> Result<(), Failed> {
        let mut stored = Ok(());
        let batch = self.progress.take(|batch| stored = store(consumer, batch));
        if batch.is_empty() {
            return Ok(());
        }
        underway.is_about(&batch);
        match stored.and_then(|()| consumer.commit_consumer_state(CommitMode::Sync)) {
            Ok(()) => {
                // Stored any longer, it would be committed again when its partition goes.
                self.progress.committed(batch, |batch| forget(consumer, batch));
                self.record(underway, None);
                Ok(())
            }
            // Partitions went in between. What was stored of them librdkafka has committed, if it
            // commits such at all; what has stayed is in the next commit.
            Err(
                KafkaError::StoreOffset(_) | KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset),
            ) => {
                self.progress.put_back(batch);
                match self.on_revoke {
                    true => Ok(()),
                    false => Err(self.give_up(underway, ClientError::Rebalanced)),
                }
            }
            Err(error) => {
                self.progress.put_back(batch);
                Err(self.give_up(underway, self.explain(&error)))
            }
        }
    }

    fn explain(&self, error: &KafkaError) -> ClientError {
        self.events.explain("committing", "the topic", error)
    }

    /// These partitions go to other members as soon as the callback that tells of it has returned.
    fn revoked(&self, consumer: &BaseConsumer<GroupEvents>, list: &TopicPartitionList) {
        // Lost ones have their new members already.
        let is_in_time = self.on_revoke && !consumer.assignment_lost();
        let committing = self.reading.begin_own_commit();
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
        let error = result.err().map(|error| self.explain(&error));
        self.reading.committed(committing, batch.links(), error.as_ref().map(ErrorType::from));
        if let Some(error) = error {
            self.tell(&Failed { error, partitions: named(batch.parts()) });
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

impl Underway {
    fn new(committing: Committing) -> Arc<Self> {
        let open = Open { committing, links: Vec::new(), partitions: String::new() };
        Arc::new(Self(Mutex::new(Some(open))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_about(&self, batch: &Batch) {
        if let Some(open) = &mut *self.lock() {
            open.links = batch.links();
            open.partitions = named(batch.parts());
        }
    }
}

/// A thread that commits.
struct Busy<'a>(&'a Commits);

impl<'a> Busy<'a> {
    fn begin(commits: &'a Commits) -> Self {
        *commits.busy.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Self(commits)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.0.busy.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.rest.notify_all();
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
