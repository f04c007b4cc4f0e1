use super::TOPICS;
use crate::declare::{
    COUNTS, ClosedLabel, Counter, CounterCell, Histogram, HistogramCell, PerValue,
};
use crate::labels::{Outcome, ProduceError, Topic};

crate::instruments! {
    /// What producers do to the log.
    pub struct ProducerMetrics("streamhouse.producer") {
        /// Records acknowledged: durable in the object store and committed.
        records: Counter<Topic> = "{record}", series = TOPICS;
        /// Bytes of the record batches that were acknowledged, as they came (compressed).
        bytes: Counter<Topic> = "By", series = TOPICS;
        /// Time from a produce request's arrival to its answer.
        latency: Histogram<Outcome> = "s";
        /// Records in one batch of a produce request.
        batch_size: Histogram<Outcome> = "{record}", bounds = COUNTS;
        /// Batches that were not accepted, by reason.
        errors: Counter<(Topic, ProduceError)> = "{error}", series = TOPICS * <ProduceError as ClosedLabel>::ALL.len();
    }
}

/// A topic's handles, bound when the topic is opened.
#[derive(Clone, Debug)]
pub struct ProducerTopic {
    /// Records acknowledged.
    pub records: CounterCell,
    /// Bytes acknowledged.
    pub bytes: CounterCell,
    /// Batches not accepted, by reason.
    pub errors: PerValue<ProduceError, CounterCell>,
}

/// The handles of a request, bound once for the process.
#[derive(Clone, Debug)]
pub struct ProducerRequests {
    /// Time to the answer.
    pub latency: PerValue<Outcome, HistogramCell>,
    /// Records in a batch.
    pub batch_size: PerValue<Outcome, HistogramCell>,
}

impl ProducerMetrics {
    /// Binds `topic`'s series: they exist at 0 from now until the last handle is dropped.
    pub fn topic(&self, topic: &Topic) -> ProducerTopic {
        ProducerTopic {
            records: self.records.bind(topic),
            bytes: self.bytes.bind(topic),
            errors: self.errors.bind_each(|error| (topic.clone(), error)),
        }
    }

    /// Binds what belongs to no topic.
    pub fn requests(&self) -> ProducerRequests {
        ProducerRequests {
            latency: self.latency.bind_each(|outcome| outcome),
            batch_size: self.batch_size.bind_each(|outcome| outcome),
        }
    }
}
