//! The segment object: what is written is read back, and what is damaged is found.

use bytes::Bytes;
use proptest::prelude::*;
use streamhouse_metadata::{SegmentId, TopicId, TopicPartition};
use streamhouse_storage::RecordBatch;
use streamhouse_storage::segment::{
    Built, MAX_BLOCK, SegmentBuilder, SegmentName, decode, verify_block,
};
use streamhouse_storage::testing::BatchSpec;
use ulid::Ulid;
use uuid::Uuid;

fn partition(topic: u128, partition: i32) -> TopicPartition {
    TopicPartition { topic: TopicId(Uuid::from_u128(topic)), partition }
}

fn batch(spec: BatchSpec) -> RecordBatch {
    RecordBatch::split(spec.encode(), usize::MAX).unwrap().remove(0)
}

fn name() -> SegmentName {
    SegmentName { agent: 1, id: SegmentId(Ulid::from_parts(1_764_037_502_000, 42)) }
}

fn object(built: &Built) -> Bytes {
    built.body.concat().into()
}

/// A segment of about 64 KiB with three partitions.
fn sample() -> Built {
    let mut builder = SegmentBuilder::new();
    for round in 0..9 {
        builder.add(partition(2, 0), batch(BatchSpec::new(3).value_bytes(900)), 1_000 + round);
        builder.add(partition(1, 7), batch(BatchSpec::new(2).value_bytes(1_500)), 2_000 + round);
        let claim = BatchSpec::new(1).value_bytes(2_000).producer(5, 0, round as i32);
        builder.add(partition(1, 0), batch(claim), 3_000 + round);
    }
    builder.build(&name())
}

#[test]
fn a_segment_is_read_back_as_it_was_built() {
    let built = sample();
    let object = object(&built);

    let decoded = decode(&object).unwrap();

    assert_eq!(decoded.id, name().id);
    assert_eq!(&*built.segment.object, name().to_string());
    assert_eq!(built.segment.bytes, object.len() as u64);
    assert_eq!(decoded.blocks.len(), built.segment.blocks.len());
    for (read, wrote) in decoded.blocks.iter().zip(&built.segment.blocks) {
        assert_eq!(read.partition, wrote.partition);
        assert_eq!((read.position, read.length), (wrote.position, wrote.length));
        assert_eq!(read.append_time_ms, wrote.append_time_ms);
        let start = read.position as usize;
        let bytes = object.slice(start..start + read.length as usize);
        verify_block(&bytes, wrote.crc).unwrap();
        for (batch, row) in read.batches.iter().zip(&wrote.batches) {
            let start = row.position as usize;
            assert_eq!(batch.bytes(), &bytes.slice(start..start + row.length as usize));
            assert_eq!(batch.records(), row.records);
            assert_eq!(batch.producer(), row.producer);
            assert_eq!(batch.max_timestamp_ms(), row.max_timestamp_ms);
        }
    }
}

#[test]
fn batches_are_grouped_by_partition_in_the_order_of_their_arrival() {
    let mut builder = SegmentBuilder::new();
    let places = [(2, 0), (1, 1), (2, 0), (1, 0), (1, 1)];
    for (round, (topic, number)) in places.into_iter().enumerate() {
        let spec = BatchSpec::new(round as i32 + 1);
        assert_eq!(builder.add(partition(topic, number), batch(spec), round as i64), round);
    }

    let built = builder.build(&name());

    let blocks = &built.segment.blocks;
    let order: Vec<_> = blocks.iter().map(|block| block.partition).collect();
    assert_eq!(order, [partition(1, 0), partition(1, 1), partition(2, 0)]);
    let append_times: Vec<_> = blocks.iter().map(|block| block.append_time_ms).collect();
    assert_eq!(append_times, [3, 1, 0]);
    assert_eq!(built.arrivals, [3, 1, 4, 0, 2]);
    let records = blocks.iter().flat_map(|block| &block.batches).map(|batch| batch.records);
    assert_eq!(records.collect::<Vec<_>>(), [4, 2, 5, 1, 3]);
}

#[test]
fn the_batches_of_the_body_are_not_copies() {
    let mut builder = SegmentBuilder::new();
    let first = batch(BatchSpec::new(1));
    builder.add(partition(1, 0), first.clone(), 0);
    let built = builder.build(&name());
    assert_eq!(built.body[1].as_ptr(), first.bytes().as_ptr());
}

#[test]
fn blocks_are_cut_at_batches_and_a_larger_batch_stands_alone() {
    let mut builder = SegmentBuilder::new();
    for bytes in [400_000, 400_000, 400_000, MAX_BLOCK + 1, 1, 1] {
        builder.add(partition(1, 0), batch(BatchSpec::new(1).value_bytes(bytes)), 0);
    }
    let built = builder.build(&name());

    let blocks = &built.segment.blocks;
    assert_eq!(blocks.iter().map(|block| block.batches.len()).collect::<Vec<_>>(), [2, 1, 1, 2]);
    let too_long = |length: u32| length as usize > MAX_BLOCK;
    let long: Vec<_> = blocks.iter().map(|block| too_long(block.length)).collect();
    assert_eq!(long, [false, false, true, false]);
    decode(&object(&built)).unwrap();
}

#[test]
fn a_block_of_exactly_the_limit_is_one_block() {
    let overhead = BatchSpec::new(1).value_bytes(MAX_BLOCK / 2).encode().len() - MAX_BLOCK / 2;
    let half = BatchSpec::new(1).value_bytes(MAX_BLOCK / 2 - overhead);
    assert_eq!(half.encode().len(), MAX_BLOCK / 2);
    let mut builder = SegmentBuilder::new();
    builder.add(partition(1, 0), batch(half.clone()), 0);
    builder.add(partition(1, 0), batch(half), 0);
    let lengths: Vec<_> =
        builder.build(&name()).segment.blocks.iter().map(|block| block.length as usize).collect();
    assert_eq!(lengths, [MAX_BLOCK]);
}

#[test]
fn a_flipped_byte_anywhere_is_found() {
    let object = object(&sample());
    assert!(object.len() >= 64 * 1024, "only {} bytes", object.len());
    let mut copy = object.to_vec();
    for at in 0..copy.len() {
        let flip = 1 << (at % 8);
        copy[at] ^= flip;
        assert!(
            decode(&Bytes::from_owner(copy.clone())).is_err(),
            "the flip of byte {at} was missed"
        );
        copy[at] ^= flip;
    }
}

#[test]
fn a_tail_cut_anywhere_is_found() {
    let object = object(&sample());
    for length in 0..object.len() {
        assert!(decode(&object.slice(..length)).is_err(), "{length} bytes were enough");
    }
    let longer: Bytes = [&object[..], &[0]].concat().into();
    assert!(decode(&longer).is_err());
}

#[test]
fn an_empty_segment_is_header_and_trailer() {
    let built = SegmentBuilder::new().build(&name());
    let object = object(&built);
    assert_eq!(object.len(), 52);
    assert!(decode(&object).unwrap().blocks.is_empty());
}

/// Format 1, byte by byte. If this fails, stored segments can no longer be read: do not change
/// the expectation, add a version.
#[test]
fn format_1_is_pinned() {
    let mut builder = SegmentBuilder::new();
    let spec = BatchSpec { value: Bytes::from_static(b"v"), timestamp_ms: 5, ..BatchSpec::new(1) };
    let batch = batch(spec);
    builder.add(partition(0x0102, 3), batch.clone(), 9);
    let object = object(&builder.build(&name()));

    // Computed from the module's table by another program.
    let expected = [
        "53485345474d4e54",                 // magic
        "00000001",                         // version
        "019ab8d424300000000000000000002a", // id: stamp and 42
        concat!(
            "000000000000000000000039ffffffff021bb590cc0000000000000000000000000005",
            "0000000000000005ffffffffffffffffffffffffffff000000010e00000001027600",
        ), // the batch
        "00000000000000000000000000000102", // topic id
        "00000003",                         // partition
        "000000000000001c",                 // block position
        "00000045",                         // block length
        "0000000000000001",                 // records
        "0000000000000005",                 // greatest timestamp
        "0000000000000009",                 // append time
        "d9a2ea1d",                         // block checksum
        "0000000000000061",                 // footer position
        "0000003c",                         // footer length
        "5d343cc0",                         // checksum
        "5348534547454e44",                 // magic
    ];
    assert_eq!(hex(&object), expected.concat());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&Bytes::from(bytes)).is_err());
    }

    /// Past the checksums: whoever can write an object can also make its checksum right.
    #[test]
    fn forged_footers_never_panic(at in 0_usize..60, bytes in any::<[u8; 8]>(), cut in 0_usize..90) {
        let mut builder = SegmentBuilder::new();
        builder.add(partition(1, 0), batch(BatchSpec::new(2)), 0);
        let mut forged = object(&builder.build(&name())).to_vec();
        let trailer = forged.len() - 24;
        let end = (at + 8).min(72);
        forged[trailer - 60 + at..trailer - 60 + end].copy_from_slice(&bytes[..end - at]);
        if cut < trailer {
            let position = (trailer - cut) as u64;
            forged[trailer..trailer + 8].copy_from_slice(&position.to_be_bytes());
            forged[trailer + 8..trailer + 12].copy_from_slice(&(cut as u32).to_be_bytes());
            let crc = crc_fast::crc32_iscsi(
                &[&forged[..28], &forged[trailer - cut..trailer + 12]].concat(),
            );
            forged[trailer + 12..trailer + 16].copy_from_slice(&crc.to_be_bytes());
        }
        let _ = decode(&Bytes::from(forged));
    }

    #[test]
    fn any_mix_of_batches_is_read_back(
        adds in proptest::collection::vec((0_u128..4, 0_i32..4, 1_i32..5, 0_usize..3_000), 0..60),
    ) {
        let mut builder = SegmentBuilder::new();
        let mut added = Vec::new();
        for (topic, number, records, bytes) in adds {
            let batch = batch(BatchSpec::new(records).value_bytes(bytes));
            builder.add(partition(topic, number), batch.clone(), 1);
            added.push((partition(topic, number), batch));
        }
        let built = builder.build(&name());
        let decoded = decode(&object(&built)).unwrap();
        let read = decoded.blocks.iter().flat_map(|block| {
            block.batches.iter().map(|batch| (block.partition, batch.bytes().clone()))
        });
        let wrote = built.arrivals.iter().map(|arrival| {
            (added[*arrival].0, added[*arrival].1.bytes().clone())
        });
        prop_assert!(read.eq(wrote));
        prop_assert_eq!(built.arrivals.len(), added.len());
    }
}
