//! A log, its topics and groups, all made up.

use super::super::source::Source;
use super::super::tracker::Tracker;
use super::super::{GroupLag, LagDetail, Lags};
use crate::groups::table::{GroupFacts, GroupTable, GroupView};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use streamhouse_metadata::{
    CommittedOffset, MetadataError, Position, Retention, Topic, TopicId, TopicPartition, Watermarks,
};
use streamhouse_observability::instruments::LagMetrics;
use streamhouse_observability::labels::GroupState;
use streamhouse_observability::testing::{self, Seen};
use streamhouse_storage::{Clock, machine_ms};
use uuid::Uuid;

/// What the clock of a world shows when it begins.
pub const BEGIN_MS: i64 = 1_000_000_000;

/// A made-up log: every record is a run of its own, of 100 bytes.
#[derive(Default)]
pub struct Log {
    topics: Mutex<Vec<Topic>>,
    /// Log start, and when each record before the end was appended.
    records: Mutex<BTreeMap<TopicPartition, (i64, Vec<i64>)>>,
    pub default_retention: Mutex<Retention>,
    pub is_down: AtomicBool,
    pub positions_asked: AtomicUsize,
    /// What happens right after ends were told.
    pub after_ends: Mutex<Option<Step>>,
}

type Step = Box<dyn FnMut(&Log) + Send>;

impl Source for Log {
    fn topic(&self, id: TopicId) -> Option<Topic> {
        self.topics.lock().unwrap().iter().find(|topic| topic.id == id).cloned()
    }

    fn topic_named(&self, name: &str) -> Option<Topic> {
        self.topics.lock().unwrap().iter().find(|topic| *topic.name == *name).cloned()
    }

    fn default_retention(&self) -> Retention {
        *self.default_retention.lock().unwrap()
    }

    fn recent(&self, _: TopicPartition, _: i64) -> Option<Position> {
        None
    }

    async fn ends(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Watermarks>>, MetadataError> {
        self.up()?;
        assert!(partitions.len() <= 1_000, "slices are bounded");
        let ends = |partition| {
            let records = self.records.lock().unwrap();
            let (log_start, appended) = records.get(partition)?;
            Some(Watermarks { log_start: *log_start, high_watermark: appended.len() as i64 })
        };
        let ends = partitions.iter().map(ends).collect();
        if let Some(step) = self.after_ends.lock().unwrap().as_mut() {
            step(self);
        }
        Ok(ends)
    }

    async fn positions(
        &self,
        wanted: &[(TopicPartition, i64)],
    ) -> Result<Vec<Option<Position>>, MetadataError> {
        self.up()?;
        assert!(wanted.len() <= 1_000, "slices are bounded");
        self.positions_asked.fetch_add(wanted.len(), Ordering::Relaxed);
        let records = self.records.lock().unwrap();
        let position = |(partition, offset): &(TopicPartition, i64)| {
            let (log_start, appended) = records.get(partition)?;
            let offset = (*offset).max(*log_start) as usize;
            let append_time_ms = *appended.get(offset)?;
            let bytes_after = 100 * (appended.len() - offset - 1) as i64;
            Some(Position { append_time_ms, bytes_after })
        };
        Ok(wanted.iter().map(position).collect())
    }
}

impl Log {
    fn up(&self) -> Result<(), MetadataError> {
        match self.is_down.load(Ordering::Relaxed) {
            true => Err(MetadataError::Unavailable("down".into())),
            false => Ok(()),
        }
    }

    /// Creates a topic, which has another id each time.
    pub fn create(&self, name: &str, partitions: i32) -> TopicId {
        let id = TopicId(Uuid::new_v4());
        let retention = Retention::default();
        let (name, created_ms) = (name.into(), 0);
        self.topics.lock().unwrap().push(Topic { id, name, partitions, created_ms, retention });
        for partition in 0..partitions {
            let partition = TopicPartition { topic: id, partition };
            self.records.lock().unwrap().insert(partition, (0, Vec::new()));
        }
        id
    }

    pub fn delete(&self, id: TopicId) {
        self.topics.lock().unwrap().retain(|topic| topic.id != id);
        self.records.lock().unwrap().retain(|partition, _| partition.topic != id);
    }

    pub fn keep(&self, id: TopicId, retention: Retention) {
        let mut topics = self.topics.lock().unwrap();
        topics.iter_mut().find(|topic| topic.id == id).unwrap().retention = retention;
    }

    /// Appends records at `ms`.
    pub fn append(&self, partition: TopicPartition, records: usize, ms: i64) {
        let mut all = self.records.lock().unwrap();
        let (_, appended) = all.get_mut(&partition).unwrap();
        appended.extend(std::iter::repeat_n(ms, records));
    }

    pub fn trim(&self, partition: TopicPartition, to: i64) {
        self.records.lock().unwrap().get_mut(&partition).unwrap().0 = to;
    }
}

pub struct World {
    pub log: Log,
    pub groups: GroupTable,
    pub clock: Clock,
    pub lags: Lags,
    pub seen: Seen,
    pub metrics: LagMetrics,
    tracker: Tracker,
}

impl World {
    pub fn new() -> Self {
        Self::with(LagDetail::Partition)
    }

    pub fn with(detail: LagDetail) -> Self {
        Self::begun_at(BEGIN_MS, detail)
    }

    /// With another clock than the one that append times were read from.
    pub fn begun_at(ms: i64, detail: LagDetail) -> Self {
        let (declare, seen) = testing::in_memory();
        let metrics = LagMetrics::declare(&declare);
        let (clock, lags) = (Clock::at(ms), Lags::default());
        lags.show_age(&metrics, &declare);
        let tracker = Tracker::new(detail, clock, metrics.clone(), lags.clone());
        let (log, groups) = (Log::default(), GroupTable::default());
        Self { log, groups, clock, lags, seen, metrics, tracker }
    }

    /// The process begins again: what the tracker knew is lost, the log and the groups are not.
    pub fn restart(&mut self, clock: Clock) {
        self.clock = clock;
        let (metrics, lags) = (self.metrics.clone(), self.lags.clone());
        self.tracker = Tracker::new(LagDetail::default(), clock, metrics, lags);
    }

    pub async fn cycle(&mut self) {
        self.tracker.cycle(&self.groups, &self.log, Duration::ZERO).await;
    }

    /// Seconds pass, then all is computed anew.
    pub async fn after(&mut self, seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        self.cycle().await;
    }

    pub fn append(&self, partition: TopicPartition, records: usize) {
        self.log.append(partition, records, self.clock.now_ms());
    }

    /// A group without members.
    pub fn group(&self, name: &str) -> Arc<GroupView> {
        let facts = GroupFacts {
            state: GroupState::Empty,
            protocol_type: "".into(),
            members: 0,
            subscribed: None,
            generation_ms: None,
            offsets: BTreeMap::new(),
            committed_ms: None,
        };
        let group = Arc::new(GroupView::new(name.into(), facts));
        self.groups.insert(group.clone());
        group
    }

    /// What the page says of a group.
    pub fn told(&self, name: &str) -> GroupLag {
        self.lags.view().group(name).unwrap().clone()
    }

    /// The value of a series of `streamhouse.consumer.NAME`.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found = self.seen.series(&format!("streamhouse.consumer.{name}"));
        let is_meant = |one: &&testing::Series| {
            labels.iter().all(|wanted| {
                one.labels.iter().any(|(key, value)| (key.as_str(), value.as_str()) == *wanted)
            })
        };
        let mut found = found.iter().filter(is_meant);
        let first = found.next().map(|one| one.value);
        assert!(found.next().is_none(), "{name} {labels:?} is more than one series");
        first
    }

    /// Records, seconds and margin of a group's partition on `/metrics`.
    pub fn shown(&self, group: &str, topic: &str, partition: &str) -> Option<(f64, f64, f64)> {
        let labels = [("group", group), ("topic", topic), ("partition", partition)];
        let [lag, time, margin] =
            ["lag", "lag_time", "retention_margin"].map(|name| self.value(name, &labels));
        Some((lag?, time?, margin?))
    }
}

pub fn at(topic: TopicId, partition: i32) -> TopicPartition {
    TopicPartition { topic, partition }
}

/// Members that subscribe to topics; what the last ones subscribed to is kept when they go.
pub fn join(group: &GroupView, members: usize, topics: &[&str]) {
    group.change(|facts| {
        facts.state = if members == 0 { GroupState::Empty } else { GroupState::Stable };
        facts.members = members;
        if members > 0 {
            facts.subscribed = Some(topics.iter().map(|topic| (*topic).into()).collect());
        } else {
            facts.generation_ms = Some(machine_ms());
        }
    });
}

/// Commits an offset now.
pub fn commit(group: &GroupView, partition: TopicPartition, offset: i64) {
    commit_at(group, partition, offset, machine_ms());
}

pub fn commit_at(group: &GroupView, partition: TopicPartition, offset: i64, committed_ms: i64) {
    let committed = CommittedOffset { offset, leader_epoch: -1, metadata: "".into(), committed_ms };
    group.change(|facts| {
        facts.offsets.insert(partition, committed);
        facts.committed_ms = Some(committed_ms);
    });
}
