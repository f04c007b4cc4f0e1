//! Kafka's record batch, format 2: validated once, then opaque bytes.
//!
//! | at | field | at | field |
//! |---|---|---|---|
//! | 0 | base offset `i64`, ours to write | 27 | base timestamp `i64` |
//! | 8 | length `i32` of what follows it | 35 | greatest timestamp `i64` |
//! | 12 | leader epoch `i32`, ours to write | 43 | producer id `i64`, negative for none |
//! | 16 | magic `i8`, 2 | 51 | producer epoch `i16` |
//! | 17 | CRC-32C `u32` of byte 21 to the end | 53 | base sequence `i32` |
//! | 21 | attributes `i16` | 57 | number of records `i32` |
//! | 23 | last offset delta `i32` | 61 | the records, compressed as one block |
//!
//! Base offset and leader epoch lie outside the checksum: that is why a batch can be stored as it
//! came and still be given its offset when it is read.

use bytes::{Bytes, BytesMut};
use streamhouse_metadata::ProducerBatch;

/// Bytes before the records.
const HEADER: usize = 61;
/// Bytes before what the length field counts.
const LENGTH_END: usize = 12;
/// Where the magic is.
const MAGIC_AT: usize = 16;
/// Where the checksummed part begins.
const CHECKED_FROM: usize = 21;
/// The one format that is supported.
const MAGIC: i8 = 2;
/// Attributes: the codec's bits.
const CODEC: i16 = 0b111;
/// Attributes: the greatest codec that exists (zstd).
const LAST_CODEC: i16 = 4;
/// Attributes: part of a transaction.
const TRANSACTIONAL: i16 = 1 << 4;
/// Attributes: written by a coordinator, not by a producer.
const CONTROL: i16 = 1 << 5;

/// Why bytes are not an acceptable record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Magic 0 or 1: the client's format is too old.
    #[error("record format {0} is not supported; format 2 is")]
    Magic(i8),
    /// The checksum does not match.
    #[error("the checksum does not match the bytes")]
    Crc,
    /// Lengths, counts or attributes contradict each other.
    #[error("not a valid record batch: {0}")]
    Invalid(&'static str),
    /// The batch is larger than the limit.
    #[error("a record batch of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

/// A record batch whose magic, size, count and checksum are right. A slice of the frame that it
/// came in: its bytes are not copied.
///
/// Invariant: `bytes` is exactly one batch, header included.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    bytes: Bytes,
}

impl RecordBatch {
    /// Splits the records of a produce request's partition into validated batches.
    ///
    /// # Errors
    /// [`BatchError::Magic`]: the client must use format 2. [`BatchError::TooLarge`]: the client
    /// must send smaller batches. [`BatchError::Crc`]: the bytes were damaged on the way; sending
    /// them again can help. [`BatchError::Invalid`]: a repetition cannot help; also for no batch
    /// at all, and for several where one names a producer.
    pub fn split(records: Bytes, max_bytes: usize) -> Result<Vec<Self>, BatchError> {
        let mut rest = records;
        let mut batches = Vec::with_capacity(1);
        while !rest.is_empty() {
            let batch = Self::take(&mut rest, max_bytes)?;
            batch.check_checksum()?;
            batch.check_claims()?;
            batches.push(batch);
        }
        if batches.is_empty() {
            return Err(BatchError::Invalid("there is no batch"));
        }
        if batches.len() > 1 && batches.iter().any(|batch| batch.producer().is_some()) {
            return Err(BatchError::Invalid("an idempotent producer sends one batch at a time"));
        }
        Ok(batches)
    }

    /// Splits stored bytes into the batches that they hold.
    ///
    /// Only format and lengths are looked at: what is stored was validated on its way in, and the
    /// checksum of its block is checked when it is read.
    ///
    /// # Errors
    /// [`BatchError::Magic`] and [`BatchError::Invalid`]: the bytes are not whole batches.
    pub fn from_stored(stored: Bytes) -> Result<Vec<Self>, BatchError> {
        let mut rest = stored;
        let mut batches = Vec::new();
        while !rest.is_empty() {
            batches.push(Self::take(&mut rest, usize::MAX)?);
        }
        Ok(batches)
    }

    /// Takes the first batch off `rest`, looking at format and lengths only.
    fn take(rest: &mut Bytes, max_bytes: usize) -> Result<Self, BatchError> {
        match rest.get(MAGIC_AT) {
            None => return Err(BatchError::Invalid("the header is cut off")),
            Some(&magic) if magic as i8 != MAGIC => return Err(BatchError::Magic(magic as i8)),
            Some(_) => {}
        }
        let claimed = i32::from_be_bytes(field(rest, 8));
        let size = usize::try_from(claimed)
            .ok()
            .and_then(|length| length.checked_add(LENGTH_END))
            .filter(|size| *size >= HEADER)
            .ok_or(BatchError::Invalid("the length is less than the header's"))?;
        if size > max_bytes {
            return Err(BatchError::TooLarge { size, limit: max_bytes });
        }
        if size > rest.len() {
            return Err(BatchError::Invalid("the length is more than what is there"));
        }
        Ok(Self { bytes: rest.split_to(size) })
    }

    fn check_checksum(&self) -> Result<(), BatchError> {
        let claimed = u32::from_be_bytes(field(&self.bytes, 17));
        let actual = crc_fast::crc32_iscsi(&self.bytes[CHECKED_FROM..]);
        if claimed == actual { Ok(()) } else { Err(BatchError::Crc) }
    }

    fn check_claims(&self) -> Result<(), BatchError> {
        let attributes = self.attributes();
        let records = i32::from_be_bytes(field(&self.bytes, 57));
        if attributes & CONTROL != 0 {
            Err(BatchError::Invalid("control batches are not for producers"))
        } else if attributes & TRANSACTIONAL != 0 {
            Err(BatchError::Invalid("transactions are not supported"))
        } else if attributes & CODEC > LAST_CODEC {
            Err(BatchError::Invalid("the compression codec is unknown"))
        } else if records <= 0 {
            Err(BatchError::Invalid("there is no record"))
        } else if self.last_offset_delta() != records - 1 {
            Err(BatchError::Invalid("the last offset delta does not match the number of records"))
        } else if self.producer().is_some_and(|claim| claim.epoch < 0 || claim.sequence < 0) {
            Err(BatchError::Invalid("a producer's epoch and sequence cannot be negative"))
        } else {
            Ok(())
        }
    }

    /// The bytes as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// A copy of the bytes with the offset of the first record and the leader epoch written in.
    /// The checksum stays right.
    pub fn with_base_offset(&self, base_offset: i64, leader_epoch: i32) -> Bytes {
        let mut copy = BytesMut::from(&self.bytes[..]);
        copy[0..8].copy_from_slice(&base_offset.to_be_bytes());
        copy[LENGTH_END..MAGIC_AT].copy_from_slice(&leader_epoch.to_be_bytes());
        copy.freeze()
    }

    /// How many offsets it takes.
    pub fn records(&self) -> i32 {
        self.last_offset_delta().saturating_add(1)
    }

    /// Its base offset as stored in the bytes.
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(field(&self.bytes, 0))
    }

    /// The timestamp that record timestamps are relative to.
    pub fn base_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(field(&self.bytes, 27))
    }

    /// Its greatest record timestamp.
    pub fn max_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(field(&self.bytes, 35))
    }

    /// The idempotent producer's claim, if any.
    pub fn producer(&self) -> Option<ProducerBatch> {
        let id = i64::from_be_bytes(field(&self.bytes, 43));
        (id >= 0).then(|| ProducerBatch {
            id,
            epoch: i16::from_be_bytes(field(&self.bytes, 51)),
            sequence: i32::from_be_bytes(field(&self.bytes, 53)),
        })
    }

    /// The compression codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec(&self) -> u8 {
        (self.attributes() & CODEC) as u8
    }

    /// The records after the header, compressed as one block unless the codec is 0.
    pub fn records_bytes(&self) -> Bytes {
        self.bytes.slice(HEADER..)
    }

    fn attributes(&self) -> i16 {
        i16::from_be_bytes(field(&self.bytes, 21))
    }

    fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(field(&self.bytes, 23))
    }
}

/// The `N` bytes of a field; zeros where there are fewer, which no caller lets happen.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
