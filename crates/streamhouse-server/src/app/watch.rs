//! What keeps gauges true that no request sets.

use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::MetadataStore;
use streamhouse_observability::Observability;
use streamhouse_observability::instruments::{Instruments, Version};
use streamhouse_observability::process;
use streamhouse_storage::WriterPool;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// How often the totals of what is stored are read.
const TOTALS: Duration = Duration::from_secs(10);

/// Starts watching; it ends with `stop`.
pub(super) fn start(
    observability: &Observability,
    instruments: &Instruments,
    writer: &WriterPool,
    metadata: Arc<dyn MetadataStore>,
    stop: &CancellationToken,
) {
    let declare = observability.declare();
    process::watch(declare, &instruments.process, &instruments.runtime, Handle::current());
    let writer = writer.clone();
    declare.before_collect(move || writer.record_age());
    let build = instruments.service.build.bind(&Version);
    build.set(1);
    let size = instruments.storage.size.bind(&());
    let objects = instruments.storage.objects.bind(&());
    let stop = stop.clone();
    tokio::spawn(async move {
        let read = async {
            let mut ticks = tokio::time::interval(TOTALS);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                match metadata.totals().await {
                    Ok(totals) => {
                        size.set(i64::try_from(totals.bytes).unwrap_or(i64::MAX));
                        objects.set(i64::try_from(totals.objects).unwrap_or(i64::MAX));
                    }
                    Err(error) => tracing::debug!(%error, "the totals stay as they were"),
                }
            }
        };
        stop.run_until_cancelled(read).await;
        drop(build); // its series lives as long as the server
    });
}
