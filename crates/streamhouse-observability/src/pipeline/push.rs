//! The push of metrics: collect, encode, send; every interval and once more at the end.

use super::export::{self, Exporter};
use super::ledger::Ledger;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

/// Collects every metric.
pub(crate) type Collect = Arc<dyn Fn(&mut ResourceMetrics) -> OTelSdkResult + Send + Sync>;

/// Pushes metrics every `interval` until `closing` turns true, once more then, and returns.
///
/// Collecting runs on a blocking thread of the exporters' runtime: callbacks may be slow, and
/// other signals go on meanwhile.
pub(crate) async fn run(
    collect: Collect,
    interval: Duration,
    ledger: Arc<Ledger>,
    mut exporter: Exporter,
    mut closing: watch::Receiver<bool>,
) {
    let mut tick = tokio::time::interval_at(Instant::now() + interval, interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let last = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => true,
            _ = tick.tick() => false,
        };
        push(&collect, &ledger, &mut exporter).await;
        if last {
            return;
        }
    }
}

async fn push(collect: &Collect, ledger: &Ledger, exporter: &mut Exporter) {
    let collect = collect.clone();
    let requests = tokio::task::spawn_blocking(move || {
        let mut collected = ResourceMetrics::default();
        collect(&mut collected).ok().map(|()| export::metrics(&collected))
    });
    let Ok(Some(requests)) = requests.await else { return };
    if !ledger.admit_all(export::points(&requests)) {
        return;
    }
    for (request, points) in requests {
        exporter.export(request, points).await;
    }
}
