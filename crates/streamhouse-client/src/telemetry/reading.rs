//! What a consumer records: its polls, the work on its records, its commits.

use super::cells::Reads;
use super::headers::{Kafka, carried, readable};
use super::spans::{self, About as SpanAbout, CommitParent, LINKS, end};
use super::topics::Place;
use super::{ErrorType, Telemetry};
use crate::record::Received;
use crate::semconv::{self, Operation};
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use rdkafka::message::Message;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// What is told about a record that was read.
pub(crate) trait About {
    fn topic(&self) -> &str;
    fn partition(&self) -> i32;
    fn offset(&self) -> i64;
    fn is_tombstone(&self) -> bool;
    /// The context of its creation, if it carries one.
    fn created(&self) -> Option<SpanContext>;
}

impl About for Received {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn partition(&self) -> i32 {
        self.partition
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }

    fn created(&self) -> Option<SpanContext> {
        carried(self.headers.as_slice())
    }
}

impl<M: Message> About for M {
    fn topic(&self) -> &str {
        Message::topic(self)
    }

    fn partition(&self) -> i32 {
        Message::partition(self)
    }

    fn offset(&self) -> i64 {
        Message::offset(self)
    }

    fn is_tombstone(&self) -> bool {
        self.payload().is_none()
    }

    fn created(&self) -> Option<SpanContext> {
        readable(|| carried(&Kafka(self.headers()?)))?
    }
}

/// A consumer's part of the telemetry.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    telemetry: Telemetry,
    reads: Arc<Reads>,
    client_id: Option<Arc<str>>,
}

/// A poll under way. Dropped, it leaves nothing.
pub(crate) struct Polling {
    started: Instant,
    /// The span's parent and start, if there is to be a span.
    traced: Option<(Context, SystemTime)>,
}

/// A commit under way. Dropped, it leaves nothing.
pub(crate) struct Committing {
    started: Instant,
    parent: CommitParent,
}

impl Reading {
    pub(crate) fn new(telemetry: &Telemetry, group: Option<&str>, client_id: Option<&str>) -> Self {
        let reads = telemetry.instruments.reads(group);
        Self { telemetry: telemetry.clone(), reads, client_id: client_id.map(Into::into) }
    }

    /// A poll begins.
    pub(crate) fn begin(&self) -> Polling {
        let traced = self.telemetry.traces.parent().map(|parent| (parent, SystemTime::now()));
        Polling { started: Instant::now(), traced }
    }

    /// A poll gave one record.
    pub(crate) fn polled_one(&self, polling: Polling, record: &impl About) {
        let place = self.reads.reading(record.topic());
        self.reads.consumed(place, 1);
        self.reads.polled_in(place, polling.started.elapsed());
        if let Some(traced) = polling.traced {
            let mut attributes = self.attributes();
            attributes.extend(single(record));
            let links = record.created().into_iter().collect();
            self.span(Operation::Poll, traced, Some(record.topic()), attributes, links, None);
        }
    }

    /// A poll gave these records.
    pub(crate) fn polled<R: About>(&self, polling: Polling, records: &[R]) {
        let took = polling.started.elapsed();
        let mut place = None;
        for record in records {
            let at = self.reads.reading(record.topic());
            self.reads.consumed(at, 1);
            place.get_or_insert(at);
        }
        if let Some(place) = place {
            self.reads.polled_in(place, took);
        }
        if let Some(traced) = polling.traced {
            let mut attributes = self.attributes();
            let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new(semconv::BATCH_MESSAGE_COUNT, count));
            let links = records.iter().filter_map(About::created).take(LINKS).collect();
            self.span(Operation::Poll, traced, only_topic(records), attributes, links, None);
        }
    }

    /// A poll failed.
    pub(crate) fn poll_failed(&self, polling: Polling, error: ErrorType) {
        self.reads.poll_failed_in(polling.started.elapsed(), error);
        if let Some(traced) = polling.traced {
            self.span(Operation::Poll, traced, None, self.attributes(), Vec::new(), Some(error));
        }
    }

    /// A commit begins that the work at hand asks for.
    pub(crate) fn begin_commit(&self) -> Committing {
        Committing { started: Instant::now(), parent: self.telemetry.traces.commit_parent() }
    }

    /// A commit begins that nobody asks for.
    pub(crate) fn begin_own_commit(&self) -> Committing {
        Committing { started: Instant::now(), parent: self.telemetry.traces.own_commit_parent() }
    }

    /// A commit is over; it was to settle records that were created in `links`.
    pub(crate) fn committed(
        &self,
        committing: Committing,
        links: Vec<SpanContext>,
        error: Option<ErrorType>,
    ) {
        let took = committing.started.elapsed();
        self.reads.committed_in(took, error);
        if let Some(parent) = committing.parent.decide(&links) {
            let now = SystemTime::now();
            let traced = (parent, now.checked_sub(took).unwrap_or(now));
            self.span(Operation::Commit, traced, None, self.attributes(), links, error);
        }
    }

    /// What the commit that settles `record` is linked with.
    pub(crate) fn link(&self, record: &impl About) -> Option<SpanContext> {
        if !self.telemetry.traces.are_wanted() {
            return None;
        }
        record.created().filter(SpanContext::is_sampled)
    }

    /// Runs `work` on `record`, in its `process` span if it has one.
    pub(crate) async fn process<T, E>(
        &self,
        record: &impl About,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let working = Working::begin(self, record);
        let result = match &working.context {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        };
        working.end(&result);
        result
    }

    /// As [`process`](Self::process), on this thread.
    pub(crate) fn process_here<T, E>(
        &self,
        record: &impl About,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let working = Working::begin(self, record);
        let attached = working.context.clone().map(Context::attach);
        let result = work();
        drop(attached);
        working.end(&result);
        result
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(10);
        if let Some(group) = &self.reads.group {
            attributes.push(KeyValue::new(semconv::CONSUMER_GROUP_NAME, group.clone()));
        }
        if let Some(client_id) = &self.client_id {
            attributes.push(KeyValue::new(semconv::CLIENT_ID, client_id.clone()));
        }
        attributes
    }

    fn span(
        &self,
        operation: Operation,
        (parent, start): (Context, SystemTime),
        topic: Option<&str>,
        attributes: Vec<KeyValue>,
        links: Vec<SpanContext>,
        error: Option<ErrorType>,
    ) {
        let about = SpanAbout { operation, topic, attributes, links, start: Some(start) };
        end(&mut self.telemetry.traces.start(&parent, about), error);
    }
}

/// What is told about one record, beside its topic.
fn single(record: &impl About) -> Vec<KeyValue> {
    let mut attributes = vec![
        spans::partition(record.partition()),
        KeyValue::new(semconv::KAFKA_OFFSET, record.offset()),
    ];
    if record.is_tombstone() {
        attributes.push(KeyValue::new(semconv::KAFKA_TOMBSTONE, true));
    }
    attributes
}

/// The topic of all records, if they have one in common.
fn only_topic<R: About>(records: &[R]) -> Option<&str> {
    let first = records.first()?.topic();
    records.iter().all(|record| record.topic() == first).then_some(first)
}

/// Work on a record under way. Dropped before its end, it counts as cancelled, or as a panic.
struct Working<'a> {
    reading: &'a Reading,
    place: Place,
    started: Instant,
    context: Option<Context>,
    error: Option<ErrorType>,
}

impl<'a> Working<'a> {
    fn begin(reading: &'a Reading, record: &impl About) -> Self {
        let place = reading.reads.reading(record.topic());
        let traces = &reading.telemetry.traces;
        let context = traces.process_parent(|| record.created()).map(|(parent, created)| {
            let mut attributes = reading.attributes();
            attributes.extend(single(record));
            let links = created.into_iter().collect();
            let (operation, topic) = (Operation::Process, Some(record.topic()));
            let about = SpanAbout { operation, topic, attributes, links, start: None };
            let span = traces.start(&parent, about);
            parent.with_span(span)
        });
        let error = Some(ErrorType::Cancelled);
        Self { reading, place, started: Instant::now(), context, error }
    }

    fn end<T, E>(mut self, result: &Result<T, E>) {
        self.error = result.is_err().then_some(ErrorType::Other);
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.error = Some(ErrorType::Panic);
        }
        self.reading.reads.processed_in(self.place, self.started.elapsed(), self.error);
        if let Some(context) = &self.context {
            let span = context.span();
            if let Some(error) = self.error {
                span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, error.as_str()));
                span.set_status(Status::error(""));
            }
            span.end();
        }
    }
}
