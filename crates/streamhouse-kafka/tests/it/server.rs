//! A whole broker: metadata in SQLite, objects in memory behind scripted faults.

use crate::wire::Wire;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_kafka::{Broker, BrokerConfig, GroupTable, KafkaError, serve};
use streamhouse_metadata::{MetadataStore, SqliteStore};
use streamhouse_observability::instruments::Instruments;
use streamhouse_observability::relay::Relay;
use streamhouse_observability::spans::Requests;
use streamhouse_observability::testing::{Seen, in_memory};
use streamhouse_storage::object_store::MemoryStore;
use streamhouse_storage::testing::{FaultStore, Faults};
use streamhouse_storage::{Cache, Partitions, Reader, WriterConfig, WriterPool};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

type Stores = (Arc<dyn MetadataStore>, Arc<FaultStore<MemoryStore>>, Faults);

/// A running server.
pub struct Server {
    pub addr: SocketAddr,
    pub seen: Seen,
    pub faults: Faults,
    pub metadata: Arc<dyn MetadataStore>,
    pub groups: GroupTable,
    store: Arc<FaultStore<MemoryStore>>,
    config: BrokerConfig,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<Result<(), KafkaError>>,
}

impl Server {
    /// With the defaults.
    pub async fn start() -> Self {
        Self::with(BrokerConfig::default()).await
    }

    pub async fn with(config: BrokerConfig) -> Self {
        Self::traced(config, Requests::untraced()).await
    }

    pub async fn traced(config: BrokerConfig, requests: Requests) -> Self {
        let metadata: Arc<dyn MetadataStore> = Arc::new(SqliteStore::in_memory().await.unwrap());
        Self::on(metadata, config, requests).await
    }

    pub async fn on(
        metadata: Arc<dyn MetadataStore>,
        config: BrokerConfig,
        requests: Requests,
    ) -> Self {
        Self::launch(metadata, config, requests, 64 << 20).await
    }

    /// As [`with`](Self::with), where metrics of clients are passed on through `relay`.
    pub async fn relaying(config: BrokerConfig, relay: Relay) -> Self {
        let metadata = Arc::new(SqliteStore::in_memory().await.unwrap());
        let faults = Faults::none();
        let store = Arc::new(FaultStore::new(MemoryStore::new(), faults.clone()));
        let (stores, requests) = ((metadata as _, store, faults), Requests::untraced());
        Self::at_with("127.0.0.1:0", stores, config, requests, 64 << 20, Some(relay)).await
    }

    /// With a cache of `cache` bytes. A block larger than half of that is never in it.
    pub async fn cached(cache: u64, config: BrokerConfig) -> Self {
        let metadata = Arc::new(SqliteStore::in_memory().await.unwrap());
        Self::launch(metadata, config, Requests::untraced(), cache).await
    }

    async fn launch(
        metadata: Arc<dyn MetadataStore>,
        config: BrokerConfig,
        requests: Requests,
        cache: u64,
    ) -> Self {
        let faults = Faults::none();
        let store = Arc::new(FaultStore::new(MemoryStore::new(), faults.clone()));
        Self::at("127.0.0.1:0", (metadata, store, faults), config, requests, cache).await
    }

    /// Ends it, and starts another one with the same stores at the same address.
    pub async fn again(self) -> Self {
        self.shutdown.cancel();
        self.serving.await.unwrap().unwrap();
        let stores = (self.metadata, self.store, self.faults);
        let config = BrokerConfig { incarnation: uuid::Uuid::new_v4(), ..self.config };
        Self::at(&self.addr.to_string(), stores, config, Requests::untraced(), 64 << 20).await
    }

    async fn at(
        addr: &str,
        stores: Stores,
        config: BrokerConfig,
        requests: Requests,
        cache: u64,
    ) -> Self {
        Self::at_with(addr, stores, config, requests, cache, None).await
    }

    async fn at_with(
        addr: &str,
        (metadata, store, faults): Stores,
        config: BrokerConfig,
        requests: Requests,
        cache: u64,
        relay: Option<Relay>,
    ) -> Self {
        let (declare, seen) = in_memory();
        let instruments = Instruments::declare(&declare);
        let cache = Cache::new(cache, &instruments.cache);
        let partitions = Partitions::new();
        let writer = WriterPool::start(
            WriterConfig::local(1),
            store.clone(),
            metadata.clone(),
            partitions.clone(),
            cache.clone(),
            &instruments.segment,
        );
        let reader = Reader::new(partitions, cache, store.clone(), metadata.clone());
        let broker =
            Broker::new(config.clone(), metadata.clone(), writer, reader, &instruments, requests)
                .relaying(relay);
        let groups = broker.groups();
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Arc::new(broker), shutdown.clone()));
        Self { addr, seen, faults, metadata, groups, store, config, shutdown, serving }
    }

    /// A connection of raw frames.
    pub async fn wire(&self) -> Wire {
        Wire::connect(self.addr).await
    }

    pub fn bootstrap(&self) -> String {
        self.addr.to_string()
    }

    /// The sum of a counter's series with these labels.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.seen.count(name, labels)
    }

    /// Waits until a counter has reached `at_least`, and tells what it is then.
    pub async fn counted(&self, name: &str, labels: &[(&str, &str)], at_least: u64) -> u64 {
        eventually(name, || {
            let count = self.count(name, labels);
            (count >= at_least).then_some(count)
        })
        .await
    }

    /// Waits until a gauge is `wanted`.
    pub async fn gauge(&self, name: &str, wanted: f64) {
        self.gauge_of(name, &[], wanted).await;
    }

    /// Waits until a gauge's series with these labels is `wanted`.
    pub async fn gauge_of(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        eventually(name, || (self.seen.value(name, labels) == Some(wanted)).then_some(())).await;
    }
}

/// Polls until there is an answer.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(found) => found,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}
