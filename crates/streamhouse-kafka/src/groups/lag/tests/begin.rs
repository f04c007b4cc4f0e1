use super::super::{LagDetail, LagTracker, Lags, follow_lag};
use crate::{Broker, BrokerConfig};
use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::SqliteStore;
use streamhouse_observability::instruments::Instruments;
use streamhouse_observability::spans::Requests;
use streamhouse_observability::testing;
use streamhouse_storage::object_store::MemoryStore;
use streamhouse_storage::{Cache, Clock, Partitions, Reader, WriterConfig, WriterPool};

#[tokio::test]
async fn before_the_groups_are_taken_from_the_store_no_lag_is_told() {
    let (declare, _seen) = testing::in_memory();
    let instruments = Instruments::declare(&declare);
    let metadata = Arc::new(SqliteStore::in_memory().await.unwrap());
    let store = Arc::new(MemoryStore::new());
    let (partitions, cache) = (Partitions::new(), Cache::new(1 << 20, &instruments.cache));
    let (config, metrics) = (WriterConfig::local(1), &instruments.segment);
    let known = (partitions.clone(), cache.clone());
    let writer =
        WriterPool::start(config, store.clone(), metadata.clone(), known.0, known.1, metrics);
    let reader = Reader::new(partitions, cache, store, metadata.clone());
    let (config, requests) = (BrokerConfig::default(), Requests::untraced());
    let broker = Broker::new(config, metadata, writer, reader, &instruments, requests);

    // Nobody serves it: it never learns which groups are its own.
    let lags = Lags::default();
    let (detail, metrics) = (LagDetail::default(), instruments.lag.clone());
    let tracker = LagTracker::new(detail, Clock::new(), metrics, lags.clone());
    let follow = follow_lag(tracker, Duration::from_millis(100), Arc::new(broker));
    let followed = tokio::time::timeout(Duration::from_millis(500), follow).await;
    assert!(followed.is_err());
    let view = lags.view();
    assert_eq!((view.computed_ms, view.is_complete), (None, false));
}
