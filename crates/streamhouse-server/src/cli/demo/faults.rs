//! Faults of the demo's object store, so that its error metrics move. Only the demo wires this in.

use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use streamhouse_observability::instruments::ObjectStoreMetrics;
use streamhouse_observability::labels::{Operation, StoreError as Class};
use streamhouse_storage::StoreError;
use streamhouse_storage::object_store::{
    Budgets, Deadlines, LocalStore, MemoryStore, Metered, ObjectMeta, ObjectStore,
    ObjectStoreConfig, ObjectStoreUrl, OpenError, Resilient, S3Store,
};

/// One call in so many fails.
const ONE_IN: u32 = 40;
/// One call in so many is slow.
const SLOW_ONE_IN: u32 = 60;
/// How slow it then is.
const DELAY: Duration = Duration::from_millis(120);

/// How long a call may take that stores nothing.
const OTHER_CALLS: Duration = Duration::from_secs(5);

/// Opens the store of `config` with faults under its decorators, so that they are measured, and
/// counts them in `injected`.
pub(super) fn open(
    metrics: &ObjectStoreMetrics,
    config: &ObjectStoreConfig,
    injected: Arc<AtomicU64>,
) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let (put, other) = (config.put_budget, OTHER_CALLS);
    let faulty = |inner| FaultyStore { inner, injected };
    let metered = |store| Metered::new(metrics, store, Deadlines { put, other });
    Ok(match &config.url {
        ObjectStoreUrl::Memory => Arc::new(metered(faulty(Arc::new(MemoryStore::new())))),
        ObjectStoreUrl::Local(path) => {
            let store = LocalStore::open(path)
                .map_err(|error| OpenError::Local { path: path.clone(), error })?;
            Arc::new(metered(faulty(Arc::new(store))))
        }
        ObjectStoreUrl::S3 { bucket, prefix } => {
            let store = S3Store::new(bucket, prefix, &config.s3)?;
            let store = metered(faulty(Arc::new(store)));
            Arc::new(Resilient::new(metrics, store, Budgets { put, other }))
        }
    })
}

/// Fails or delays a few calls of the store behind it.
#[derive(Debug)]
struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    injected: Arc<AtomicU64>,
}

impl FaultyStore {
    async fn suffer(&self, operation: Operation, object: &str) -> Result<(), StoreError> {
        if rand::random_ratio(1, SLOW_ONE_IN) {
            tokio::time::sleep(DELAY).await;
        }
        if !rand::random_ratio(1, ONE_IN) {
            return Ok(());
        }
        self.injected.fetch_add(1, Ordering::Relaxed);
        let classes = [Class::Throttling, Class::Timeout, Class::Connection, Class::Server];
        let class = classes[rand::random_range(0..classes.len())];
        Err(StoreError::new(operation, object, class, "injected by the demo"))
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put(&self, name: &str, body: &[Bytes]) -> Result<(), StoreError> {
        self.suffer(Operation::Put, name).await?;
        self.inner.put(name, body).await
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.suffer(Operation::Get, name).await?;
        self.inner.get(name, range).await
    }

    async fn head(&self, name: &str) -> Result<ObjectMeta, StoreError> {
        self.inner.head(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, StoreError> {
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.suffer(Operation::Delete, name).await?;
        self.inner.delete(name).await
    }
}
