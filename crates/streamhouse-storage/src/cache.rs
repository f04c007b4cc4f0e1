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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StoreError;
    use streamhouse_observability::labels;
    use streamhouse_observability::testing::{Seen, in_memory};

    fn cache(capacity: u64) -> (Cache, Seen) {
        let (declare, seen) = in_memory();
        (Cache::new(capacity, &CacheMetrics::declare(&declare)), seen)
    }

    fn put(cache: &Cache, object: &str, bytes: usize) {
        let block = Bytes::from(vec![7; bytes]);
        cache.insert(&object.into(), 0, bytes, [block].iter());
    }

    async fn get(cache: &Cache, object: &str, bytes: usize) -> Result<Bytes, ReadError> {
        let block = Bytes::from(vec![7; bytes]);
        let crc = crc_fast::crc32_iscsi(&block);
        cache.get_or_read(&object.into(), 0, crc, async { Ok(block) }).await
    }

    fn assert_exact(cache: &Cache, seen: &Seen) {
        assert_eq!(seen.value("streamhouse.cache.size", &[]), Some(cache.bytes() as f64));
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_size_and_evictions_are_exact() {
        let (cache, seen) = cache(100_000);
        for n in 0..500 {
            put(&cache, &format!("written/{n}"), 1_000 + n);
            get(&cache, &format!("read/{n}"), 1_000 + n).await.unwrap();
            assert!(cache.bytes() <= 100_000);
            assert_exact(&cache, &seen);
        }
        let held = cache.blocks.len() as u64;
        assert_eq!(seen.count("streamhouse.cache.evictions", &[]), 1_000 - held);
        assert_eq!(seen.count("streamhouse.cache.misses", &[]), 500);
    }

    #[tokio::test]
    async fn what_was_just_written_is_there_however_often_other_blocks_are_read() {
        let (cache, seen) = cache(1_000_000);
        for n in 0..90 {
            get(&cache, &format!("popular/{n}"), 10_000).await.unwrap();
        }
        for n in 0..300 {
            for popular in 0..5 {
                get(&cache, &format!("popular/{popular}"), 10_000).await.unwrap();
            }
            put(&cache, &format!("tail/{n}"), 10_000);
            let misses = seen.count("streamhouse.cache.misses", &[]);
            for back in (0..20).filter(|back| *back <= n) {
                get(&cache, &format!("tail/{}", n - back), 10_000).await.unwrap();
            }
            assert_eq!(seen.count("streamhouse.cache.misses", &[]), misses, "after {n}");
        }
    }

    #[tokio::test]
    async fn a_block_that_is_written_twice_is_held_once() {
        let (cache, seen) = cache(100_000);
        put(&cache, "twice", 1_000);
        put(&cache, "twice", 1_000);
        assert_eq!(cache.bytes(), 1_000);
        assert_exact(&cache, &seen);
    }

    #[tokio::test]
    async fn a_block_larger_than_the_cache_is_served_and_not_held() {
        let (cache, seen) = cache(10_000);
        put(&cache, "large", 20_000);
        assert_eq!(get(&cache, "large", 20_000).await.unwrap().len(), 20_000);
        assert_eq!(cache.bytes(), 0);
        assert_exact(&cache, &seen);
        assert_eq!(seen.count("streamhouse.cache.evictions", &[]), 0);
    }

    #[tokio::test]
    async fn a_failed_read_leaves_the_place_to_the_next_reader() {
        let (cache, seen) = cache(10_000);
        let failure =
            StoreError::new(labels::Operation::Get, "o", labels::StoreError::Timeout, "slow");
        let failed = cache.get_or_read(&"o".into(), 0, 0, async { Err(failure.into()) }).await;
        assert!(matches!(failed, Err(ReadError::Store(_))), "{failed:?}");
        get(&cache, "o", 100).await.unwrap();
        get(&cache, "o", 100).await.unwrap();
        assert_eq!(seen.count("streamhouse.cache.misses", &[]), 2);
        assert_eq!(seen.count("streamhouse.cache.hits", &[]), 1);
    }

    #[tokio::test]
    async fn a_block_with_a_wrong_checksum_does_not_enter() {
        let (cache, _) = cache(10_000);
        let read = async { Ok(Bytes::from_static(b"damaged")) };
        let damaged = cache.get_or_read(&"o".into(), 0, 1, read).await;
        assert!(matches!(damaged, Err(ReadError::Corrupt { .. })), "{damaged:?}");
        assert_eq!(cache.bytes(), 0);
    }

    #[tokio::test]
    async fn the_cache_keeps_no_memory_but_its_own() {
        let (cache, _) = cache(10_000);
        let frame = Bytes::from(vec![7; 5_000]);
        let slice = frame.slice(10..20);
        let crc = crc_fast::crc32_iscsi(&slice);
        cache.insert(&"written".into(), 0, 10, [slice.clone()].iter());
        cache.get_or_read(&"read".into(), 0, crc, async { Ok(slice) }).await.unwrap();
        assert!(frame.is_unique());
    }
}
