//! What is stored of groups, in the order in which it happened.
//!
//! One task writes; whoever waits for it may be gone meanwhile. Commits that wait are stored
//! together. An outcome that is not known is cleared up by writing the same again: both offsets and
//! generations may be stored twice. A call that does not end is not repeated, because it may still
//! write after what comes later: its groups are given up, and what it writes is refused by epoch.

use super::coordinator::Groups;
use super::seat::{Seat, weight};
use kafka_protocol::error::ResponseError as Code;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::{MetadataError, OffsetCommit, OffsetCommitOutcome, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// How many offsets one transaction takes, beyond those of its last commit.
const BATCH: usize = 10_000;
/// How often something is written again whose outcome is not known, or that nothing was changed by.
const ATTEMPTS: u32 = 10;
/// The pause before it is written again.
const PAUSE: Duration = Duration::from_millis(100);

/// What a commit comes to: the partitions that do not exist.
pub(crate) type Committed = Result<BTreeSet<TopicPartition>, Code>;

/// What is to be stored.
#[derive(Debug)]
pub(super) enum Job {
    /// A generation begins.
    Generation(Arc<Seat>, Generation),
    /// Offsets are committed.
    Commit {
        seat: Arc<Seat>,
        commit: OffsetCommit,
        answer: oneshot::Sender<Committed>,
        /// Keeps what waits within bounds.
        _place: OwnedSemaphorePermit,
    },
    /// A group is deleted.
    Delete { seat: Arc<Seat>, answer: oneshot::Sender<Option<Code>> },
}

/// A generation, as it is stored.
#[derive(Debug)]
pub(super) struct Generation {
    pub number: i32,
    pub protocol_type: Arc<str>,
    pub members: usize,
    /// The topics that the members subscribe to, if that is known.
    pub subscribed: Option<Vec<Arc<str>>>,
}

/// Where jobs are put.
#[derive(Debug)]
pub(super) struct Lane(mpsc::UnboundedSender<Job>);

impl Lane {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Job>) {
        let (sender, jobs) = mpsc::unbounded_channel();
        (Self(sender), jobs)
    }

    /// Puts a job behind all others. Bounded: a group has one generation under way, and a commit
    /// its place.
    pub fn send(&self, job: Job) {
        let _ = self.0.send(job); // at the end of the process nobody writes any more
    }
}

/// Stores what comes, for ever.
pub(super) async fn run(groups: Groups, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut next = jobs.recv().await;
    while let Some(job) = next.take() {
        match job {
            Job::Generation(seat, generation) => begin(&groups, &seat, generation).await,
            Job::Delete { seat, answer } => delete(&groups, &seat, answer).await,
            Job::Commit { .. } => {
                let mut waiting = Waiting::default();
                waiting.add(job);
                // Everything that waits, up to what is no commit.
                while waiting.offsets < BATCH
                    && let Ok(job) = jobs.try_recv()
                {
                    if let Some(other) = waiting.add(job) {
                        next = Some(other);
                        break;
                    }
                }
                commit(&groups, waiting).await;
            }
        }
        if next.is_none() {
            next = jobs.recv().await;
        }
    }
}

/// Commits that are stored together.
#[derive(Default)]
struct Waiting {
    commits: Vec<OffsetCommit>,
    askers: Vec<(Arc<Seat>, oneshot::Sender<Committed>, OwnedSemaphorePermit)>,
    offsets: usize,
}

impl Waiting {
    /// Takes a commit; gives back what is none.
    fn add(&mut self, job: Job) -> Option<Job> {
        match job {
            Job::Commit { seat, commit, answer, _place } => {
                self.offsets += commit.offsets.len();
                self.commits.push(commit);
                self.askers.push((seat, answer, _place));
                None
            }
            other => Some(other),
        }
    }
}

/// Does something until its outcome is known, or nothing more can be hoped for.
async fn insist<T, F: Future<Output = Result<T, MetadataError>>>(
    groups: &Groups,
    mut attempt: impl FnMut() -> F,
) -> Result<T, MetadataError> {
    let mut attempts = 0;
    loop {
        let Some(outcome) = groups.within_bound(attempt()).await else {
            return Err(MetadataError::InDoubt("the store did not answer in time".into()));
        };
        attempts += 1;
        match outcome {
            Err(MetadataError::Unavailable(_) | MetadataError::InDoubt(_))
                if attempts < ATTEMPTS => {}
            outcome => return outcome,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn begin(groups: &Groups, seat: &Arc<Seat>, begun: Generation) {
    let (store, name, epoch) = (groups.store(), &seat.name, seat.epoch);
    let Generation { number: generation, protocol_type: kind, members, subscribed } = begun;
    let subscribed = subscribed.as_deref();
    let begin = || store.begin_generation(name, epoch, generation, &kind, members, subscribed);
    let stored = insist(groups, begin).await;
    match stored {
        Ok(true) => seat.stored(groups.hall(), generation),
        Ok(false) => groups.lose(seat, Code::NotCoordinator),
        Err(error) => {
            tracing::warn!(group = &**name, generation, %error, "a generation was not stored");
            groups.lose(seat, of_failure(&error));
        }
    }
}

async fn commit(groups: &Groups, waiting: Waiting) {
    let Waiting { commits, askers, .. } = waiting;
    let outcomes = insist(groups, || groups.store().commit_offsets(&commits)).await;
    let outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(error) => {
            tracing::warn!(commits = commits.len(), %error, "offsets were not committed");
            for (seat, answer, _) in askers {
                // What is stored now is not known: it is read again when the group is taken again.
                if matches!(error, MetadataError::InDoubt(_)) {
                    groups.lose(&seat, Code::NotCoordinator);
                }
                let _ = answer.send(Err(of_failure(&error)));
            }
            return;
        }
    };
    let mut outcomes = outcomes.into_iter();
    for ((seat, answer, _), commit) in askers.into_iter().zip(commits) {
        let told = match outcomes.next() {
            Some(OffsetCommitOutcome::Committed { committed_ms, unknown }) => {
                Ok(committed(groups, &seat, commit, committed_ms, unknown))
            }
            Some(OffsetCommitOutcome::StaleGeneration) => Err(Code::IllegalGeneration),
            Some(OffsetCommitOutcome::NotOwner) | None => {
                groups.lose(&seat, Code::NotCoordinator);
                Err(Code::NotCoordinator)
            }
        };
        let _ = answer.send(told);
    }
}

/// Shows what is stored.
fn committed(
    groups: &Groups,
    seat: &Seat,
    commit: OffsetCommit,
    committed_ms: i64,
    unknown: Vec<TopicPartition>,
) -> BTreeSet<TopicPartition> {
    let unknown: BTreeSet<_> = unknown.into_iter().collect();
    let (mut stored, mut more, mut less) = (0, 0, 0);
    seat.view.change(|facts| {
        for (at, mut offset) in commit.offsets {
            if !unknown.contains(&at) {
                offset.committed_ms = committed_ms;
                more += weight(&offset);
                less += facts.offsets.insert(at, offset).as_ref().map_or(0, weight);
                stored += 1;
            }
        }
        if stored > 0 {
            facts.committed_ms = Some(committed_ms);
        }
    });
    seat.recount(groups.hall(), more, less);
    seat.cells.commits.add(stored);
    unknown
}

async fn delete(groups: &Groups, seat: &Arc<Seat>, answer: oneshot::Sender<Option<Code>>) {
    let deleted = insist(groups, || groups.store().delete_group(&seat.name, seat.epoch)).await;
    let code = match deleted {
        Ok(true) => {
            tracing::info!(group = &*seat.name, "group deleted");
            groups.forget(seat);
            None
        }
        Ok(false) => {
            groups.lose(seat, Code::NotCoordinator);
            Some(Code::NotCoordinator)
        }
        Err(error) => {
            tracing::warn!(group = &*seat.name, %error, "a group was not deleted");
            match error {
                // It may be gone, now or later.
                MetadataError::InDoubt(_) => groups.lose(seat, Code::NotCoordinator),
                _ => seat.keep(),
            }
            Some(of_failure(&error))
        }
    };
    let _ = answer.send(code);
}

/// What clients are told of a store that fails: to find the coordinator again, after a while.
fn of_failure(error: &MetadataError) -> Code {
    match error {
        MetadataError::Unavailable(_) => Code::CoordinatorNotAvailable,
        MetadataError::Refused(_) | MetadataError::Corrupt(_) => Code::UnknownServerError,
        _ => Code::NotCoordinator,
    }
}
