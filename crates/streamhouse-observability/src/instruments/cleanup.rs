use super::TOPICS;
use crate::declare::{ClosedLabel as _, Counter, Gauge, Histogram};
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

crate::instruments! {
    /// The garbage collector of objects that no record lies in.
    pub struct GarbageMetrics("streamhouse.garbage") {
        /// Objects deleted, by kind.
        objects: Counter<Garbage> = "{object}";
        /// Bytes of objects deleted, by kind.
        bytes: Counter<Garbage> = "By";
        /// Objects without records that are not deleted yet.
        pending: Gauge<()> = "{object}";
        /// Time of one round.
        duration: Histogram<Outcome> = "s";
    }
}
