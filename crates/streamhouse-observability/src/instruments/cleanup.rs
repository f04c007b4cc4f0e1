use super::TOPICS;
use crate::declare::{
    ClosedLabel as _, Counter, CounterCell, Gauge, Histogram, HistogramCell, PerValue,
};
use crate::labels::{Garbage, Outcome, RetentionReason, Topic};

crate::instruments! {
    /// Records that leave the log.
    pub struct RetentionMetrics("streamhouse.retention") {
        /// Records removed from the log, by reason.
        records: Counter<(Topic, RetentionReason)> = "{record}", series = TOPICS * RetentionReason::ALL.len();
        /// Time of one round over all topics.
        duration: Histogram<Outcome> = "s";
    }
}

impl RetentionMetrics {
    /// Binds `topic`'s series: they exist at 0 from now until the last handle is dropped.
    pub fn topic(&self, topic: &Topic) -> PerValue<RetentionReason, CounterCell> {
        self.records.bind_each(|reason| (topic.clone(), reason))
    }

    /// Binds what belongs to no topic.
    pub fn rounds(&self) -> PerValue<Outcome, HistogramCell> {
        self.duration.bind_each(|outcome| outcome)
    }
}

crate::instruments! {
    /// The garbage collector of objects that no record lies in.
    pub struct GarbageMetrics("streamhouse.garbage") {
        /// Objects deleted, by kind.
        objects: Counter<Garbage> = "{object}";
        /// Bytes of objects deleted, by kind.
        bytes: Counter<Garbage> = "By";
        /// Objects that no record lies in any more and that are not deleted yet.
        pending: Gauge<()> = "{object}";
        /// Time of one round.
        duration: Histogram<Outcome> = "s";
    }
}
