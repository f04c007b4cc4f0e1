//! What a broker is told: its identity and its limits.

use crate::client_telemetry::ClientTelemetryConfig;
use std::time::Duration;
use streamhouse_storage::Clock;
use uuid::Uuid;

/// Settings of a [`Broker`](crate::Broker). `Default` gives the documented defaults.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// The agent's name in the metadata store, fresh for every start of the process.
    pub incarnation: Uuid,
    /// The host that clients are told to connect to. Default `127.0.0.1`.
    pub advertised_host: String,
    /// The port that clients are told to connect to; `None` (default): the listener's.
    pub advertised_port: Option<u16>,
    /// How long the agent counts as alive without renewal. Default 15 s.
    pub lease: Duration,
    /// How often topics and agents are read again, and the lease is renewed. Default 3 s.
    pub refresh: Duration,
    /// How soon after a refresh an unknown topic may cause another one. Default 100 ms.
    pub refresh_on_miss: Duration,
    /// Whether a Metadata request creates the topics it names, if it allows that. Default true.
    pub auto_create_topics: bool,
    /// Partitions of a topic whose creator does not say. Default 1.
    pub default_partitions: i32,
    /// The most partitions that a topic may have. Default 10,000.
    pub max_partitions: i32,
    /// Milliseconds after which records of topics without a `retention.ms` of their own are removed;
    /// −1: never. Default 7 days.
    pub retention_ms: i64,
    /// Bytes of a partition that are kept at least: what is older is removed, for topics without a
    /// `retention.bytes` of their own; −1: nothing is removed for its size. Default −1.
    pub retention_bytes: i64,
    /// How often it is looked for records to remove. Default 60 s.
    pub retention_interval: Duration,
    /// What ages are computed by: the clock that append times are read from. Default: one that
    /// begins at the machine's time.
    pub clock: Clock,
    /// The largest record batch accepted, in bytes. Default 1 MiB + 12, as Kafka's.
    pub max_batch_bytes: usize,
    /// The largest frame accepted, in bytes. Default 32 MiB.
    pub max_frame_bytes: usize,
    /// Bytes of all frames that are read or being worked on; further ones stay in their sockets.
    /// At least `max_frame_bytes`. Default 256 MiB.
    pub request_memory: usize,
    /// The most bytes of records in one fetch answer. Default 16 MiB.
    pub max_fetch_bytes: usize,
    /// Bytes of all fetch answers that are read or being sent. At least `max_fetch_bytes`.
    /// Default 256 MiB.
    pub response_memory: usize,
    /// Connections open at a time; further ones are closed at once. Default 4,096.
    pub max_connections: usize,
    /// Requests of one connection that are not answered yet; further ones stay in the socket.
    /// Default 64.
    pub max_unanswered: usize,
    /// How long a connection may have nothing to do. Default 10 min.
    pub idle_timeout: Duration,
    /// How long a frame's body may take to arrive, plus a second per MiB. Default 30 s.
    pub read_timeout: Duration,
    /// How long a client may take to read an answer, plus a second per MiB. Default 30 s.
    pub write_timeout: Duration,
    /// The longest wait of a produce or fetch request, whatever it asks for. Default 5 min.
    pub max_wait: Duration,
    /// How often a waiting fetch looks for what other agents appended, when there are others.
    /// Default 100 ms.
    pub tail_poll: Duration,
    /// How long a shutdown waits for requests under way. Default 10 s.
    pub drain_timeout: Duration,
    /// What bounds consumer groups.
    pub groups: GroupConfig,
    /// Which metrics clients are asked to push about themselves.
    pub client_telemetry: ClientTelemetryConfig,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            incarnation: Uuid::new_v4(),
            advertised_host: "127.0.0.1".into(),
            advertised_port: None,
            lease: Duration::from_secs(15),
            refresh: Duration::from_secs(3),
            refresh_on_miss: Duration::from_millis(100),
            auto_create_topics: true,
            default_partitions: 1,
            max_partitions: 10_000,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            retention_interval: Duration::from_secs(60),
            clock: Clock::new(),
            max_batch_bytes: (1 << 20) + 12,
            max_frame_bytes: 32 << 20,
            request_memory: 256 << 20,
            max_fetch_bytes: 16 << 20,
            response_memory: 256 << 20,
            max_connections: 4_096,
            max_unanswered: 64,
            idle_timeout: Duration::from_secs(600),
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            max_wait: Duration::from_secs(300),
            tail_poll: Duration::from_millis(100),
            drain_timeout: Duration::from_secs(10),
            groups: GroupConfig::default(),
            client_telemetry: ClientTelemetryConfig::default(),
        }
    }
}

/// Settings of consumer groups. `Default` gives the documented defaults.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// How long the offsets of a group are kept that has no members and commits nothing. Default
    /// 7 days.
    pub offsets_retention: Duration,
    /// The shortest session timeout that a member may ask for. Default 1 s.
    pub min_session: Duration,
    /// The longest one. Default 30 min.
    pub max_session: Duration,
    /// The longest wait for members to join again; a longer wish is cut. Default 1 h.
    pub max_rebalance: Duration,
    /// How long a group that was empty waits for further members; each one begins the wait anew.
    /// Default 300 ms.
    pub initial_delay: Duration,
    /// The most members of a group. Default 10,000.
    pub max_members: usize,
    /// Bytes of what the members of one group tell and are told of assignments. Default 16 MiB.
    pub max_group_bytes: usize,
    /// The same for all groups of the agent together, and as much for their committed offsets, of
    /// which one group takes an eighth at most. Default 256 MiB.
    pub memory: usize,
    /// The most groups that an agent coordinates. Default 10,000.
    pub max_groups: usize,
    /// How long one call of the metadata store may take. Then its outcome is in doubt, and the
    /// groups concerned are given up: taken again with a fresh epoch, by which the store refuses
    /// what the call may still write. Default 15 s.
    pub store_timeout: Duration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            min_session: Duration::from_secs(1),
            max_session: Duration::from_secs(30 * 60),
            max_rebalance: Duration::from_secs(60 * 60),
            initial_delay: Duration::from_millis(300),
            max_members: 10_000,
            max_group_bytes: 16 << 20,
            memory: 256 << 20,
            max_groups: 10_000,
            store_timeout: Duration::from_secs(15),
        }
    }
}
