//! The instruments, and the series that producers and consumers hold.
//!
//! Invariant: counting is one relaxed atomic add; a series' attributes are built once.

use super::common;
use super::error_type::ErrorType;
use super::topics::{Place, Topic, Topics};
use crate::semconv::{self, Operation};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many consumer groups of one process have series of their own.
///
/// With [`TOPICS`](super::TOPICS) it keeps each instrument below 2000 series, where the SDK begins
/// to fold them.
const GROUPS: usize = 16;

/// What stands for a topic or group beyond the bound: no legal topic name.
const OTHER: &str = "<other>";

/// The four instruments of one meter provider.
pub(crate) struct Instruments {
    durations: Histogram<f64>,
    processing: Histogram<f64>,
    counted: Arc<Counted>,
}

/// What the observable counters read.
#[derive(Default)]
struct Counted {
    sent: Topics<Sent>,
    groups: Mutex<Vec<Arc<Reads>>>,
}

impl Counted {
    fn groups(&self) -> MutexGuard<'_, Vec<Arc<Reads>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A topic's series of sending.
struct Sent {
    attributes: [KeyValue; 3],
    delivered: AtomicU64,
    failed: [AtomicU64; ErrorType::ALL.len()],
    duration: BoundHistogram<f64>,
}

/// The series of one group, or of consumers without one.
pub(crate) struct Reads {
    pub(crate) group: Option<Arc<str>>,
    topics: Topics<Read>,
    commit: BoundHistogram<f64>,
    durations: Histogram<f64>,
    processing: Histogram<f64>,
}

/// A topic's series of reading.
struct Read {
    attributes: Vec<KeyValue>,
    consumed: AtomicU64,
    poll: BoundHistogram<f64>,
    process: BoundHistogram<f64>,
}

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reads").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Instruments {
    pub(crate) fn build(meter: &Meter) -> Arc<Self> {
        let histogram = |name: &'static str, what: &'static str| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(what)
                .with_boundaries(semconv::DURATION_BOUNDS.to_vec())
                .build()
        };
        let counted = Arc::<Counted>::default();
        let sent = counted.clone();
        let _ = meter
            .u64_observable_counter(semconv::SENT_MESSAGES)
            .with_unit("{message}")
            .with_description("Messages that a producer attempted to send to the broker")
            .with_callback(move |observer| {
                sent.sent.iter().for_each(|topic| {
                    topic.cells.each(|value, attributes| observer.observe(value, attributes));
                });
            })
            .build();
        let consumed = counted.clone();
        let _ = meter
            .u64_observable_counter(semconv::CONSUMED_MESSAGES)
            .with_unit("{message}")
            .with_description("Messages that were delivered to the application")
            .with_callback(move |observer| {
                let groups = consumed.groups().clone();
                for topic in groups.iter().flat_map(|group| group.topics.iter()) {
                    let count = topic.cells.consumed.load(Ordering::Relaxed);
                    observer.observe(count, &topic.cells.attributes);
                }
            })
            .build();
        let durations = histogram(
            semconv::OPERATION_DURATION,
            "Duration of messaging operations initiated by a producer or consumer client",
        );
        let processing =
            histogram(semconv::PROCESS_DURATION, "Duration of processing a consumed message");
        Arc::new(Self { durations, processing, counted })
    }

    /// Where `topic` is counted when it is sent to.
    pub(crate) fn sending(&self, topic: &str) -> Place {
        self.counted.sent.find(topic, |name| self.sent(name))
    }

    /// Counts a message whose delivery is known, and how long that took.
    pub(crate) fn sent_in(&self, place: Place, took: Duration, error: Option<ErrorType>) {
        let Some(Topic { cells, .. }) = self.counted.sent.at(place) else { return };
        match error {
            None => {
                cells.delivered.fetch_add(1, Ordering::Relaxed);
                cells.duration.record(took.as_secs_f64());
            }
            Some(error) => {
                cells.failed[error as usize].fetch_add(1, Ordering::Relaxed);
                self.not_sent_in(place, took, error);
            }
        }
    }

    /// Counts a message of which nothing is known but that it was handed over.
    pub(crate) fn sent_unseen(&self, place: Place) {
        if let Some(Topic { cells, .. }) = self.counted.sent.at(place) {
            cells.delivered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes an attempt that never came as far as sending.
    pub(crate) fn not_sent_in(&self, place: Place, took: Duration, error: ErrorType) {
        if let Some(Topic { cells, .. }) = self.counted.sent.at(place) {
            record_failed(&self.durations, &cells.attributes, took, error);
        }
    }

    /// The series of `group`; `None` for a consumer without one.
    pub(crate) fn reads(&self, group: Option<&str>) -> Arc<Reads> {
        let mut groups = self.counted.groups();
        if let Some(known) = groups.iter().find(|known| known.group.as_deref() == group) {
            return known.clone();
        }
        let named = groups.iter().filter(|known| known.group.is_some()).count();
        let group = match group {
            Some(_) if named >= GROUPS => Some(OTHER),
            group => group,
        };
        if let Some(known) = groups.iter().find(|known| known.group.as_deref() == group) {
            return known.clone();
        }
        let new = Arc::new(Reads::new(group, &self.durations, &self.processing));
        groups.push(new.clone());
        new
    }

    fn sent(&self, topic: Option<&str>) -> Sent {
        let [system, operation] = common(Operation::Send);
        let attributes = [system, operation, destination(topic)];
        Sent {
            delivered: AtomicU64::new(0),
            failed: std::array::from_fn(|_| AtomicU64::new(0)),
            duration: self.durations.bind(&attributes),
            attributes,
        }
    }
}

impl Sent {
    fn each(&self, mut show: impl FnMut(u64, &[KeyValue])) {
        show(self.delivered.load(Ordering::Relaxed), &self.attributes);
        for (error, count) in ErrorType::ALL.iter().zip(&self.failed) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                show(count, &failed(&self.attributes, *error));
            }
        }
    }
}

impl Reads {
    fn new(group: Option<&str>, durations: &Histogram<f64>, processing: &Histogram<f64>) -> Self {
        let commit = series(Operation::Commit, group, None);
        Self {
            group: group.map(Into::into),
            topics: Topics::new(),
            commit: durations.bind(&commit),
            durations: durations.clone(),
            processing: processing.clone(),
        }
    }

    /// Where `topic` is counted when it is read.
    pub(crate) fn reading(&self, topic: &str) -> Place {
        self.topics.find(topic, |name| {
            let of = |operation| series(operation, self.group.as_deref(), Some(name));
            Read {
                attributes: of(Operation::Poll),
                consumed: AtomicU64::new(0),
                poll: self.durations.bind(&of(Operation::Poll)),
                process: self.processing.bind(&of(Operation::Process)),
            }
        })
    }

    /// Counts `messages` that were given to the application.
    pub(crate) fn consumed(&self, place: Place, messages: u64) {
        if let Some(Topic { cells, .. }) = self.topics.at(place) {
            cells.consumed.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// Notes how long a poll took that gave messages of `place` first.
    pub(crate) fn polled_in(&self, place: Place, took: Duration) {
        if let Some(Topic { cells, .. }) = self.topics.at(place) {
            cells.poll.record(took.as_secs_f64());
        }
    }

    /// Notes how long a poll took that failed.
    pub(crate) fn poll_failed_in(&self, took: Duration, error: ErrorType) {
        let attributes = series(Operation::Poll, self.group.as_deref(), None);
        record_failed(&self.durations, &attributes, took, error);
    }

    /// Notes how long the application worked on a record.
    pub(crate) fn processed_in(&self, place: Place, took: Duration, error: Option<ErrorType>) {
        let Some(Topic { cells, name }) = self.topics.at(place) else { return };
        match error {
            None => cells.process.record(took.as_secs_f64()),
            Some(error) => {
                let topic = Some(name.as_deref());
                let attributes = series(Operation::Process, self.group.as_deref(), topic);
                record_failed(&self.processing, &attributes, took, error);
            }
        }
    }

    /// Notes how long a commit took.
    pub(crate) fn committed_in(&self, took: Duration, error: Option<ErrorType>) {
        match error {
            None => self.commit.record(took.as_secs_f64()),
            Some(error) => {
                let attributes = series(Operation::Commit, self.group.as_deref(), None);
                record_failed(&self.durations, &attributes, took, error);
            }
        }
    }
}

/// The attributes of a consumer's series; `topic` is `Some(None)` for all topics beyond the bound.
fn series(operation: Operation, group: Option<&str>, topic: Option<Option<&str>>) -> Vec<KeyValue> {
    let mut attributes = Vec::from(common(operation));
    attributes.extend(topic.map(destination));
    let group = group.map(|group| KeyValue::new(semconv::CONSUMER_GROUP_NAME, group.to_owned()));
    attributes.extend(group);
    attributes
}

fn destination(topic: Option<&str>) -> KeyValue {
    KeyValue::new(semconv::DESTINATION_NAME, topic.unwrap_or(OTHER).to_owned())
}

fn failed(attributes: &[KeyValue], error: ErrorType) -> Vec<KeyValue> {
    let error = KeyValue::new(semconv::ERROR_TYPE, error.as_str());
    attributes.iter().cloned().chain([error]).collect()
}

fn record_failed(
    histogram: &Histogram<f64>,
    attributes: &[KeyValue],
    took: Duration,
    error: ErrorType,
) {
    histogram.record(took.as_secs_f64(), &failed(attributes, error));
}
