//! A log of its own for each test: memory as object store, SQLite as metadata store, faults in
//! front of both.

mod fault_metadata;

pub use fault_metadata::{CommitFault, FaultMetadata};

use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::{MetadataStore, Retention, SqliteStore, Topic, TopicPartition};
use streamhouse_observability::instruments::{CacheMetrics, SegmentMetrics};
use streamhouse_observability::testing::{Seen, in_memory};
use streamhouse_storage::object_store::{MemoryStore, ObjectStore};
use streamhouse_storage::testing::{BatchSpec, FaultStore, Faults};
use streamhouse_storage::{
    Append, AppendError, Appended, Cache, Partitions, Reader, RecordBatch, WriterConfig, WriterPool,
};

/// Longer than anything may take, so that a test that hangs fails.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// One agent, and the stores that it shares with others.
pub struct Log {
    pub faults: Faults,
    pub store: Arc<FaultStore<MemoryStore>>,
    pub metadata: Arc<FaultMetadata>,
    pub partitions: Partitions,
    pub pool: WriterPool,
    pub reader: Reader,
    pub seen: Seen,
    pub cache: Cache,
}

/// Budgets that a test can wait for.
pub fn config() -> WriterConfig {
    WriterConfig {
        put_budget: Duration::from_millis(300),
        commit_budget: Duration::from_millis(300),
        ..WriterConfig::local(1)
    }
}

impl Log {
    pub async fn start() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: WriterConfig) -> Self {
        let faults = Faults::none();
        let store = Arc::new(FaultStore::new(MemoryStore::default(), faults.clone()));
        let sqlite = SqliteStore::in_memory().await.unwrap();
        let metadata = Arc::new(FaultMetadata::new(Arc::new(sqlite)));
        Self::over(config, faults, store, metadata)
    }

    /// Another agent on the same stores.
    pub fn another(&self) -> Self {
        Self::over(config(), self.faults.clone(), self.store.clone(), self.metadata.clone())
    }

    fn over(
        config: WriterConfig,
        faults: Faults,
        store: Arc<FaultStore<MemoryStore>>,
        metadata: Arc<FaultMetadata>,
    ) -> Self {
        let (declare, seen) = in_memory();
        let cache = Cache::new(64 << 20, &CacheMetrics::declare(&declare));
        let partitions = Partitions::new();
        let pool = WriterPool::start(
            config,
            store.clone(),
            metadata.clone(),
            partitions.clone(),
            cache.clone(),
            &SegmentMetrics::declare(&declare),
        );
        let reader =
            Reader::new(partitions.clone(), cache.clone(), store.clone(), metadata.clone());
        Self { faults, store, metadata, partitions, pool, reader, seen, cache }
    }

    pub async fn topic(&self, name: &str, partitions: i32) -> Topic {
        self.metadata.create_topic(name, partitions, Retention::default()).await.unwrap()
    }

    /// Takes `spec` in; the outcome comes when the future is awaited.
    pub fn append(
        &self,
        partition: TopicPartition,
        spec: &BatchSpec,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + use<> {
        let outcome = self.pool.append(Append { partition, batch: batch(spec), span: None });
        async move { tokio::time::timeout(DEADLINE, outcome).await.expect("no answer in time") }
    }

    /// Everything in a partition, as the batches' bytes with their offsets.
    pub async fn read_all(&self, partition: TopicPartition) -> Vec<RecordBatch> {
        let mut all = Vec::new();
        let mut offset = self.reader.watermarks(partition).await.unwrap().log_start;
        loop {
            let fetched = self.reader.fetch(partition, offset, 1 << 20).await.unwrap();
            if fetched.batches.is_empty() {
                assert_eq!(offset, fetched.watermarks.high_watermark);
                return all;
            }
            for piece in fetched.batches {
                all.extend(RecordBatch::split_stored(piece));
            }
            let last = all.last().expect("a piece holds a batch");
            offset = last.base_offset() + i64::from(last.records());
        }
    }

    /// How many objects are stored, the marks of clusters apart.
    pub async fn objects(&self) -> usize {
        let all = self.store.inner().list("", None).await.unwrap();
        all.iter().filter(|one| !one.name.starts_with("cluster/")).count()
    }
}

/// Splits what a fetch returned.
pub trait SplitStored: Sized {
    fn split_stored(piece: bytes::Bytes) -> Vec<Self>;
}

impl SplitStored for RecordBatch {
    fn split_stored(piece: bytes::Bytes) -> Vec<Self> {
        let batches = RecordBatch::from_stored(piece).unwrap();
        for batch in &batches {
            RecordBatch::split(batch.bytes().clone(), usize::MAX).expect("checksum is right");
        }
        batches
    }
}

pub fn at(topic: &Topic, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.id, partition }
}

pub fn batch(spec: &BatchSpec) -> RecordBatch {
    RecordBatch::split(spec.encode(), usize::MAX).unwrap().remove(0)
}

/// A batch of one record that no other batch looks like.
pub fn marked(mark: &str) -> BatchSpec {
    BatchSpec { value: mark.to_owned().into(), ..BatchSpec::new(1) }
}

/// Whether `stored` is what became of `spec`: equal but for base offset and leader epoch.
pub fn is(stored: &RecordBatch, spec: &BatchSpec) -> bool {
    let sent = spec.encode();
    stored.bytes()[16..] == sent[16..] && stored.bytes()[8..12] == sent[8..12]
}

/// Polls until `done` says so.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let polled = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, polled).await.unwrap_or_else(|_| panic!("never: {what}"));
}
