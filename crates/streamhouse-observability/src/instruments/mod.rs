//! What is measured: one table per area.
//!
//! To add a metric, add a row to an area's table and record it where the thing happens.

mod cleanup;
mod client_telemetry;
mod consumer;
mod group;
mod kafka;
mod lag;
mod metadata;
mod producer;
mod storage;
mod system;
mod telemetry;

pub use cleanup::{GarbageMetrics, RetentionMetrics};
pub use client_telemetry::ClientTelemetryMetrics;
pub use consumer::{ConsumerMetrics, ConsumerTopic};
pub use group::{GROUPS, GroupCells, GroupMetrics};
pub use kafka::{ConnectionMetrics, KafkaMetrics};
pub use lag::{LagCells, LagMetrics, Lost};
pub use metadata::{ClusterMetrics, MetadataMetrics};
pub use producer::{ProducerMetrics, ProducerRequests, ProducerTopic};
pub use storage::{CacheMetrics, ObjectStoreMetrics, SegmentMetrics, StorageMetrics};
pub use system::{ProcessMetrics, RuntimeMetrics, ServiceMetrics, Version};
pub use telemetry::TelemetryMetrics;

use crate::declare::{Declare, Row};
use crate::exposition::{Metrics, MetricsError, Mode};
use opentelemetry_sdk::Resource;
use std::sync::Arc;

/// The bound on topics in any metric.
pub const TOPICS: usize = 10_000;
/// The bound on groups' partitions in any metric.
pub const GROUP_PARTITIONS: usize = 100_000;

/// Every instrument of StreamHouse.
#[derive(Clone, Debug)]
pub struct Instruments {
    /// What producers do.
    pub producer: ProducerMetrics,
    /// What consumers read.
    pub consumer: ConsumerMetrics,
    /// How far groups are behind.
    pub lag: LagMetrics,
    /// Consumer groups.
    pub groups: GroupMetrics,
    /// Kafka requests.
    pub kafka: KafkaMetrics,
    /// Kafka connections.
    pub connections: ConnectionMetrics,
    /// Metrics that clients push.
    pub client_telemetry: ClientTelemetryMetrics,
    /// Segments.
    pub segment: SegmentMetrics,
    /// Object-store calls.
    pub object_store: ObjectStoreMetrics,
    /// The block cache.
    pub cache: CacheMetrics,
    /// What is stored.
    pub storage: StorageMetrics,
    /// Records that leave the log.
    pub retention: RetentionMetrics,
    /// The garbage collector.
    pub garbage: GarbageMetrics,
    /// Metadata operations.
    pub metadata: MetadataMetrics,
    /// Topics, partitions, agents.
    pub cluster: ClusterMetrics,
    /// Build and health.
    pub service: ServiceMetrics,
    /// The process.
    pub process: ProcessMetrics,
    /// The Tokio runtime.
    pub runtime: RuntimeMetrics,
}

impl Instruments {
    /// Declares all tables but [`TelemetryMetrics`], which the pipeline itself declares.
    pub fn declare(declare: &Declare) -> Self {
        Self {
            producer: ProducerMetrics::declare(declare),
            consumer: ConsumerMetrics::declare(declare),
            lag: LagMetrics::declare(declare),
            groups: GroupMetrics::declare(declare),
            kafka: KafkaMetrics::declare(declare),
            connections: ConnectionMetrics::declare(declare),
            client_telemetry: ClientTelemetryMetrics::declare(declare),
            segment: SegmentMetrics::declare(declare),
            object_store: ObjectStoreMetrics::declare(declare),
            cache: CacheMetrics::declare(declare),
            storage: StorageMetrics::declare(declare),
            retention: RetentionMetrics::declare(declare),
            garbage: GarbageMetrics::declare(declare),
            metadata: MetadataMetrics::declare(declare),
            cluster: ClusterMetrics::declare(declare),
            service: ServiceMetrics::declare(declare),
            process: ProcessMetrics::declare(declare),
            runtime: RuntimeMetrics::declare(declare),
        }
    }
}

/// Every row, telemetry about telemetry first: what running every `declare` adds to a registry.
///
/// # Errors
/// [`MetricsError`]: as [`Metrics::build`]; not with the native exposition, which this uses.
pub fn registry() -> Result<Vec<Arc<Row>>, MetricsError> {
    let metrics = Metrics::build(Resource::builder_empty().build(), Mode::Native)?;
    let _declared = Instruments::declare(metrics.declare());
    Ok(metrics.declare().rows())
}
