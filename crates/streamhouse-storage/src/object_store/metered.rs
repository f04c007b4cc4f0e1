//! The decorator that counts, times, bounds and traces every call.

use super::{ObjectMeta, ObjectStore};
use crate::error::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::time::Duration;
use streamhouse_observability::declare::{ClosedLabel as _, CounterCell, HistogramCell, PerValue};
use streamhouse_observability::instruments::ObjectStoreMetrics;
use streamhouse_observability::labels::{self, Operation, Outcome};
use streamhouse_observability::spans;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, Span};

/// How long one call may take before it fails with the class `timeout`.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Of a call that stores an object.
    pub put: Duration,
    /// Of any other call.
    pub other: Duration,
}

/// Counts, times, bounds and traces every call to `S`.
///
/// Recorded as `streamhouse_s3_requests_total`, `_errors_total`, `_duration_seconds` and
/// `_bytes_total`. A call that is dropped counts as a request and, in the duration, as
/// `outcome="cancelled"`.
///
/// Position: directly around the store. [`Resilient`](super::Resilient) goes around it, so that
/// each attempt counts as the request that it is.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
    deadlines: Deadlines,
    cells: Cells,
}

struct Cells {
    requests: PerValue<Operation, CounterCell>,
    errors: PerValue<Operation, PerValue<labels::StoreError, CounterCell>>,
    duration: PerValue<Operation, PerValue<Outcome, HistogramCell>>,
    bytes: PerValue<Operation, CounterCell>,
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").finish_non_exhaustive()
    }
}

impl<S: ObjectStore> Metered<S> {
    /// Binds every series of `metrics`, and puts itself around `inner`.
    pub fn new(metrics: &ObjectStoreMetrics, inner: S, deadlines: Deadlines) -> Self {
        let cells = Cells {
            requests: metrics.requests.bind_each(|operation| operation),
            errors: PerValue::bind(|operation| metrics.errors.bind_each(|e| (operation, e))),
            duration: PerValue::bind(|operation| metrics.duration.bind_each(|o| (operation, o))),
            bytes: metrics.bytes.bind_each(|operation| operation),
        };
        Self { inner, deadlines, cells }
    }

    async fn call<T>(
        &self,
        operation: Operation,
        object: &str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
        bytes: impl FnOnce(&T) -> u64 + Send,
    ) -> Result<T, StoreError> {
        let deadline = match operation {
            Operation::Put => self.deadlines.put,
            Operation::Get | Operation::Delete | Operation::List | Operation::Head => {
                self.deadlines.other
            }
        };
        let span = spans::object_store(operation, object);
        let call = Call::begin(&self.cells, operation, span.clone());
        let result = match timeout(deadline, work).instrument(span).await {
            Ok(result) => result,
            Err(_) => {
                let message = format!("no reply within {deadline:?}");
                Err(StoreError::new(operation, object, labels::StoreError::Timeout, message))
            }
        };
        call.settle(result, bytes)
    }
}

/// One call; dropped unsettled, it counts as cancelled.
struct Call<'a> {
    cells: &'a Cells,
    operation: Operation,
    span: Span,
    began: Instant,
    outcome: Outcome,
}

impl<'a> Call<'a> {
    fn begin(cells: &'a Cells, operation: Operation, span: Span) -> Self {
        cells.requests.of(operation).add(1);
        Self { cells, operation, span, began: Instant::now(), outcome: Outcome::Cancelled }
    }

    fn settle<T>(
        mut self,
        result: Result<T, StoreError>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> Result<T, StoreError> {
        match &result {
            Ok(value) => {
                self.outcome = Outcome::Ok;
                self.cells.bytes.of(self.operation).add(bytes(value));
            }
            Err(error) => {
                self.outcome = Outcome::Error;
                self.cells.errors.of(self.operation).of(error.class).add(1);
                spans::failed(&self.span, error.class.as_str());
            }
        }
        result
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let seconds = self.began.elapsed().as_secs_f64();
        let span = spans::sampled_context(&self.span);
        let duration = self.cells.duration.of(self.operation).of(self.outcome);
        duration.record_traced(seconds, span.as_ref());
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Metered<S> {
    async fn put(&self, name: &str, body: &[Bytes]) -> Result<(), StoreError> {
        let size = body.iter().map(|part| part.len() as u64).sum();
        self.call(Operation::Put, name, self.inner.put(name, body), |()| size).await
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let work = self.inner.get(name, range);
        self.call(Operation::Get, name, work, |bytes| bytes.len() as u64).await
    }

    async fn head(&self, name: &str) -> Result<ObjectMeta, StoreError> {
        self.call(Operation::Head, name, self.inner.head(name), |_| 0).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, StoreError> {
        self.call(Operation::List, prefix, self.inner.list(prefix, after), |_| 0).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.call(Operation::Delete, name, self.inner.delete(name), |()| 0).await
    }
}
