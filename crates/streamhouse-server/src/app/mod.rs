//! All wiring: from a configuration to a running server and back.
//!
//! The order of start: telemetry (made by the caller, because it is the process') → metadata store
//! → object store → cache, writer, reader → broker → admin port → health. Shutdown goes the other
//! way, and what is acknowledged is durable throughout.

mod error;
mod lag;
mod store;
pub mod telemetry;
mod watch;

pub use error::StartError;

use crate::admin::{AdminServer, GroupPages};
use crate::config::Config;
use crate::health;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use streamhouse_kafka::{Broker, BrokerConfig, GroupConfig, KafkaError, Lags};
use streamhouse_metadata::{MetadataStore, Metered, SqliteStore};
use streamhouse_observability::Observability;
use streamhouse_observability::health::Health;
use streamhouse_observability::instruments::{Instruments, ObjectStoreMetrics};
use streamhouse_storage::object_store::{self, ObjectStore, ObjectStoreConfig, OpenError};
use streamhouse_storage::{Cache, Clock, Collector, Partitions, Reader, WriterPool};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// How long a start waits for its own health before it says `ready` all the same.
const FIRST_VERDICT: Duration = Duration::from_secs(2);
/// How long telemetry may take to send what waits at the end.
const TELEMETRY_FLUSH: Duration = Duration::from_secs(2);

/// A running server. Dropped, it stops without draining; call [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct App {
    observability: Observability,
    health: Health,
    kafka_addr: SocketAddr,
    kafka_stop: CancellationToken,
    /// None once it has ended: a task's end can be awaited only once.
    kafka: Option<JoinHandle<Result<(), KafkaError>>>,
    collector: Background,
    writer: WriterPool,
    metadata: SqliteStore,
    admin: AdminServer,
    lags: Lags,
    shutdown_timeout: Duration,
    /// Ends what watches, when the app goes.
    _watchers: DropGuard,
}

impl App {
    /// Starts a server as `config` says. It accepts clients when this returns, and one INFO event
    /// `ready` has said where.
    ///
    /// # Errors
    /// [`StartError`]; each says what to do. Nothing keeps running.
    pub async fn start(observability: Observability, config: &Config) -> Result<Self, StartError> {
        Self::start_with(observability, config, object_store::open).await
    }

    /// As [`start`](Self::start), with another way to open the object store.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(
        mut observability: Observability,
        config: &Config,
        open: impl FnOnce(
            &ObjectStoreMetrics,
            &ObjectStoreConfig,
        ) -> Result<Arc<dyn ObjectStore>, OpenError>,
    ) -> Result<Self, StartError> {
        let instruments = Instruments::declare(observability.declare());
        let kafka_listener = bind(config.kafka.addr, "--kafka-addr")?;
        let admin_listener = bind(config.admin.addr, "--admin-addr")?;
        let kafka_addr = local(&kafka_listener)?;

        let sqlite = store::metadata(config).await?;
        let metadata: Arc<dyn MetadataStore> =
            Arc::new(Metered::new(&instruments.metadata, sqlite.clone()));
        let wanted = store::object_store(config);
        let objects = open(&instruments.object_store, &wanted)?;
        store::claim(&objects, &metadata).await?;

        let clock = Clock::new();
        let broker_config = broker_config(config, kafka_addr, clock);
        let agent = register(&sqlite, &*metadata, &broker_config, kafka_addr).await?;
        let partitions = Partitions::new();
        let cache = Cache::new(config.cache.size.0, &instruments.cache);
        let writer = WriterPool::start(
            store::writer(config, &wanted.url, agent, clock),
            objects.clone(),
            metadata.clone(),
            partitions.clone(),
            cache.clone(),
            &instruments.segment,
        );
        let reader =
            Reader::new(partitions.clone(), cache.clone(), objects.clone(), metadata.clone());
        let broker = Broker::new(
            broker_config,
            metadata.clone(),
            writer.clone(),
            reader,
            &instruments,
            observability.requests(),
        );
        let relay = telemetry::relay(&config.client_telemetry, &mut observability);
        let broker = Arc::new(broker.relaying(relay));

        let watchers = CancellationToken::new();
        watch::start(&observability, &instruments, &writer, metadata.clone(), &watchers);
        let declare = observability.declare();
        let lag = &instruments.lag;
        let lags = lag::start(broker.clone(), &config.lag, clock, lag, declare, &watchers);
        let garbage = store::garbage(config, agent);
        let collector = Collector::new(
            garbage,
            objects.clone(),
            metadata.clone(),
            writer.clone(),
            &instruments.garbage,
        );
        let collector = Background::start(&watchers, collector.run());
        let checks = health::checks(metadata, objects, cache, writer.clone());
        let health = Health::start(observability.declare(), &instruments.service, checks);
        let shown = GroupPages { groups: broker.groups(), lags: lags.clone() };
        let admin =
            AdminServer::start(admin_listener, &observability, &health, shown, &config.admin)?;

        let kafka_stop = CancellationToken::new();
        let kafka_listener = into_tokio(kafka_listener)?;
        let kafka =
            tokio::spawn(streamhouse_kafka::serve(kafka_listener, broker, kafka_stop.clone()));
        first_verdict(&health).await;
        // A target of its own, so that a quiet server can still be told to say this.
        let admin_addr = admin.addr();
        tracing::info!(target: "streamhouse::ready", %kafka_addr, %admin_addr, "ready");
        Ok(Self {
            observability,
            health,
            kafka_addr,
            kafka_stop,
            kafka: Some(kafka),
            collector,
            writer,
            metadata: sqlite,
            admin,
            lags,
            shutdown_timeout: config.place.shutdown_timeout,
            _watchers: watchers.drop_guard(),
        })
    }

    /// Where Kafka clients connect to.
    pub fn kafka_addr(&self) -> SocketAddr {
        self.kafka_addr
    }

    /// Where metrics and health are.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.addr()
    }

    /// How far consumer groups are behind, as last computed.
    pub fn lags(&self) -> Lags {
        self.lags.clone()
    }

    /// The process' telemetry.
    pub fn observability(&self) -> &Observability {
        &self.observability
    }

    /// Waits until the Kafka port is not served any more, and returns why; it ends by itself only
    /// when something is badly wrong. Once told, it is not told again: a further call never ends.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn broken(&mut self) -> StartError {
        let Some(kafka) = &mut self.kafka else { return std::future::pending().await };
        let ended = kafka.await;
        self.kafka = None;
        match ended {
            Ok(Ok(())) => StartError::Kafka("it was told to stop".into()),
            Ok(Err(error)) => error.into(),
            Err(error) => StartError::Kafka(error.to_string()),
        }
    }

    /// Ends the server: unready at once, then requests under way are answered, what is written is
    /// stored and committed, telemetry is sent. Bounded by the configured timeout and 4 s.
    ///
    /// # Errors
    /// [`StartError::Shutdown`]: something was not finished in time.
    pub async fn shutdown(self) -> Result<(), StartError> {
        self.health.draining();
        let (drain, flush) = store::budgets(self.shutdown_timeout);
        self.kafka_stop.cancel();
        let drained = match self.kafka {
            None => true,
            Some(mut kafka) => {
                let ended = tokio::time::timeout(drain, &mut kafka).await.is_ok();
                if !ended {
                    kafka.abort();
                }
                ended
            }
        };
        self.collector.stop().await;
        let flushed = self.writer.shutdown(flush).await;
        let closed = tokio::time::timeout(Duration::from_secs(1), self.metadata.close()).await;
        let clean = drained && flushed && closed.is_ok();
        if clean {
            tracing::info!("stopped: everything acknowledged is stored and committed");
        } else {
            tracing::error!(drained, flushed, closed = closed.is_ok(), "stopped too early");
        }
        self.admin.stop().await;
        let observability = self.observability;
        let sent = tokio::task::spawn_blocking(move || observability.shutdown(TELEMETRY_FLUSH));
        let _ = sent.await;
        let seconds = self.shutdown_timeout.as_secs();
        if clean { Ok(()) } else { Err(StartError::Shutdown { seconds }) }
    }
}

/// Work that nobody waits for, until it is stopped or the app goes.
#[derive(Debug)]
struct Background {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Background {
    fn start(app: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) -> Self {
        let stop = app.child_token();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            stopped.run_until_cancelled(work).await;
        });
        Self { stop, task }
    }

    /// Ends the work at its next await: the stores that it uses may be closed then.
    async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

fn bind(addr: SocketAddr, flag: &'static str) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(addr);
    bound.map_err(|error| StartError::Listen { addr, reason: error.to_string(), flag })
}

fn into_tokio(listener: TcpListener) -> Result<tokio::net::TcpListener, StartError> {
    let converted =
        listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    converted.map_err(|error| StartError::Kafka(error.to_string()))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Kafka(error.to_string()))
}

/// Waits until every health check has its first verdict, so that `ready` and `/health/ready` agree,
/// and warns of those that did not pass.
async fn first_verdict(health: &Health) {
    let not_passed = || {
        let mut checks = health.report().checks;
        checks.retain(|_, verdict| verdict != "ok");
        checks
    };
    let known = async {
        while not_passed().values().any(|verdict| verdict == "starting") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(FIRST_VERDICT, known).await;
    let failing = not_passed();
    if !failing.is_empty() {
        let failing = failing.iter().map(|(check, verdict)| format!("{check} ({verdict})"));
        let failing = failing.collect::<Vec<_>>().join(", ");
        tracing::warn!(failing, "health checks do not pass; see /health/ready");
    }
}

fn broker_config(config: &Config, addr: SocketAddr, clock: Clock) -> BrokerConfig {
    let kafka = &config.kafka;
    let (drain_timeout, _) = store::budgets(config.place.shutdown_timeout);
    if kafka.advertised.is_none() && addr.ip().is_unspecified() {
        tracing::warn!(
            %addr,
            "clients are told to connect to 127.0.0.1, which only works here; set kafka.advertised"
        );
    }
    let (host, port) = match &kafka.advertised {
        Some(advertised) => (advertised.host.clone(), Some(advertised.port)),
        None if addr.ip().is_unspecified() => ("127.0.0.1".to_owned(), None),
        None => (addr.ip().to_string(), None),
    };
    BrokerConfig {
        incarnation: Uuid::new_v4(),
        advertised_host: host,
        advertised_port: port,
        auto_create_topics: kafka.auto_create_topics,
        default_partitions: i32::try_from(kafka.default_partitions).unwrap_or(i32::MAX),
        retention_ms: config.retention.ms.0,
        retention_bytes: config.retention.bytes.0,
        retention_interval: config.retention.interval.0,
        clock,
        max_batch_bytes: kafka.max_batch.as_usize(),
        max_frame_bytes: kafka.max_request.as_usize(),
        request_memory: kafka.request_memory.as_usize(),
        response_memory: kafka.response_memory.as_usize(),
        max_connections: kafka.max_connections,
        idle_timeout: kafka.idle_timeout,
        groups: GroupConfig {
            offsets_retention: kafka.offsets_retention,
            ..GroupConfig::default()
        },
        // The drain must be over before its own limit, so that it ends well.
        drain_timeout: drain_timeout.saturating_sub(Duration::from_secs(1)),
        client_telemetry: telemetry::of_clients(&config.client_telemetry),
        ..BrokerConfig::default()
    }
}

/// Registers the agent for its number, which stands in the names of its objects.
async fn register(
    sqlite: &SqliteStore,
    metadata: &dyn MetadataStore,
    config: &BrokerConfig,
    addr: SocketAddr,
) -> Result<i32, StartError> {
    let port = config.advertised_port.unwrap_or(addr.port());
    let lease = i64::try_from(config.lease.as_millis()).unwrap_or(i64::MAX);
    let host = &config.advertised_host;
    let registered = metadata.register_agent(config.incarnation, host, port, lease).await;
    let failed = |source| StartError::Metadata { path: sqlite.path().to_owned(), source };
    registered.map(|agent| agent.id).map_err(failed)
}
