//! Guards: what a request leaves in the metrics, however it ends.
//!
//! Each starts as cancelled; `settle` overwrites that; dropping records. So nothing is forgotten,
//! and what nobody settled was cancelled.

use crate::broker::Broker;
use crate::topics::OpenTopic;
use std::sync::Arc;
use std::time::{Duration, Instant};
use streamhouse_observability::declare::{CounterCell, HistogramCell, PerValue};
use streamhouse_observability::instruments::{Lost, ProducerRequests};
use streamhouse_observability::labels::{Api, Outcome, ProduceError, RequestOutcome};
use streamhouse_observability::spans::{self, Request};
use tracing::Span;

/// The series of requests, bound once for the process.
#[derive(Debug)]
pub(crate) struct RequestHandles {
    /// Requests by API and outcome.
    pub answered: PerValue<Api, PerValue<RequestOutcome, CounterCell>>,
    /// Time to the answer by API.
    pub duration: PerValue<Api, HistogramCell>,
    /// Produce requests.
    pub produce: ProducerRequests,
    /// Fetch requests by outcome.
    pub fetch: PerValue<Outcome, HistogramCell>,
    /// Rounds of retention by outcome.
    pub retention: PerValue<Outcome, HistogramCell>,
    /// What trims take from groups.
    pub lost: Lost,
}

/// Any request, from its arrival until its answer is written.
#[derive(Debug)]
pub(crate) struct Answering {
    broker: Arc<Broker>,
    api: Api,
    arrival: Instant,
    outcome: RequestOutcome,
}

impl Answering {
    pub fn new(broker: Arc<Broker>, api: Api, arrival: Instant) -> Self {
        Self { broker, api, arrival, outcome: RequestOutcome::Cancelled }
    }

    pub fn settle(mut self, outcome: RequestOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let handles = &self.broker.handles;
        handles.answered.of(self.api).of(self.outcome).add(1);
        handles.duration.of(self.api).record(self.arrival.elapsed().as_secs_f64());
    }
}

/// What a request that moves records does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// It produces.
    Produce {
        /// Partitions in it.
        partitions: usize,
        /// Bytes of records in it.
        bytes: usize,
    },
    /// It fetches.
    Fetch {
        /// Partitions in it.
        partitions: usize,
    },
}

impl Kind {
    fn span(self) -> Span {
        match self {
            Self::Produce { partitions, bytes } => {
                spans::produce_request(count(partitions), count(bytes))
            }
            Self::Fetch { partitions } => spans::consume_request(count(partitions)),
        }
    }
}

/// A produce or fetch request, from its arrival until its answer is ready.
#[derive(Debug)]
pub(crate) struct Attempt {
    broker: Arc<Broker>,
    kind: Kind,
    request: Option<Request>,
    arrival: Instant,
    waited: Duration,
    /// Since when it waits for what its client asked it to wait for.
    waiting: Option<Instant>,
    outcome: Outcome,
}

impl Attempt {
    pub fn new(broker: Arc<Broker>, kind: Kind, request: Request, arrival: Instant) -> Self {
        let (waited, outcome) = (Duration::ZERO, Outcome::Cancelled);
        Self { broker, kind, request: Some(request), arrival, waited, waiting: None, outcome }
    }

    /// Runs `work` in the request's span, or with its ids alone.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.request {
            Some(request) => request.run(|| self.kind.span(), work).await,
            None => work.await,
        }
    }

    /// Waits for new records, which is left out of the latency and of what makes a request slow,
    /// also if the client goes away meanwhile.
    pub async fn wait<T>(&mut self, wait: impl Future<Output = T>) -> T {
        self.waiting = Some(Instant::now());
        let result = wait.await;
        self.waited();
        result
    }

    fn waited(&mut self) {
        let Some(since) = self.waiting.take() else { return };
        let wait = since.elapsed();
        self.waited += wait;
        if let Some(request) = &mut self.request {
            request.waited(wait);
        }
    }

    pub fn settle(mut self, failed: bool) {
        self.outcome = if failed { Outcome::Error } else { Outcome::Ok };
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.waited(); // dropped in a wait
        let elapsed = self.arrival.elapsed().saturating_sub(self.waited).as_secs_f64();
        let (kind, failed) = (self.kind, self.outcome == Outcome::Error);
        let span = self.request.take().and_then(|it| it.finish(failed, || kind.span()));
        let handles = &self.broker.handles;
        let latency = match kind {
            Kind::Produce { .. } => &handles.produce.latency,
            Kind::Fetch { .. } => &handles.fetch,
        };
        latency.of(self.outcome).record_traced(elapsed, span.as_ref());
    }
}

/// One batch of a produce request.
#[derive(Debug)]
pub(crate) struct BatchAttempt {
    broker: Arc<Broker>,
    topic: Arc<OpenTopic>,
    records: i32,
    outcome: Outcome,
}

impl BatchAttempt {
    pub fn new(broker: Arc<Broker>, topic: Arc<OpenTopic>, records: i32) -> Self {
        Self { broker, topic, records, outcome: Outcome::Cancelled }
    }

    pub fn settle(mut self, error: Option<ProduceError>) {
        self.outcome = if error.is_some() { Outcome::Error } else { Outcome::Ok };
        if let Some(error) = error {
            self.topic.produced.errors.of(error).add(1);
        }
    }
}

impl Drop for BatchAttempt {
    fn drop(&mut self) {
        self.broker.handles.produce.batch_size.of(self.outcome).record(f64::from(self.records));
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
