use async_trait::async_trait;
use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use streamhouse_metadata::{
    Agent, BatchOutcome, CommittedOffset, IndexRow, Locate, Located, MetadataError, MetadataStore,
    OffsetCommit, OffsetCommitOutcome, Position, ProducerIdentity, Retention, RetentionChange,
    Segment, SegmentId, StoredGroup, Topic, TopicId, TopicPartition, Totals, Trim, TrimOutcome,
    UnusedSegment, Watermarks,
};
use tokio::sync::watch;
use uuid::Uuid;

/// What can go wrong with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing happens, and that is certain.
    Unavailable,
    /// It happens, and the reply is lost.
    DoubtCommitted,
    /// It does not happen, and nobody knows.
    DoubtLost,
    /// Nobody knows, and it happens a little later, unless it was settled before.
    DoubtLate,
    /// It happens, and the call never returns.
    Hang,
    /// It waits for `release`, then goes its normal way.
    Hold,
    /// It can never be accepted.
    Refused,
    /// What it needs of the store is damaged.
    Corrupt,
}

/// Passes everything on, except for commits and settles that a test wants to fail.
#[derive(Debug)]
pub struct FaultMetadata {
    inner: Arc<dyn MetadataStore>,
    commits: Mutex<VecDeque<CommitFault>>,
    settles: Mutex<u32>,
    /// Which segments each call of `commit` held.
    calls: Mutex<Vec<Vec<SegmentId>>>,
    settle_calls: Mutex<u32>,
    locates: Mutex<u32>,
    released: watch::Sender<u64>,
}

impl FaultMetadata {
    pub fn new(inner: Arc<dyn MetadataStore>) -> Self {
        Self {
            inner,
            commits: Mutex::default(),
            settles: Mutex::default(),
            calls: Mutex::default(),
            settle_calls: Mutex::default(),
            locates: Mutex::default(),
            released: watch::Sender::new(0),
        }
    }

    /// Gives the next commits these faults, one each.
    pub fn queue(&self, faults: impl IntoIterator<Item = CommitFault>) {
        self.commits.lock().unwrap().extend(faults);
    }

    pub fn clear(&self) {
        self.commits.lock().unwrap().clear();
        *self.settles.lock().unwrap() = 0;
    }

    /// Lets the next `times` settles fail.
    pub fn fail_settles(&self, times: u32) {
        *self.settles.lock().unwrap() = times;
    }

    /// Lets all commits that are held go on.
    pub fn release(&self) {
        self.released.send_modify(|round| *round += 1);
    }

    /// How many segments each commit so far has held.
    pub fn commits(&self) -> Vec<usize> {
        self.calls.lock().unwrap().iter().map(Vec::len).collect()
    }

    pub fn settle_calls(&self) -> u32 {
        *self.settle_calls.lock().unwrap()
    }

    /// How often the index was asked.
    pub fn locates(&self) -> u32 {
        *self.locates.lock().unwrap()
    }
}

fn unavailable() -> MetadataError {
    MetadataError::Unavailable("injected".into())
}

fn in_doubt() -> MetadataError {
    MetadataError::InDoubt("injected".into())
}

#[async_trait]
impl MetadataStore for FaultMetadata {
    async fn commit(&self, segments: &[Segment]) -> Result<Vec<Vec<BatchOutcome>>, MetadataError> {
        let mut released = self.released.subscribe();
        self.calls.lock().unwrap().push(segments.iter().map(|segment| segment.id).collect());
        let fault = self.commits.lock().unwrap().pop_front();
        match fault {
            None => self.inner.commit(segments).await,
            Some(CommitFault::Unavailable) => Err(unavailable()),
            Some(CommitFault::Refused) => Err(MetadataError::Refused("injected".into())),
            Some(CommitFault::Corrupt) => Err(MetadataError::Corrupt("injected".into())),
            Some(CommitFault::DoubtLost) => Err(in_doubt()),
            Some(CommitFault::DoubtCommitted) => {
                self.inner.commit(segments).await?;
                Err(in_doubt())
            }
            Some(CommitFault::DoubtLate) => {
                let (inner, segments) = (self.inner.clone(), segments.to_vec());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    inner.commit(&segments).await
                });
                Err(in_doubt())
            }
            Some(CommitFault::Hang) => {
                self.inner.commit(segments).await?;
                pending().await
            }
            Some(CommitFault::Hold) => {
                released.changed().await.unwrap();
                self.inner.commit(segments).await
            }
        }
    }

    async fn settle(
        &self,
        segments: &[Segment],
    ) -> Result<Vec<Option<Vec<BatchOutcome>>>, MetadataError> {
        *self.settle_calls.lock().unwrap() += 1;
        let fails = {
            let mut settles = self.settles.lock().unwrap();
            let fails = *settles > 0;
            *settles = settles.saturating_sub(1);
            fails
        };
        if fails { Err(unavailable()) } else { self.inner.settle(segments).await }
    }

    async fn locate(&self, wanted: &[Locate]) -> Result<Vec<Option<Located>>, MetadataError> {
        *self.locates.lock().unwrap() += 1;
        self.inner.locate(wanted).await
    }

    async fn locate_time(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<IndexRow>, MetadataError> {
        self.inner.locate_time(partition, timestamp_ms).await
    }

    async fn max_timestamp(&self, partition: TopicPartition) -> Result<Option<i64>, MetadataError> {
        self.inner.max_timestamp(partition).await
    }

    async fn watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Watermarks>>, MetadataError> {
        self.inner.watermarks(partitions).await
    }

    async fn topics(&self) -> Result<Vec<Topic>, MetadataError> {
        self.inner.topics().await
    }

    async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        retention: Retention,
    ) -> Result<Topic, MetadataError> {
        self.inner.create_topic(name, partitions, retention).await
    }

    async fn create_partitions(&self, topic: TopicId, total: i32) -> Result<Topic, MetadataError> {
        self.inner.create_partitions(topic, total).await
    }

    async fn delete_topic(&self, topic: TopicId) -> Result<(), MetadataError> {
        self.inner.delete_topic(topic).await
    }

    async fn init_producer(
        &self,
        known: Option<ProducerIdentity>,
    ) -> Result<ProducerIdentity, MetadataError> {
        self.inner.init_producer(known).await
    }

    async fn register_agent(
        &self,
        incarnation: Uuid,
        host: &str,
        port: u16,
        lease_ms: i64,
    ) -> Result<Agent, MetadataError> {
        self.inner.register_agent(incarnation, host, port, lease_ms).await
    }

    async fn remove_agent(&self, incarnation: Uuid) -> Result<(), MetadataError> {
        self.inner.remove_agent(incarnation).await
    }

    async fn agents(&self) -> Result<Vec<Agent>, MetadataError> {
        self.inner.agents().await
    }

    async fn cluster_id(&self) -> Result<Uuid, MetadataError> {
        self.inner.cluster_id().await
    }

    async fn totals(&self) -> Result<Totals, MetadataError> {
        self.inner.totals().await
    }

    async fn ping(&self) -> Result<(), MetadataError> {
        self.inner.ping().await
    }

    async fn set_retention(
        &self,
        topic: TopicId,
        change: RetentionChange,
    ) -> Result<Topic, MetadataError> {
        self.inner.set_retention(topic, change).await
    }

    async fn trim(
        &self,
        wanted: &[(TopicPartition, Trim)],
    ) -> Result<Vec<TrimOutcome>, MetadataError> {
        self.inner.trim(wanted).await
    }

    async fn positions(
        &self,
        wanted: &[(TopicPartition, i64)],
    ) -> Result<Vec<Option<Position>>, MetadataError> {
        self.inner.positions(wanted).await
    }

    async fn groups(&self) -> Result<Vec<StoredGroup>, MetadataError> {
        self.inner.groups().await
    }

    async fn take_groups(
        &self,
        names: &[Arc<str>],
        create: bool,
    ) -> Result<Vec<Option<StoredGroup>>, MetadataError> {
        self.inner.take_groups(names, create).await
    }

    async fn begin_generation(
        &self,
        group: &str,
        epoch: i64,
        generation: i32,
        protocol_type: &str,
        members: usize,
        subscribed: Option<&[Arc<str>]>,
    ) -> Result<bool, MetadataError> {
        let (inner, kind) = (&self.inner, protocol_type);
        inner.begin_generation(group, epoch, generation, kind, members, subscribed).await
    }

    async fn commit_offsets(
        &self,
        commits: &[OffsetCommit],
    ) -> Result<Vec<OffsetCommitOutcome>, MetadataError> {
        self.inner.commit_offsets(commits).await
    }

    async fn offsets(
        &self,
        names: &[Arc<str>],
    ) -> Result<Vec<Vec<(TopicPartition, CommittedOffset)>>, MetadataError> {
        self.inner.offsets(names).await
    }

    async fn delete_group(&self, group: &str, epoch: i64) -> Result<bool, MetadataError> {
        self.inner.delete_group(group, epoch).await
    }

    async fn expire_groups(&self, idle_ms: i64) -> Result<Vec<Arc<str>>, MetadataError> {
        self.inner.expire_groups(idle_ms).await
    }

    async fn raise_floor(&self, grace_ms: i64) -> Result<i64, MetadataError> {
        self.inner.raise_floor(grace_ms).await
    }

    async fn unused_segments(&self) -> Result<(Vec<UnusedSegment>, u64), MetadataError> {
        self.inner.unused_segments().await
    }

    async fn forget_segments(&self, ids: &[SegmentId]) -> Result<(), MetadataError> {
        self.inner.forget_segments(ids).await
    }

    async fn is_known(&self, ids: &[SegmentId]) -> Result<Vec<bool>, MetadataError> {
        self.inner.is_known(ids).await
    }
}
