use super::{END_MAGIC, ENTRY, HEADER, MAGIC, TRAILER, VERSION, footer_crc};
use crate::batch::RecordBatch;
use crate::error::CorruptSegment;
use bytes::{Buf, Bytes};
use streamhouse_metadata::{SegmentId, TopicId, TopicPartition};
use ulid::Ulid;
use uuid::Uuid;

/// A segment object whose every byte has been checked.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The segment's id.
    pub id: SegmentId,
    /// Its blocks, in the object's order.
    pub blocks: Vec<DecodedBlock>,
}

/// A block of a checked segment object.
#[derive(Clone, Debug)]
pub struct DecodedBlock {
    /// The partition that all its batches belong to.
    pub partition: TopicPartition,
    /// Where it begins in the object.
    pub position: u64,
    /// How long it is in bytes.
    pub length: u32,
    /// How many offsets its batches take together.
    pub records: u64,
    /// The greatest record timestamp in it.
    pub max_timestamp_ms: i64,
    /// When its first batch was appended, by the agent's clock.
    pub append_time_ms: i64,
    /// CRC-32C of its bytes.
    pub crc: u32,
    /// Its batches, as slices of the object.
    pub batches: Vec<RecordBatch>,
}

/// Checks the bytes of a block against the checksum that the index or the footer has for it.
///
/// # Errors
/// [`CorruptSegment`]: the bytes must not be served.
pub fn verify_block(block: &[u8], crc: u32) -> Result<(), CorruptSegment> {
    let actual = crc_fast::crc32_iscsi(block);
    if actual == crc {
        return Ok(());
    }
    let length = block.len();
    Err(CorruptSegment(format!(
        "the checksum of a block of {length} bytes is {actual:08x} instead of {crc:08x}"
    )))
}

/// Takes a whole segment object apart and checks all of it.
///
/// Allocates in proportion to what is there, whatever the bytes claim.
///
/// # Errors
/// [`CorruptSegment`]: at least one byte is not as it was written, or the end is missing.
pub fn decode(object: &Bytes) -> Result<Decoded, CorruptSegment> {
    let (footer_at, trailer_at) = places(object)?;
    let header = &object[..HEADER];
    if header[..8] != MAGIC {
        return Err(corrupt("it does not begin as a segment does"));
    }
    let mut fields = &header[8..];
    let version = fields.get_u32();
    if version != VERSION {
        return Err(CorruptSegment(format!("its version is {version} instead of {VERSION}")));
    }
    let id = SegmentId(Ulid::from(fields.get_u128()));

    let footer = &object[footer_at..trailer_at];
    let claimed = (&object[trailer_at + 12..]).get_u32();
    if claimed != footer_crc(header, footer, &object[trailer_at..trailer_at + 12]) {
        return Err(corrupt("the checksum of header and footer does not match"));
    }
    let (entries, rest) = footer.as_chunks::<ENTRY>();
    if !rest.is_empty() {
        return Err(corrupt("the footer is not a whole number of entries"));
    }
    let mut blocks = Vec::with_capacity(entries.len());
    let mut position = HEADER;
    for entry in entries {
        let block = decode_block(object, entry, position, footer_at)?;
        position += block.length as usize;
        blocks.push(block);
    }
    if position != footer_at {
        return Err(corrupt("there are bytes between the last block and the footer"));
    }
    Ok(Decoded { id, blocks })
}

/// Where the footer and the trailer begin, by the trailer.
fn places(object: &[u8]) -> Result<(usize, usize), CorruptSegment> {
    let trailer_at = object
        .len()
        .checked_sub(TRAILER)
        .filter(|at| *at >= HEADER)
        .ok_or(corrupt("it is shorter than an empty segment"))?;
    let mut trailer = &object[trailer_at..];
    if trailer[16..] != END_MAGIC {
        return Err(corrupt("it does not end as a segment does"));
    }
    let position = usize::try_from(trailer.get_u64()).ok();
    let length = trailer.get_u32() as usize;
    position
        .filter(|at| *at >= HEADER && at.checked_add(length) == Some(trailer_at))
        .map(|at| (at, trailer_at))
        .ok_or(corrupt("the footer does not lie between blocks and trailer"))
}

fn decode_block(
    object: &Bytes,
    mut entry: &[u8],
    expected: usize,
    limit: usize,
) -> Result<DecodedBlock, CorruptSegment> {
    let topic = TopicId(Uuid::from_u128(entry.get_u128()));
    let partition = TopicPartition { topic, partition: entry.get_i32() };
    let (position, length) = (entry.get_u64(), entry.get_u32());
    let (records, max_timestamp_ms) = (entry.get_u64(), entry.get_i64());
    let (append_time_ms, crc) = (entry.get_i64(), entry.get_u32());

    let end = expected.checked_add(length as usize).filter(|end| *end <= limit);
    let Some(end) = end.filter(|_| position == expected as u64) else {
        return Err(corrupt("the blocks do not follow each other"));
    };
    let bytes = object.slice(expected..end);
    verify_block(&bytes, crc)?;
    let batches = RecordBatch::from_stored(bytes)
        .map_err(|error| CorruptSegment(format!("a block holds what is no batch: {error}")))?;
    let counted: u64 = batches.iter().map(|b| u64::try_from(b.records()).unwrap_or(0)).sum();
    let latest = batches.iter().map(RecordBatch::max_timestamp_ms).max();
    if counted != records || latest != Some(max_timestamp_ms) {
        return Err(corrupt("an entry of the footer contradicts its block"));
    }
    Ok(DecodedBlock {
        partition,
        position,
        length,
        records,
        max_timestamp_ms,
        append_time_ms,
        crc,
        batches,
    })
}

fn corrupt(what: &str) -> CorruptSegment {
    CorruptSegment(what.to_owned())
}
