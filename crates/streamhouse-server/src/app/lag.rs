//! What computes how far consumer groups are behind.

use crate::config::{Lag, LagDetail as Detail};
use std::sync::Arc;
use streamhouse_kafka::{Broker, LagDetail, LagTracker, Lags, follow_lag};
use streamhouse_observability::declare::Declare;
use streamhouse_observability::instruments::LagMetrics;
use streamhouse_storage::Clock;
use tokio_util::sync::CancellationToken;

/// Starts computing; it ends with `stop`. What is computed last can be read from what is returned.
pub(super) fn start(
    broker: Arc<Broker>,
    config: &Lag,
    clock: Clock,
    metrics: &LagMetrics,
    declare: &Declare,
    stop: &CancellationToken,
) -> Lags {
    let detail = match config.detail {
        Detail::Partition => LagDetail::Partition,
        Detail::Topic => LagDetail::Topic,
        Detail::Group => LagDetail::Group,
    };
    let lags = Lags::default();
    lags.show_age(metrics, declare);
    let tracker = LagTracker::new(detail, clock, metrics.clone(), lags.clone());
    let work = follow_lag(tracker, config.interval.0, broker);
    let stop = stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled(work).await });
    lags
}
