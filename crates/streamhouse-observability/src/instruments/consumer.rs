use super::TOPICS;
use crate::declare::{ClosedLabel, Counter, CounterCell, Histogram, PerValue};
use crate::labels::{ConsumeError, Outcome, Topic};

crate::instruments! {
    /// What consumers read from the log.
    pub struct ConsumerMetrics("streamhouse.consumer") {
        /// Records sent to consumers, from the offset that they asked for.
        records: Counter<Topic> = "{record}", series = TOPICS;
        /// Bytes of the record batches sent to consumers, as stored (compressed).
        bytes: Counter<Topic> = "By", series = TOPICS;
        /// Time of a fetch request without its wait for new records.
        latency: Histogram<Outcome> = "s";
        /// Partitions of fetch and offset requests answered with an error, by reason.
        errors: Counter<(Topic, ConsumeError)> = "{error}", series = TOPICS * <ConsumeError as ClosedLabel>::ALL.len();
    }
}

/// A topic's handles, bound when the topic is opened.
#[derive(Clone, Debug)]
pub struct ConsumerTopic {
    /// Records sent.
    pub records: CounterCell,
    /// Bytes sent.
    pub bytes: CounterCell,
    /// Errors answered, by reason.
    pub errors: PerValue<ConsumeError, CounterCell>,
}

impl ConsumerMetrics {
    /// Binds `topic`'s series: they exist at 0 from now until the last handle is dropped.
    pub fn topic(&self, topic: &Topic) -> ConsumerTopic {
        ConsumerTopic {
            records: self.records.bind(topic),
            bytes: self.bytes.bind(topic),
            errors: self.errors.bind_each(|error| (topic.clone(), error)),
        }
    }
}
