use crate::declare::{Counter, Gauge};
use crate::labels::{LeftOut, PushRefusal};

crate::instruments! {
    /// Metrics that Kafka clients push: `pushes = relayed + failed + refused + pending`.
    pub struct ClientTelemetryMetrics("streamhouse.client_telemetry") {
        /// Pushes received from clients.
        pushes: Counter<()> = "{push}";
        /// Pushes that the receiver accepted.
        relayed: Counter<()> = "{push}";
        /// Pushes that the receiver did not accept, or that the end of the process overtook.
        failed: Counter<()> = "{push}";
        /// Pushes that were refused, by reason.
        refused: Counter<PushRefusal> = "{push}";
        /// Data points left out of pushes whose other data points were good, by reason.
        left_out: Counter<LeftOut> = "{point}";
        /// Pushes on their way to the receiver.
        pending: Gauge<()> = "{push}";
        /// Client instances that have a subscription.
        instances: Gauge<()> = "{instance}";
        /// Bytes of metrics received from clients, as they came.
        bytes: Counter<()> = "By";
    }
}
