//! Open topics: what is known of them, and the handles that hot code keeps.
//!
//! A request finds its topics in a snapshot that nobody waits for. The snapshot is replaced when
//! this agent changes a topic, when a name is missing (at a bounded rate, so that unknown names
//! cannot hammer the metadata store) and periodically, for what other agents did.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use streamhouse_metadata::{
    MetadataError, MetadataStore, Retention, RetentionChange, Topic, TopicId,
};
use streamhouse_observability::declare::{CounterCell, GaugeCell, PerValue};
use streamhouse_observability::instruments::{
    ClusterMetrics, ConsumerMetrics, ConsumerTopic, ProducerMetrics, ProducerTopic,
    RetentionMetrics,
};
use streamhouse_observability::labels::{self, RetentionReason};
use streamhouse_storage::Reader;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A topic with its series, which exist for as long as somebody holds this.
#[derive(Debug)]
pub(crate) struct OpenTopic {
    /// The topic; `None` for what stands for all names that do not exist.
    pub topic: Option<Topic>,
    /// What producers do to it.
    pub produced: ProducerTopic,
    /// What consumers read from it.
    pub consumed: ConsumerTopic,
    /// Records removed from it, by reason.
    pub removed: PerValue<RetentionReason, CounterCell>,
}

#[derive(Debug, Default)]
struct Snapshot {
    by_name: HashMap<Arc<str>, Arc<OpenTopic>>,
    by_id: HashMap<TopicId, Arc<OpenTopic>>,
}

/// All topics.
#[derive(Debug)]
pub(crate) struct Topics {
    store: Arc<dyn MetadataStore>,
    reader: Reader,
    producer: ProducerMetrics,
    consumer: ConsumerMetrics,
    retention: RetentionMetrics,
    topics: GaugeCell,
    partitions: GaugeCell,
    unknown: Arc<OpenTopic>,
    snapshot: RwLock<Arc<Snapshot>>,
    /// When the latest refresh began. Invariant: held by whoever changes topics or the snapshot,
    /// so that a slow reading never overwrites a newer one.
    refreshed: Mutex<Option<Instant>>,
    on_miss: Duration,
    /// Topics that were found to be gone, until somebody takes them.
    gone: std::sync::Mutex<Vec<TopicId>>,
}

impl Topics {
    pub fn new(
        store: Arc<dyn MetadataStore>,
        reader: Reader,
        producer: &ProducerMetrics,
        consumer: &ConsumerMetrics,
        retention: &RetentionMetrics,
        cluster: &ClusterMetrics,
        on_miss: Duration,
    ) -> Self {
        let label = labels::Topic::unknown();
        let unknown = Arc::new(OpenTopic {
            topic: None,
            produced: producer.topic(&label),
            consumed: consumer.topic(&label),
            removed: retention.topic(&label),
        });
        Self {
            store,
            reader,
            producer: producer.clone(),
            consumer: consumer.clone(),
            retention: retention.clone(),
            topics: cluster.topics.bind(&()),
            partitions: cluster.partitions.bind(&()),
            unknown,
            snapshot: RwLock::default(),
            refreshed: Mutex::default(),
            on_miss,
            gone: std::sync::Mutex::default(),
        }
    }

    /// Takes the topics that were found to be gone since this was asked last.
    pub fn take_gone(&self) -> Vec<TopicId> {
        std::mem::take(&mut self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What requests for topics that do not exist are counted on.
    pub fn unknown(&self) -> &Arc<OpenTopic> {
        &self.unknown
    }

    /// The topic of this name, if it is known here.
    pub fn get(&self, name: &str) -> Option<Arc<OpenTopic>> {
        self.snapshot().by_name.get(name).cloned()
    }

    /// The topic of this id, if it is known here.
    pub fn get_by_id(&self, id: TopicId) -> Option<Arc<OpenTopic>> {
        self.snapshot().by_id.get(&id).cloned()
    }

    /// All topics that are known here, by name.
    pub fn all(&self) -> Vec<Arc<OpenTopic>> {
        let mut all: Vec<_> = self.snapshot().by_name.values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// The topic of this name, looked up in the metadata store when it is not known here.
    ///
    /// # Errors
    /// The metadata store failed.
    pub async fn find(&self, name: &str) -> Result<Option<Arc<OpenTopic>>, MetadataError> {
        if let Some(open) = self.get(name) {
            return Ok(Some(open));
        }
        let mut refreshed = self.refreshed.lock().await;
        if let Some(open) = self.get(name) {
            return Ok(Some(open));
        }
        if refreshed.is_none_or(|at| at.elapsed() >= self.on_miss) {
            self.read(&mut refreshed).await?;
        }
        Ok(self.get(name))
    }

    /// Reads all topics again.
    ///
    /// # Errors
    /// The metadata store failed; what was known stays.
    pub async fn refresh(&self) -> Result<(), MetadataError> {
        let mut refreshed = self.refreshed.lock().await;
        self.read(&mut refreshed).await
    }

    /// Creates a topic and opens it.
    ///
    /// # Errors
    /// As [`MetadataStore::create_topic`].
    pub async fn create(
        &self,
        name: &str,
        count: i32,
        retention: Retention,
    ) -> Result<Arc<OpenTopic>, MetadataError> {
        let _changing = self.refreshed.lock().await;
        let topic = self.store.create_topic(name, count, retention).await?;
        Ok(self.insert(topic))
    }

    /// Raises a topic's number of partitions.
    ///
    /// # Errors
    /// As [`MetadataStore::create_partitions`].
    pub async fn grow(&self, id: TopicId, total: i32) -> Result<(), MetadataError> {
        let _changing = self.refreshed.lock().await;
        let topic = self.store.create_partitions(id, total).await?;
        self.insert(topic);
        Ok(())
    }

    /// Changes how long and how much of a topic is kept, and tells what it is now.
    ///
    /// # Errors
    /// As [`MetadataStore::set_retention`].
    pub async fn set_retention(
        &self,
        id: TopicId,
        change: RetentionChange,
    ) -> Result<Retention, MetadataError> {
        let _changing = self.refreshed.lock().await;
        let topic = self.store.set_retention(id, change).await?;
        let retention = topic.retention;
        self.insert(topic);
        Ok(retention)
    }

    /// Deletes a topic and closes it.
    ///
    /// # Errors
    /// As [`MetadataStore::delete_topic`].
    pub async fn delete(&self, id: TopicId) -> Result<(), MetadataError> {
        let _changing = self.refreshed.lock().await;
        let deleted = self.store.delete_topic(id).await;
        if matches!(deleted, Ok(()) | Err(MetadataError::NotFound(_))) {
            let before = self.snapshot();
            let kept = before.by_id.values().filter(|open| open.id() != Some(id));
            self.replace(kept.cloned());
        }
        deleted
    }

    async fn read(&self, refreshed: &mut Option<Instant>) -> Result<(), MetadataError> {
        *refreshed = Some(Instant::now());
        let topics = self.store.topics().await?;
        let before = self.snapshot();
        self.replace(topics.into_iter().map(|topic| self.open(&before, topic)));
        Ok(())
    }

    fn insert(&self, topic: Topic) -> Arc<OpenTopic> {
        let before = self.snapshot();
        let open = self.open(&before, topic);
        let others = before.by_name.values().filter(|other| other.name() != open.name()).cloned();
        self.replace(others.chain([open.clone()]));
        open
    }

    /// Opens `topic`, or keeps what is open already. The labels are the name's: a topic that grows
    /// joins its own series.
    fn open(&self, before: &Snapshot, topic: Topic) -> Arc<OpenTopic> {
        match before.by_id.get(&topic.id) {
            Some(open) if open.topic.as_ref() == Some(&topic) => open.clone(),
            _ => {
                let label = labels::Topic(topic.name.clone());
                Arc::new(OpenTopic {
                    topic: Some(topic),
                    produced: self.producer.topic(&label),
                    consumed: self.consumer.topic(&label),
                    removed: self.retention.topic(&label),
                })
            }
        }
    }

    fn replace(&self, open: impl IntoIterator<Item = Arc<OpenTopic>>) {
        let mut next = Snapshot::default();
        let mut partitions = 0;
        for open in open {
            if let Some(topic) = &open.topic {
                partitions += i64::from(topic.partitions);
                next.by_name.insert(topic.name.clone(), open.clone());
                next.by_id.insert(topic.id, open);
            }
        }
        self.topics.set(i64::try_from(next.by_id.len()).unwrap_or(i64::MAX));
        self.partitions.set(partitions);
        let next = Arc::new(next);
        // The old handles are dropped outside the lock: that takes the families' locks.
        let before = std::mem::replace(
            &mut *self.snapshot.write().unwrap_or_else(PoisonError::into_inner),
            next.clone(),
        );
        for id in before.by_id.keys().filter(|id| !next.by_id.contains_key(id)) {
            self.reader.forget(*id);
            self.gone.lock().unwrap_or_else(PoisonError::into_inner).push(*id);
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl OpenTopic {
    /// The topic's id.
    pub fn id(&self) -> Option<TopicId> {
        self.topic.as_ref().map(|topic| topic.id)
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        self.topic.as_ref().map_or(labels::UNKNOWN, |topic| &topic.name)
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> i32 {
        self.topic.as_ref().map_or(0, |topic| topic.partitions)
    }

    /// The partition of this number, if there is one.
    pub fn partition(&self, number: i32) -> Option<streamhouse_metadata::TopicPartition> {
        let topic = self.id()?;
        (0..self.partitions())
            .contains(&number)
            .then_some(streamhouse_metadata::TopicPartition { topic, partition: number })
    }
}

/// Whether Kafka allows this name for a topic.
pub(crate) fn is_legal(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
