//! What every request needs, in one place.

use crate::attempt::RequestHandles;
use crate::bulk::Bulk;
use crate::client_telemetry::ClientTelemetry;
use crate::config::BrokerConfig;
use crate::framing::Admission;
use crate::groups::Groups;
use crate::groups::table::GroupTable;
use crate::placement::Agents;
use crate::records::Peek;
use crate::topics::Topics;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use streamhouse_metadata::{Agent, MetadataError, MetadataStore};
use streamhouse_observability::declare::{CounterCell, GaugeCell, PerValue};
use streamhouse_observability::instruments::Instruments;
use streamhouse_observability::labels::{Direction, Outcome};
use streamhouse_observability::relay::Relay;
use streamhouse_observability::spans::Requests;
use streamhouse_storage::{Reader, WriterPool};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Answers the requests of Kafka clients. Put it on a socket with [`serve`](crate::serve).
#[derive(Debug)]
pub struct Broker {
    pub(crate) config: BrokerConfig,
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) writer: WriterPool,
    pub(crate) reader: Reader,
    pub(crate) requests: Requests,
    pub(crate) topics: Topics,
    pub(crate) agents: Agents,
    pub(crate) groups: Groups,
    /// The memory for what is told of groups.
    pub(crate) bulk: Bulk,
    pub(crate) admission: Admission,
    /// The memory for records on their way to consumers, in bytes.
    pub(crate) deliveries: Arc<Semaphore>,
    pub(crate) peek: Peek,
    pub(crate) client_telemetry: ClientTelemetry,
    pub(crate) handles: RequestHandles,
    pub(crate) connections: ConnectionHandles,
    cluster: OnceLock<Uuid>,
    own: RwLock<Option<Agent>>,
}

/// The series of connections, bound once for the process.
#[derive(Debug)]
pub(crate) struct ConnectionHandles {
    pub active: GaugeCell,
    pub accepted: CounterCell,
    pub bytes: PerValue<Direction, CounterCell>,
}

impl Broker {
    /// Makes a broker. Nothing is read or registered before [`serve`](crate::serve).
    pub fn new(
        config: BrokerConfig,
        metadata: Arc<dyn MetadataStore>,
        writer: WriterPool,
        reader: Reader,
        instruments: &Instruments,
        requests: Requests,
    ) -> Self {
        let topics = Topics::new(
            metadata.clone(),
            reader.clone(),
            &instruments.producer,
            &instruments.consumer,
            &instruments.retention,
            &instruments.cluster,
            config.refresh_on_miss,
        );
        let handles = RequestHandles {
            answered: PerValue::bind(|api| {
                instruments.kafka.requests.bind_each(|outcome| (api, outcome))
            }),
            duration: instruments.kafka.duration.bind_each(|api| api),
            produce: instruments.producer.requests(),
            fetch: instruments.consumer.latency.bind_each(|outcome: Outcome| outcome),
            retention: instruments.retention.rounds(),
            lost: instruments.lag.lost(),
        };
        let connections = ConnectionHandles {
            active: instruments.connections.active.bind(&()),
            accepted: instruments.connections.accepted.bind(&()),
            bytes: instruments.kafka.bytes.bind_each(|direction| direction),
        };
        let deliveries =
            config.response_memory.clamp(config.max_fetch_bytes, Semaphore::MAX_PERMITS);
        Self {
            admission: Admission::new(&config),
            bulk: Bulk::new(&config),
            deliveries: Arc::new(Semaphore::new(deliveries)),
            agents: Agents::new(&instruments.cluster),
            groups: Groups::new(
                metadata.clone(),
                config.groups.clone(),
                instruments.groups.clone(),
            ),
            peek: Peek::new(&instruments.kafka),
            client_telemetry: ClientTelemetry::new(
                config.client_telemetry.clone(),
                &instruments.client_telemetry,
            ),
            cluster: OnceLock::new(),
            own: RwLock::default(),
            config,
            metadata,
            writer,
            reader,
            requests,
            topics,
            handles,
            connections,
        }
    }

    /// Passes on the metrics that clients push through `relay`; without one, clients are told
    /// that none are wanted.
    #[must_use]
    pub fn relaying(mut self, relay: Option<Relay>) -> Self {
        self.client_telemetry = self.client_telemetry.through(relay);
        self
    }

    /// The cluster's id, read once.
    pub(crate) async fn cluster_id(&self) -> Result<Uuid, MetadataError> {
        match self.cluster.get() {
            Some(id) => Ok(*id),
            None => {
                let id = self.metadata.cluster_id().await?;
                Ok(*self.cluster.get_or_init(|| id))
            }
        }
    }

    /// Registers this agent, or renews its registration.
    pub(crate) async fn register(&self, port: u16) -> Result<Agent, MetadataError> {
        let config = &self.config;
        let port = config.advertised_port.unwrap_or(port);
        let lease = i64::try_from(config.lease.as_millis()).unwrap_or(i64::MAX);
        let host = &config.advertised_host;
        let agent = self.metadata.register_agent(config.incarnation, host, port, lease).await?;
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = Some(agent.clone());
        Ok(agent)
    }

    /// The live agents; this one if the others are not known.
    pub(crate) fn live(&self) -> Arc<[Agent]> {
        let live = self.agents.live();
        if !live.is_empty() {
            return live;
        }
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner).clone();
        own.into_iter().collect()
    }

    /// What is known of the groups that this agent coordinates.
    pub fn groups(&self) -> GroupTable {
        self.groups.table()
    }

    /// Reads again what other agents may have changed.
    pub(crate) async fn refresh(&self) -> Result<(), MetadataError> {
        self.agents.refresh(&*self.metadata).await?;
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|it| it.id);
        if let Some(own) = own {
            self.groups.refreshed(own, self.live());
        }
        self.topics.refresh().await?;
        let gone = self.topics.take_gone();
        if !gone.is_empty() {
            self.groups.prune(&gone);
        }
        Ok(())
    }
}
