//! The cache of segment blocks.
//!
//! A block enters when it is written, or when it was read and its checksum was right. Readers of
//! one missing block share one read.
//!
//! Invariant: the cache owns its bytes; no frame or object body stays in memory for a slice.

use crate::error::{CorruptSegment, ReadError};
use crate::segment::verify_block;
use async_trait::async_trait;
use bytes::Bytes;
use quick_cache::sync::{Cache as Blocks, GuardResult};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_observability::declare::{CounterCell, GaugeCell};
use streamhouse_observability::health::Check;
use streamhouse_observability::instruments::CacheMetrics;
use streamhouse_observability::labels::Component;

/// A shard of the cache holds at least so many bytes, so that any block fits in it.
const SHARD: u64 = 16 << 20;
const MAX_SHARDS: u64 = 8;
/// The share of blocks that were read more than once. The other half is for the tail of the log,
/// which must stay until consumers have come by.
const HOT: f64 = 0.5;
/// What a block is expected to weigh, in bytes: only sizes the table.
const EXPECTED_BLOCK: u64 = 64 << 10;

type Key = (Arc<str>, u64);

/// Blocks in memory, bounded by bytes. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Cache {
    blocks: Arc<Blocks<Key, Bytes, ByBytes, DefaultHashBuilder, Counted>>,
    counted: Counted,
    largest: u64,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blocks, bytes) = (self.blocks.len(), self.blocks.weight());
        f.debug_struct("Cache").field("blocks", &blocks).field("bytes", &bytes).finish()
    }
}

#[derive(Clone, Copy, Debug)]
struct ByBytes;

impl Weighter<Key, Bytes> for ByBytes {
    fn weight(&self, _: &Key, block: &Bytes) -> u64 {
        block.len() as u64
    }
}

/// Counts what enters and leaves.
#[derive(Clone, Debug)]
struct Counted {
    hits: CounterCell,
    misses: CounterCell,
    evictions: CounterCell,
    size: Arc<GaugeCell>,
}

impl Lifecycle<Key, Bytes> for Counted {
    type RequestState = Left;

    fn on_evict(&self, left: &mut Left, _: Key, block: Bytes) {
        self.evictions.add(1);
        self.size.add(-(block.len() as i64));
        left.0.push(block);
    }
}

/// Evicted blocks, so that their memory is freed after the lock and not under it.
#[derive(Debug, Default)]
struct Left(Vec<Bytes>);

impl Cache {
    /// Holds at most `capacity` bytes of blocks.
    pub fn new(capacity: u64, metrics: &CacheMetrics) -> Self {
        let counted = Counted {
            hits: metrics.hits.bind(&()),
            misses: metrics.misses.bind(&()),
            evictions: metrics.evictions.bind(&()),
            size: Arc::new(metrics.size.bind(&())),
        };
        let shards = (capacity / SHARD).clamp(1, MAX_SHARDS);
        let expected = usize::try_from(capacity / EXPECTED_BLOCK).unwrap_or(usize::MAX);
        let blocks = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .hot_allocation(HOT)
            .weight_capacity(capacity)
            .estimated_items_capacity(expected.clamp(64, 1 << 20))
            .build()
            .map(|options| {
                let hasher = DefaultHashBuilder::default();
                Blocks::with_options(options, ByBytes, hasher, counted.clone())
            })
            .unwrap_or_else(|_| {
                let (hasher, counted) = (DefaultHashBuilder::default(), counted.clone());
                Blocks::with(64, capacity, ByBytes, hasher, counted)
            });
        let largest = (blocks.shard_capacity() as f64 * HOT) as u64;
        Self { blocks: Arc::new(blocks), counted, largest }
    }

    /// Takes in a block that was just written. Its parts are copied into one piece.
    pub(crate) fn insert<'a>(
        &self,
        object: &Arc<str>,
        position: u64,
        length: usize,
        parts: impl Iterator<Item = &'a Bytes>,
    ) {
        if length == 0 || length as u64 > self.largest {
            return;
        }
        let key = (object.clone(), position);
        if let GuardResult::Guard(place) =
            self.blocks.get_value_or_guard(&key, Some(Duration::ZERO))
        {
            let mut block = Vec::with_capacity(length);
            parts.for_each(|part| block.extend_from_slice(part));
            self.enter(place, block.into());
        }
    }

    /// The block at `position` of `object`; a missing one is read by `read` and checked against
    /// `crc` (CRC-32C) before anybody sees it.
    ///
    /// # Cancel safety
    /// When the caller that reads goes away, the next one that waits reads instead.
    pub(crate) async fn get_or_read(
        &self,
        object: &Arc<str>,
        position: u64,
        crc: u32,
        read: impl Future<Output = Result<Bytes, ReadError>>,
    ) -> Result<Bytes, ReadError> {
        let key = (object.clone(), position);
        let place = match self.blocks.get_value_or_guard_async(&key).await {
            Ok(block) => {
                self.counted.hits.add(1);
                return Ok(block);
            }
            Err(place) => place,
        };
        self.counted.misses.add(1);
        let block = read.await?;
        verify_block(&block, crc).map_err(|CorruptSegment(message)| {
            let object = object.to_string();
            ReadError::Corrupt { object, message }
        })?;
        let block = Bytes::copy_from_slice(&block);
        if block.len() as u64 <= self.largest {
            self.enter(place, block.clone());
        }
        Ok(block)
    }

    fn enter(&self, place: Place<'_>, block: Bytes) {
        let bytes = block.len() as i64;
        // Before, because another thread may evict the block before this one goes on.
        self.counted.size.add(bytes);
        if place.insert(block).is_err() {
            self.counted.size.add(-bytes);
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.blocks.weight()
    }
}

type Place<'a> =
    quick_cache::sync::PlaceholderGuard<'a, Key, Bytes, ByBytes, DefaultHashBuilder, Counted>;

/// Soft: without a cache everything still works, only slower.
#[async_trait]
impl Check for Cache {
    fn component(&self) -> Component {
        Component::Cache
    }

    fn required(&self) -> bool {
        false
    }

    async fn probe(&self) -> Result<(), String> {
        let (held, capacity) = (self.blocks.weight(), self.blocks.capacity());
        if held > capacity {
            return Err(format!("holds {held} bytes, more than its {capacity}"));
        }
        Ok(())
    }
}
