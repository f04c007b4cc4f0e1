use crate::declare::{Counter, Gauge, Histogram};
use crate::labels::{Api, Direction, RequestOutcome, TraceSearch};

crate::instruments! {
    /// Requests of the Kafka protocol.
    pub struct KafkaMetrics("streamhouse.kafka") {
        /// Requests by API and outcome; what cannot be decoded counts as malformed.
        requests: Counter<(Api, RequestOutcome)> = "{request}";
        /// Time from a request's arrival to its answer, waiting included.
        duration: Histogram<Api> = "s";
        /// Bytes on Kafka connections, framing included.
        bytes: Counter<Direction> = "By";
        /// Record batches searched for their producer's trace context, by result.
        trace_searches: Counter<TraceSearch> = "{batch}";
    }
}

crate::instruments! {
    /// Connections of Kafka clients.
    pub struct ConnectionMetrics("streamhouse.connections") {
        /// Connections open now.
        active: Gauge<()> = "{connection}";
        /// Connections accepted.
        accepted: Counter<()> = "{connection}";
    }
}
