//! Committing segments: in order, all that are ready in one transaction.

use super::meters::Attempt;
use super::outcome::{self, Candidate, Decision};
use super::producers::Producers;
use super::queue::{Shared, Waiting};
use crate::error::StoreError;
use crate::partitions::Partitions;
use opentelemetry::trace::SpanContext;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::{BatchOutcome, MetadataError, MetadataStore, Rejection, Segment};
use streamhouse_observability::labels::{self, Operation};
use streamhouse_observability::spans;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tracing::{Instrument as _, Span};

/// Segments in one transaction.
const MAX_GROUP: usize = 64;
/// The pause before an unavailable metadata store is asked again: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// How often it is told that a commit is still in doubt.
const TOLD: Duration = Duration::from_secs(30);

/// A closed segment on its way into the object store, and who waits for it.
#[derive(Debug)]
pub(super) struct InFlight {
    pub number: u64,
    pub waiting: Vec<Waiting>,
    pub span: Span,
    pub flush: Option<SpanContext>,
    pub attempt: Attempt,
    pub put: oneshot::Receiver<Result<Stored, StoreError>>,
}

/// A segment that is in the object store.
#[derive(Debug)]
pub(super) struct Stored {
    pub segment: Segment,
    /// For each batch in the order of the blocks, its place in the order of arrival.
    pub arrivals: Vec<usize>,
}

/// A segment whose PUT has ended.
#[derive(Debug)]
pub(super) struct Put {
    pub number: u64,
    pub waiting: Vec<Waiting>,
    pub span: Span,
    pub flush: Option<SpanContext>,
    pub attempt: Attempt,
    pub result: Result<Stored, StoreError>,
}

impl InFlight {
    async fn ended(mut self) -> Put {
        let result = (&mut self.put).await;
        self.with(result.unwrap_or_else(|_| Err(lost())))
    }

    /// The result of the PUT, if it has ended.
    fn result(&mut self) -> Option<Result<Stored, StoreError>> {
        match self.put.try_recv() {
            Ok(result) => Some(result),
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(lost())),
            Err(oneshot::error::TryRecvError::Empty) => None,
        }
    }

    fn with(self, result: Result<Stored, StoreError>) -> Put {
        let Self { number, waiting, span, flush, attempt, .. } = self;
        Put { number, waiting, span, flush, attempt, result }
    }
}

/// The failure of a PUT whose task ended without a word.
fn lost() -> StoreError {
    let message = "the task that stored the segment ended early";
    StoreError::new(Operation::Put, "", labels::StoreError::Invalid, message)
}

/// Commits segments in the order in which they were closed.
pub(super) struct Committer {
    shared: Arc<Shared>,
    metadata: Arc<dyn MetadataStore>,
    partitions: Partitions,
    producers: Producers,
}

impl Committer {
    pub fn new(
        shared: Arc<Shared>,
        metadata: Arc<dyn MetadataStore>,
        partitions: Partitions,
    ) -> Self {
        Self { shared, metadata, partitions, producers: Producers::new() }
    }

    pub async fn run(mut self, mut closed: mpsc::UnboundedReceiver<InFlight>) {
        let mut in_flight = None;
        loop {
            let first = match in_flight.take() {
                Some(first) => first,
                None => match closed.recv().await {
                    Some(first) => first,
                    None => return,
                },
            };
            let mut group = vec![first.ended().await];
            while group.len() < MAX_GROUP
                && let Ok(mut next) = closed.try_recv()
            {
                let Some(result) = next.result() else {
                    in_flight = Some(next);
                    break;
                };
                group.push(next.with(result));
            }
            self.commit(group).await;
        }
    }

    /// Commits what was stored, and answers everybody in order.
    async fn commit(&mut self, group: Vec<Put>) {
        let producers = &mut self.producers;
        let mut candidates: Vec<Candidate> =
            group.into_iter().map(|put| Candidate::new(put, producers)).collect();
        let segments: Vec<Segment> =
            candidates.iter_mut().filter_map(Candidate::take_segment).collect();
        let span = commit_span(&candidates);
        let decisions = self.decide(&segments).instrument(span).await;
        if !decisions.is_empty() {
            self.shared.commits.ended(decisions.iter().find_map(|one| one.as_ref().err()));
        }
        self.heed(&decisions);
        let mut decisions = decisions.into_iter();
        let mut segments = segments.into_iter();
        for candidate in candidates {
            let decided =
                if candidate.is_committed() { segments.next().zip(decisions.next()) } else { None };
            let number = candidate.number();
            outcome::settle(candidate, decided, &mut self.producers, &self.partitions);
            self.shared.settled(number);
        }
    }

    /// Takes note of the garbage collector's floor before anybody learns that a segment lies below
    /// it: what comes again is then stamped above.
    fn heed(&self, decisions: &[Decision]) {
        let stale = decisions.iter().flatten().flatten().filter_map(|outcome| match outcome {
            BatchOutcome::Rejected(Rejection::StaleSegment { floor_ms }) => Some(*floor_ms),
            _ => None,
        });
        if let Some(floor_ms) = stale.max() {
            tracing::warn!(
                floor_ms,
                "segments were older than the garbage collector's floor, and refused; their \
                 producers send them again. Was this agent paused, or is its clock slow?"
            );
            self.shared.raise_floor(u64::try_from(floor_ms).unwrap_or(0));
        }
    }

    /// One decision for each segment.
    async fn decide(&self, segments: &[Segment]) -> Vec<Decision> {
        if segments.is_empty() {
            return Vec::new();
        }
        let config = &self.shared.config;
        let deadline = Instant::now() + config.commit_budget;
        let mut pause = PAUSES.0;
        loop {
            let error = match timeout(config.commit_timeout, self.metadata.commit(segments)).await {
                Ok(Ok(outcomes)) => return checked(outcomes.into_iter().map(Some), segments),
                Ok(Err(error @ MetadataError::InDoubt(_))) => {
                    return self.settle(segments, error.to_string()).await;
                }
                Err(elapsed) => return self.settle(segments, elapsed.to_string()).await,
                Ok(Err(error)) => error,
            };
            let retry = matches!(error, MetadataError::Unavailable(_));
            if !retry || Instant::now() + pause >= deadline {
                tracing::warn!(segments = segments.len(), %error, "segments could not be committed");
                return segments.iter().map(|_| Err(error.clone())).collect();
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Asks what became of a commit until the metadata store knows. No later commit can begin
    /// before: this is the only task that commits.
    async fn settle(&self, segments: &[Segment], error: String) -> Vec<Decision> {
        let count = segments.len();
        tracing::warn!(segments = count, %error, "the outcome of a commit is not known; asking");
        let since = Instant::now();
        let mut told: Option<Instant> = None;
        let mut pause = PAUSES.0;
        loop {
            let asked = timeout(self.shared.config.commit_timeout, self.metadata.settle(segments));
            let error = match asked.await {
                Ok(Ok(outcomes)) => return checked(outcomes.into_iter(), segments),
                Ok(Err(error)) => error.to_string(),
                Err(elapsed) => elapsed.to_string(),
            };
            if told.is_none_or(|at| at.elapsed() >= TOLD) {
                told = Some(Instant::now());
                let age_s = since.elapsed().as_secs();
                tracing::warn!(segments = count, age_s, %error, "a commit is still in doubt");
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

/// One commit serves several flushes: it belongs to the first sampled one, linked to the others.
fn commit_span(candidates: &[Candidate]) -> Span {
    let mut sampled = candidates.iter().filter_map(Candidate::sampled);
    let Some((span, _)) = sampled.next() else { return Span::none() };
    for (_, other) in sampled {
        spans::link(span, other);
    }
    span.clone()
}

/// Outcomes in the shape of the segments, or errors where the metadata store answered nonsense.
fn checked(
    outcomes: impl ExactSizeIterator<Item = Option<Vec<BatchOutcome>>>,
    segments: &[Segment],
) -> Vec<Decision> {
    if outcomes.len() != segments.len() {
        let (told, asked) = (outcomes.len(), segments.len());
        let error = MetadataError::Corrupt(format!("told of {told} segments, asked for {asked}"));
        return segments.iter().map(|_| Err(error.clone())).collect();
    }
    let one = |(told, segment): (Option<Vec<BatchOutcome>>, &Segment)| {
        let told = told.ok_or_else(|| {
            MetadataError::Unavailable("the commit did not happen, and never will".into())
        })?;
        let batches: usize = segment.blocks.iter().map(|block| block.batches.len()).sum();
        if told.len() != batches {
            let told = told.len();
            let message = format!("told of {told} batches, asked for {batches}");
            return Err(MetadataError::Corrupt(message));
        }
        Ok(told)
    };
    outcomes.zip(segments).map(one).collect()
}
