//! A metadata store in trouble while the broker starts to serve, goes on and ends.

use crate::group_wire::{Member, eager, join, offsets_in, offsets_of};
use crate::server::{PATIENCE, Server};
use async_trait::async_trait;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::JoinGroupRequest;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use streamhouse_kafka::{BrokerConfig, GroupConfig};
use streamhouse_metadata::{
    Agent, BatchOutcome, CommittedOffset, IndexRow, Locate, Located, MetadataError, MetadataStore,
    OffsetCommit, OffsetCommitOutcome, Position, ProducerIdentity, Retention, RetentionChange,
    Segment, SegmentId, SqliteStore, StoredGroup, Topic, TopicId, TopicPartition, Totals, Trim,
    TrimOutcome, UnusedSegment, Watermarks,
};
use streamhouse_observability::spans::Requests;
use uuid::Uuid;

type Result<T> = std::result::Result<T, MetadataError>;

/// What befalls a write of groups.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// It is not done.
    Away,
    /// It is done, and nobody is told.
    InDoubt,
    /// It never ends.
    Hangs,
}

/// Passes everything on, except what concerns the agent's registration while `away`, and what
/// trouble waits for the writes of groups.
#[derive(Debug)]
struct Registry {
    inner: SqliteStore,
    away: AtomicBool,
    troubles: Mutex<Vec<Trouble>>,
}

impl Registry {
    async fn start(config: BrokerConfig) -> (Arc<Self>, Server) {
        let inner = SqliteStore::in_memory().await.unwrap();
        let registry =
            Arc::new(Self { inner, away: AtomicBool::new(false), troubles: Mutex::default() });
        let server = Server::on(registry.clone(), config, Requests::untraced()).await;
        server.wire().await.topic("orders").await;
        registry.away.store(true, Ordering::SeqCst);
        (registry, server)
    }

    /// With a group of one member, ready for trouble.
    async fn with_member() -> (Arc<Self>, Server, Member) {
        Self::with_member_and(eager().groups).await
    }

    async fn with_member_and(groups: GroupConfig) -> (Arc<Self>, Server, Member) {
        let (registry, server) = Self::start(BrokerConfig { groups, ..eager() }).await;
        registry.away.store(false, Ordering::SeqCst);
        server.wire().await.topic("here").await;
        let member = Member::alone(&server, "billing").await;
        (registry, server, member)
    }

    /// Lets this befall the next `times` writes of groups, and no others.
    fn trouble(&self, trouble: Trouble, times: usize) {
        *self.troubles.lock().unwrap() = vec![trouble; times];
    }

    async fn troubled<T>(&self, write: impl Future<Output = Result<T>>) -> Result<T> {
        let trouble = self.troubles.lock().unwrap().pop();
        match trouble {
            None => write.await,
            Some(Trouble::Away) => Err(MetadataError::Unavailable("nobody is there".into())),
            Some(Trouble::Hangs) => pending().await,
            Some(Trouble::InDoubt) => {
                write.await?;
                Err(MetadataError::InDoubt("the answer was lost".into()))
            }
        }
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

    async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        retention: Retention,
    ) -> Result<Topic> {
        self.inner.create_topic(name, partitions, retention).await
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

    async fn set_retention(&self, topic: TopicId, change: RetentionChange) -> Result<Topic> {
        self.inner.set_retention(topic, change).await
    }

    async fn trim(&self, wanted: &[(TopicPartition, Trim)]) -> Result<Vec<TrimOutcome>> {
        self.inner.trim(wanted).await
    }

    async fn positions(&self, wanted: &[(TopicPartition, i64)]) -> Result<Vec<Option<Position>>> {
        self.inner.positions(wanted).await
    }

    async fn groups(&self) -> Result<Vec<StoredGroup>> {
        self.inner.groups().await
    }

    async fn take_groups(
        &self,
        names: &[Arc<str>],
        create: bool,
    ) -> Result<Vec<Option<StoredGroup>>> {
        self.troubled(self.inner.take_groups(names, create)).await
    }

    async fn begin_generation(
        &self,
        group: &str,
        epoch: i64,
        generation: i32,
        protocol_type: &str,
        members: usize,
        subscribed: Option<&[Arc<str>]>,
    ) -> Result<bool> {
        let (inner, kind) = (&self.inner, protocol_type);
        let begin = inner.begin_generation(group, epoch, generation, kind, members, subscribed);
        self.troubled(begin).await
    }

    async fn commit_offsets(&self, commits: &[OffsetCommit]) -> Result<Vec<OffsetCommitOutcome>> {
        self.troubled(self.inner.commit_offsets(commits)).await
    }

    async fn offsets(
        &self,
        names: &[Arc<str>],
    ) -> Result<Vec<Vec<(TopicPartition, CommittedOffset)>>> {
        self.inner.offsets(names).await
    }

    async fn delete_group(&self, group: &str, epoch: i64) -> Result<bool> {
        self.inner.delete_group(group, epoch).await
    }

    async fn expire_groups(&self, idle_ms: i64) -> Result<Vec<Arc<str>>> {
        self.inner.expire_groups(idle_ms).await
    }

    async fn raise_floor(&self, grace_ms: i64) -> Result<i64> {
        self.inner.raise_floor(grace_ms).await
    }

    async fn unused_segments(&self) -> Result<(Vec<UnusedSegment>, u64)> {
        self.inner.unused_segments().await
    }

    async fn forget_segments(&self, ids: &[SegmentId]) -> Result<()> {
        self.inner.forget_segments(ids).await
    }

    async fn is_known(&self, ids: &[SegmentId]) -> Result<Vec<bool>> {
        self.inner.is_known(ids).await
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
    registry.create_topic("of-another-agent", 1, Retention::default()).await.unwrap();
    server.gauge("streamhouse.topics.total", 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_and_generations_whose_outcome_is_not_known_are_cleared_up() {
    let (registry, server, mut member) = Registry::with_member().await;
    registry.trouble(Trouble::InDoubt, 3);
    assert_eq!(member.commit(7).await, 0);
    assert_eq!(server.count("streamhouse.group.commits", &[("group", "billing")]), 1);
    let before = member.generation;
    registry.trouble(Trouble::InDoubt, 3);
    member.ask_again().await;
    member.joined().await;
    assert_eq!(member.generation, before + 1);
    assert_eq!(member.synced().await, member.id);
    assert_eq!(member.commit(8).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_nothing_is_promised_and_members_stay() {
    let (registry, server, mut member) = Registry::with_member().await;
    registry.trouble(Trouble::Away, 1_000);
    assert_eq!(member.commit(7).await, Code::CoordinatorNotAvailable.code());
    assert_eq!(member.heartbeat().await, 0);
    let mut other = server.wire().await;
    let refused = other.ask(&join("another", ""), 3).await;
    assert_eq!(refused.error_code, Code::CoordinatorNotAvailable.code());
    registry.trouble(Trouble::Away, 0);
    assert_eq!(member.commit(7).await, 0);
    assert_eq!(other.ask(&join("another", ""), 3).await.error_code, 0);
}

/// Waits until the group is there again, which knows the member no more.
async fn taken_again(member: &mut Member) {
    let known = async {
        while member.heartbeat().await != Code::UnknownMemberId.code() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, known).await.expect("the group is taken again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_stays_in_doubt_ends_the_group_and_its_offsets_are_read_again() {
    let (registry, _server, mut member) = Registry::with_member().await;
    registry.trouble(Trouble::InDoubt, 10);
    assert_eq!(member.commit(7).await, Code::NotCoordinator.code());
    taken_again(&mut member).await;
    let answer = member.wire.ask(&offsets_of("billing", false, 8), 8).await;
    assert_eq!(offsets_in(&answer, 8).1[0], (0, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_call_that_never_returns_ends_its_group_and_holds_up_no_other() {
    let store_timeout = Duration::from_secs(2); // longer than a join waits for its group
    let groups = GroupConfig { store_timeout, ..eager().groups };
    let (registry, server, mut member) = Registry::with_member_and(groups).await;
    let mut other = Member::alone(&server, "another").await;
    assert_eq!(member.commit(7).await, 0);
    registry.trouble(Trouble::Hangs, 1);
    assert_eq!(member.commit(8).await, Code::NotCoordinator.code());
    assert_eq!(other.commit(1).await, 0);
    taken_again(&mut member).await;
    let answer = member.wire.ask(&offsets_of("billing", false, 8), 8).await;
    assert_eq!(offsets_in(&answer, 8).1[0], (0, 7));
    // Neither does the taking of a group, nor the beginning of a generation.
    registry.trouble(Trouble::Hangs, 1);
    let refused = other.wire.ask(&join("third", ""), 3).await;
    assert_eq!(refused.error_code, Code::CoordinatorLoadInProgress.code());
    let began = Instant::now();
    while other.wire.ask(&join("third", ""), 3).await.error_code != 0 {
        assert!(began.elapsed() < PATIENCE);
    }
    registry.trouble(Trouble::Hangs, 1);
    other.ask_again().await;
    let (_, answer) = other.wire.receive::<JoinGroupRequest>(5).await;
    assert_eq!(answer.error_code, Code::NotCoordinator.code());
    assert_eq!(Member::alone(&server, "fourth").await.commit(1).await, 0);
}
