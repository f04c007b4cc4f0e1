//! The segment object, format 1: batches of many partitions in one immutable object.
//!
//! All numbers are big-endian. Blocks follow each other without gaps.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | header | 8 | magic `SHSEGMNT` |
//! | | 4 | version, 1 |
//! | | 16 | segment id (ULID) |
//! | blocks | any | record batches as they came, grouped by partition |
//! | footer | 60 per block | topic id 16, partition 4, position 8, length 4, records 8, greatest timestamp 8, append time 8, CRC-32C of the block 4 |
//! | trailer | 8 | position of the footer |
//! | | 4 | length of the footer |
//! | | 4 | CRC-32C of header, footer and the two fields before this one |
//! | | 8 | magic `SHSEGEND` |
//!
//! A block holds batches of one partition and is what is read and checked as a whole: at most
//! 1 MiB, cut at the border of a batch; a larger batch is a block of its own. Its append time is
//! that of its first batch, by the agent's clock. The footer carries no offsets: they are given
//! when the segment is committed, and the index is what maps them to blocks.
//!
//! Every byte lies under one of the checksums or is compared with the value that it must have, so
//! that a byte flipped or a tail cut anywhere is found.

mod build;
mod decode;
mod name;

pub use build::{Built, SegmentBuilder};
pub use decode::{Decoded, DecodedBlock, decode, verify_block};
pub use name::{NotASegment, SegmentName};

/// A block's size is at most this, unless it is a single larger batch.
pub const MAX_BLOCK: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"SHSEGMNT";
const END_MAGIC: [u8; 8] = *b"SHSEGEND";
const VERSION: u32 = 1;
const HEADER: usize = 28;
const ENTRY: usize = 60;
const TRAILER: usize = 24;

/// The checksum that guards everything but the blocks: `places` is the footer's position and
/// length as they stand in the trailer.
fn footer_crc(header: &[u8], footer: &[u8], places: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(header);
    digest.update(footer);
    digest.update(places);
    digest.finalize() as u32
}
