//! A metadata store in trouble while the broker starts to serve, goes on and ends.

use crate::server::{PATIENCE, Server};
use async_trait::async_trait;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use streamhouse_kafka::BrokerConfig;
use streamhouse_metadata::{
    Agent, BatchOutcome, IndexRow, Locate, Located, MetadataError, MetadataStore, ProducerIdentity,
    Segment, SqliteStore, Topic, TopicId, TopicPartition, Totals, Watermarks,
};
use streamhouse_observability::spans::Requests;
use uuid::Uuid;

type Result<T> = std::result::Result<T, MetadataError>;

/// Passes everything on, except what concerns the agent's registration while `away`.
#[derive(Debug)]
struct Registry {
    inner: SqliteStore,
    away: AtomicBool,
}

impl Registry {
    async fn start(config: BrokerConfig) -> (Arc<Self>, Server) {
        let inner = SqliteStore::in_memory().await.unwrap();
        let registry = Arc::new(Self { inner, away: AtomicBool::new(false) });
        let server = Server::on(registry.clone(), config, Requests::untraced()).await;
        server.wire().await.topic("orders").await;
        registry.away.store(true, Ordering::SeqCst);
        (registry, server)
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl MetadataStore for Registry {
    async fn register_agent(
        &self,
        incarnation: Uuid,
        host: &str,
        port: u16,
        lease_ms: i64,
    ) -> Result<Agent> {
        if self.is_away() {
            return Err(MetadataError::Unavailable("the registry is away".into()));
        }
        self.inner.register_agent(incarnation, host, port, lease_ms).await
    }

    async fn remove_agent(&self, incarnation: Uuid) -> Result<()> {
        if self.is_away() {
            pending::<()>().await;
        }
        self.inner.remove_agent(incarnation).await
    }

    async fn commit(&self, segments: &[Segment]) -> Result<Vec<Vec<BatchOutcome>>> {
        self.inner.commit(segments).await
    }

    async fn settle(&self, segments: &[Segment]) -> Result<Vec<Option<Vec<BatchOutcome>>>> {
        self.inner.settle(segments).await
    }

    async fn locate(&self, wanted: &[Locate]) -> Result<Vec<Option<Located>>> {
        self.inner.locate(wanted).await
    }

    async fn locate_time(&self, partition: TopicPartition, time: i64) -> Result<Option<IndexRow>> {
        self.inner.locate_time(partition, time).await
    }

    async fn max_timestamp(&self, partition: TopicPartition) -> Result<Option<i64>> {
        self.inner.max_timestamp(partition).await
    }

    async fn watermarks(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<Watermarks>>> {
        self.inner.watermarks(partitions).await
    }

    async fn topics(&self) -> Result<Vec<Topic>> {
        self.inner.topics().await
    }

    async fn create_topic(&self, name: &str, partitions: i32) -> Result<Topic> {
        self.inner.create_topic(name, partitions).await
    }

    async fn create_partitions(&self, topic: TopicId, total: i32) -> Result<Topic> {
        self.inner.create_partitions(topic, total).await
    }

    async fn delete_topic(&self, topic: TopicId) -> Result<()> {
        self.inner.delete_topic(topic).await
    }

    async fn init_producer(&self, known: Option<ProducerIdentity>) -> Result<ProducerIdentity> {
        self.inner.init_producer(known).await
    }

    async fn agents(&self) -> Result<Vec<Agent>> {
        self.inner.agents().await
    }

    async fn cluster_id(&self) -> Result<Uuid> {
        self.inner.cluster_id().await
    }

    async fn totals(&self) -> Result<Totals> {
        self.inner.totals().await
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_whose_end_hangs_does_not_keep_the_shutdown() {
    let (_registry, server) = Registry::start(BrokerConfig::default()).await;
    server.shutdown.cancel();
    tokio::time::timeout(PATIENCE, server.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_read_again_while_the_registration_cannot_be_renewed() {
    let refresh = Duration::from_millis(20);
    let config = BrokerConfig { refresh, ..BrokerConfig::default() };
    let (registry, server) = Registry::start(config).await;
    registry.create_topic("of-another-agent", 1).await.unwrap();
    server.gauge("streamhouse.topics.total", 2.0).await;
}
