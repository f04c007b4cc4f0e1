//! The decorator that repeats what failed, and hedges what is stuck.

use super::{ObjectMeta, ObjectStore};
use crate::error::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use streamhouse_observability::declare::{CounterCell, PerValue};
use streamhouse_observability::instruments::ObjectStoreMetrics;
use streamhouse_observability::labels::{self, Operation};
use tokio::time::{Instant, sleep_until};

/// The pause before the first repetition; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The same where the store asks for fewer requests.
const FIRST_PAUSE_THROTTLED: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How many attempts of one call may be under way at a time.
const CONCURRENT: usize = 2;
/// How many of the latest PUTs the hedge's delay is computed from.
const WINDOW: usize = 128;
/// Before so many PUTs are known, the hedge waits for [`UNKNOWN_HEDGE`].
const ENOUGH: usize = 20;
const UNKNOWN_HEDGE: Duration = Duration::from_secs(1);
/// The shortest delay of a hedge: below, a repetition is likelier to add load than to help.
const SHORTEST_HEDGE: Duration = Duration::from_millis(50);

/// How long a call may take, repetitions included.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    /// Of a call that stores an object.
    pub put: Duration,
    /// Of any other call.
    pub other: Duration,
}

/// Repeats calls to `S` that failed for a reason that can pass, and hedges PUTs.
///
/// - A call has a budget. Within it, attempts follow each other after a jittered pause that
///   doubles each time; the last tenth starts none.
/// - A PUT that takes longer than 95 % of the latest ones gets company: a second attempt with the
///   same name and the same bytes. The first to succeed decides, the other is dropped. So a stuck
///   PUT costs a delay, not a failure, and at most twice as many PUTs are under way as callers.
///
/// Recorded as `streamhouse_s3_retries_total`, once for each attempt after a call's first.
///
/// Position: outermost, around [`Metered`](super::Metered), which counts each attempt as a request
/// and gives each a deadline of its own. Not around a local directory: what failed there must be
/// written anew under a new name, which is for the writer to do.
pub struct Resilient<S> {
    inner: S,
    budgets: Budgets,
    retries: PerValue<Operation, CounterCell>,
    put_times: Mutex<VecDeque<Duration>>,
}

impl<S: fmt::Debug> fmt::Debug for Resilient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resilient")
            .field("inner", &self.inner)
            .field("budgets", &self.budgets)
            .finish_non_exhaustive()
    }
}

impl<S: ObjectStore> Resilient<S> {
    /// Puts itself around `inner`.
    pub fn new(metrics: &ObjectStoreMetrics, inner: S, budgets: Budgets) -> Self {
        let retries = metrics.retries.bind_each(|operation| operation);
        Self { inner, budgets, retries, put_times: Mutex::default() }
    }

    async fn repeat<T, F>(
        &self,
        operation: Operation,
        object: &str,
        attempt: impl Fn() -> F + Send,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let (budget, hedge) = match operation {
            Operation::Put => (self.budgets.put, Some(self.hedge_delay())),
            Operation::Get | Operation::Delete | Operation::List | Operation::Head => {
                (self.budgets.other, None)
            }
        };
        let end = Instant::now() + budget;
        // An attempt with hardly any time left is only load.
        let last_start = end - budget / 10;
        let mut running = FuturesUnordered::from_iter([attempt()]);
        let mut next = hedge.map(|delay| Instant::now() + delay);
        let mut failures = 0;
        let mut last = None;
        loop {
            let turn = next.filter(|at| running.len() < CONCURRENT && *at <= last_start);
            tokio::select! {
                // Results first: an attempt that ends with the budget still counts.
                biased;
                Some(result) = running.next() => match result {
                    Ok(value) => return Ok(value),
                    Err(error) => {
                        let resume = Instant::now() + pause(&error, failures);
                        let is_hopeless = running.is_empty() && resume > last_start;
                        if is_hopeless || !error.is_retryable() {
                            return Err(error);
                        }
                        failures += 1;
                        next = Some(resume);
                        last = Some(error);
                    }
                },
                () = sleep_until(turn.unwrap_or(end)), if turn.is_some() => {
                    self.retries.of(operation).add(1);
                    running.push(attempt());
                    next = hedge.map(|delay| Instant::now() + delay);
                }
                () = sleep_until(end) => {
                    return Err(last.unwrap_or_else(|| exhausted(operation, object, budget)));
                }
            }
        }
    }

    /// How long a PUT may be alone: as long as 95 % of the latest ones took.
    fn hedge_delay(&self) -> Duration {
        let times = self.put_times.lock().unwrap_or_else(PoisonError::into_inner);
        let known = if times.len() < ENOUGH {
            UNKNOWN_HEDGE
        } else {
            let mut sorted = Vec::from_iter(times.iter().copied());
            let place = sorted.len() * 95 / 100;
            *sorted.select_nth_unstable(place).1
        };
        known.max(SHORTEST_HEDGE).min(self.budgets.put / 2)
    }

    fn remember_put(&self, took: Duration) {
        let mut times = self.put_times.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() == WINDOW {
            times.pop_front();
        }
        times.push_back(took);
    }
}

/// How long to wait after `error`, when `failures` others came before it. Half of it is chance,
/// so that many callers do not come back at once.
fn pause(error: &StoreError, failures: u32) -> Duration {
    let first = match error.class {
        labels::StoreError::Throttling => FIRST_PAUSE_THROTTLED,
        _ => FIRST_PAUSE,
    };
    let full = first.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    full.mul_f64(rand::random_range(0.5..=1.0))
}

fn exhausted(operation: Operation, object: &str, budget: Duration) -> StoreError {
    let message = format!("no attempt succeeded within {budget:?}");
    StoreError::new(operation, object, labels::StoreError::Timeout, message)
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Resilient<S> {
    async fn put(&self, name: &str, body: &[Bytes]) -> Result<(), StoreError> {
        let attempt = || async {
            let began = Instant::now();
            self.inner.put(name, body).await?;
            self.remember_put(began.elapsed());
            Ok(())
        };
        self.repeat(Operation::Put, name, attempt).await
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.repeat(Operation::Get, name, || self.inner.get(name, range.clone())).await
    }

    async fn head(&self, name: &str) -> Result<ObjectMeta, StoreError> {
        self.repeat(Operation::Head, name, || self.inner.head(name)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, StoreError> {
        self.repeat(Operation::List, prefix, || self.inner.list(prefix, after)).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.repeat(Operation::Delete, name, || self.inner.delete(name)).await
    }
}
