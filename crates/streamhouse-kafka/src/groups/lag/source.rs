//! What lag is computed from.

use crate::broker::Broker;
use crate::config::BrokerConfig;
use streamhouse_metadata::{
    MetadataError, Position, Retention, Topic, TopicId, TopicPartition, Watermarks,
};

/// What the computation asks for.
pub(super) trait Source: Sync {
    /// The topic of this id, if there is one.
    fn topic(&self, id: TopicId) -> Option<Topic>;

    /// The topic of this name, if there is one.
    fn topic_named(&self, name: &str) -> Option<Topic>;

    /// What holds for topics that say nothing of their retention.
    fn default_retention(&self) -> Retention;

    /// Where a record lies, if that is known without asking.
    fn recent(&self, partition: TopicPartition, offset: i64) -> Option<Position>;

    /// The ends of partitions, read after the call began.
    fn ends(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<Vec<Option<Watermarks>>, MetadataError>> + Send;

    /// Where records lie.
    fn positions(
        &self,
        wanted: &[(TopicPartition, i64)],
    ) -> impl Future<Output = Result<Vec<Option<Position>>, MetadataError>> + Send;
}

impl Source for Broker {
    fn topic(&self, id: TopicId) -> Option<Topic> {
        self.topics.get_by_id(id)?.topic.clone()
    }

    fn topic_named(&self, name: &str) -> Option<Topic> {
        self.topics.get(name)?.topic.clone()
    }

    fn default_retention(&self) -> Retention {
        let BrokerConfig { retention_ms, retention_bytes, .. } = self.config;
        Retention { ms: Some(retention_ms), bytes: Some(retention_bytes) }
    }

    fn recent(&self, partition: TopicPartition, offset: i64) -> Option<Position> {
        self.reader.position(partition, offset)
    }

    async fn ends(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Watermarks>>, MetadataError> {
        self.metadata.watermarks(partitions).await
    }

    async fn positions(
        &self,
        wanted: &[(TopicPartition, i64)],
    ) -> Result<Vec<Option<Position>>, MetadataError> {
        self.metadata.positions(wanted).await
    }
}
