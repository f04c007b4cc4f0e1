//! What a broker reads inside a record batch: trace context in headers, timestamps of records.
//!
//! Records are compressed as one block, so a streaming decompressor reads no more than it must.
//! Everything here is bounded: plain bytes, records, and the decompressor's memory.

mod codec;
mod peek;
mod snappy;
mod walk;

pub(crate) use codec::open;
pub(crate) use peek::Peek;
use std::io::{BufReader, Read};
use streamhouse_storage::RecordBatch;
use walk::Walk;

/// Plain bytes read of a batch in search of trace context.
const PEEK_BYTES: u64 = 4 * 1024;
/// Records read of a batch in search of trace context.
const PEEK_RECORDS: i32 = 4;
/// Plain bytes read of a batch in search of a timestamp.
const SEARCH_BYTES: u64 = 256 << 20;

/// The trace headers of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TraceHeaders {
    /// The value of `traceparent`.
    pub traceparent: Vec<u8>,
    /// The value of `tracestate`; empty if there is none.
    pub tracestate: Vec<u8>,
}

/// The trace headers of the first records of a batch. What cannot be read is left out.
pub(crate) fn trace_headers(batch: &RecordBatch) -> Vec<TraceHeaders> {
    let bytes = batch.records_bytes();
    let Ok(plain) = codec::open(batch.codec(), &bytes) else { return Vec::new() };
    let mut prefix = Vec::with_capacity(PEEK_BYTES as usize);
    // A codec that fails midway leaves what it gave before.
    let _ = plain.take(PEEK_BYTES).read_to_end(&mut prefix);
    let mut walk = Walk::new(prefix.as_slice());
    let mut found = Vec::new();
    for _ in 0..PEEK_RECORDS.min(batch.records()) {
        match walk.trace_headers() {
            Ok(Some(headers)) => found.push(headers),
            Ok(None) => {}
            Err(_) => break,
        }
    }
    found
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timed {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// The first record of `batch` at or after `timestamp_ms`, and at or after the offset `from`.
///
/// # Errors
/// The compressed block cannot be read, or is larger than the bound.
pub(crate) fn first_at(
    batch: &RecordBatch,
    from: i64,
    timestamp_ms: i64,
) -> std::io::Result<Option<Timed>> {
    if batch.max_timestamp_ms() < timestamp_ms {
        return Ok(None);
    }
    let mut found = None;
    walk(batch, from, |record| {
        found = Some(record).filter(|record| record.timestamp_ms >= timestamp_ms);
        found.is_none()
    })?;
    Ok(found)
}

/// The first record of `batch` with the greatest timestamp at or after the offset `from`.
///
/// # Errors
/// As [`first_at`].
pub(crate) fn latest(batch: &RecordBatch, from: i64) -> std::io::Result<Option<Timed>> {
    let mut found: Option<Timed> = None;
    walk(batch, from, |record| {
        if found.is_none_or(|best| best.timestamp_ms < record.timestamp_ms) {
            found = Some(record);
        }
        record.timestamp_ms < batch.max_timestamp_ms()
    })?;
    Ok(found)
}

/// Shows `look` each record from the offset `from` on, while it wants more.
fn walk(
    batch: &RecordBatch,
    from: i64,
    mut look: impl FnMut(Timed) -> bool,
) -> std::io::Result<()> {
    let bytes = batch.records_bytes();
    let plain = codec::open(batch.codec(), &bytes)?;
    let mut walk = Walk::new(BufReader::new(plain.take(SEARCH_BYTES)));
    for _ in 0..batch.records() {
        let (timestamp, offset) = walk.deltas()?;
        let timestamp_ms = batch.base_timestamp_ms().saturating_add(timestamp);
        let offset = batch.base_offset().saturating_add(offset);
        if offset >= from && !look(Timed { offset, timestamp_ms }) {
            break;
        }
    }
    Ok(())
}
