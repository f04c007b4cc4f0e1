//! What a produce request may carry.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use streamhouse_metadata::ProducerBatch;
use streamhouse_storage::RecordBatch;
use streamhouse_storage::batch::BatchError;
use streamhouse_storage::testing::BatchSpec;

const NO_LIMIT: usize = usize::MAX;

/// Changes bytes of a batch and makes its checksum right again.
fn changed(batch: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut copy = batch.to_vec();
    copy[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc_fast::crc32_iscsi(&copy[21..]);
    copy[17..21].copy_from_slice(&crc.to_be_bytes());
    copy.into()
}

fn refusal(bytes: Bytes) -> BatchError {
    RecordBatch::split(bytes, NO_LIMIT).expect_err("the batch was accepted")
}

#[test]
fn a_batch_is_kept_as_it_came_without_a_copy() {
    let sent = BatchSpec::new(3).producer(7, 2, 40).encode();

    let batches = RecordBatch::split(sent.clone(), NO_LIMIT).unwrap();

    let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
    assert_eq!(batch.bytes().as_ptr(), sent.as_ptr());
    assert_eq!(batch.bytes(), &sent);
    assert_eq!(batch.records(), 3);
    assert_eq!(batch.producer(), Some(ProducerBatch { id: 7, epoch: 2, sequence: 40 }));
    assert_eq!(batch.base_timestamp_ms(), 1_700_000_000_000);
    assert_eq!(batch.max_timestamp_ms(), 1_700_000_000_002);
    assert_eq!(batch.codec(), 0);
    assert_eq!(batch.records_bytes().len(), sent.len() - 61);
}

#[test]
fn several_batches_are_split_unless_one_names_a_producer() {
    let plain = [BatchSpec::new(2).encode(), BatchSpec::new(5).encode()].concat();
    let batches = RecordBatch::split(plain.into(), NO_LIMIT).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::records).collect::<Vec<_>>(), [2, 5]);

    let named = [BatchSpec::new(2).encode(), BatchSpec::new(5).producer(1, 0, 0).encode()];
    assert!(matches!(refusal(named.concat().into()), BatchError::Invalid(_)));
}

#[test]
fn older_formats_are_refused_by_name() {
    for magic in [0_u8, 1, 3, 0xff] {
        let old = changed(&BatchSpec::new(1).encode(), 16, &[magic]);
        assert_eq!(refusal(old), BatchError::Magic(magic as i8));
    }
}

#[test]
fn a_flipped_bit_after_the_checksum_is_found() {
    let sent = BatchSpec::new(2).encode();
    for at in 21..sent.len() {
        let mut copy = sent.to_vec();
        copy[at] ^= 0x10;
        assert_eq!(refusal(copy.into()), BatchError::Crc, "byte {at}");
    }
}

#[test]
fn a_cut_batch_is_refused_at_every_length() {
    let sent = BatchSpec::new(2).encode();
    for length in 0..sent.len() {
        assert!(matches!(refusal(sent.slice(..length)), BatchError::Invalid(_)), "{length}");
    }
    let longer = [&sent[..], &[0]].concat();
    assert!(matches!(refusal(longer.into()), BatchError::Invalid(_)));
}

#[test]
fn absurd_lengths_are_refused() {
    for length in [i32::MIN, -1, 0, 48, i32::MAX] {
        let absurd = changed(&BatchSpec::new(1).encode(), 8, &length.to_be_bytes());
        assert!(matches!(refusal(absurd), BatchError::Invalid(_)), "{length}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let batch = BatchSpec::new(3).encode();
    let cases: &[(&str, usize, &[u8])] = &[
        ("no records", 57, &0_i32.to_be_bytes()),
        ("fewer records than offsets", 57, &2_i32.to_be_bytes()),
        ("negative records", 57, &i32::MIN.to_be_bytes()),
        ("a negative delta", 23, &(-1_i32).to_be_bytes()),
        ("more offsets than records", 23, &i32::MAX.to_be_bytes()),
        ("transactional", 21, &(1_i16 << 4).to_be_bytes()),
        ("control", 21, &(1_i16 << 5).to_be_bytes()),
        ("unknown codec", 21, &5_i16.to_be_bytes()),
    ];
    for (what, at, bytes) in cases {
        assert!(matches!(refusal(changed(&batch, *at, bytes)), BatchError::Invalid(_)), "{what}");
    }
    for (epoch, sequence) in [(-1, 0), (0, -1)] {
        let batch = BatchSpec::new(1).producer(5, epoch, sequence).encode();
        assert!(matches!(refusal(batch), BatchError::Invalid(_)), "{epoch} {sequence}");
    }
}

#[test]
fn a_batch_above_the_limit_is_refused_with_both_sizes() {
    let sent = BatchSpec::new(10).encode();
    let size = sent.len();
    assert!(RecordBatch::split(sent.clone(), size).is_ok());
    let refused = RecordBatch::split(sent, size - 1).unwrap_err();
    assert_eq!(refused, BatchError::TooLarge { size, limit: size - 1 });
}

#[test]
fn offset_and_epoch_are_written_into_a_copy_that_stays_valid() {
    let sent = BatchSpec::new(4).encode();
    let batch = RecordBatch::split(sent.clone(), NO_LIMIT).unwrap().remove(0);

    let placed = batch.with_base_offset(1 << 40, 9);

    let again = RecordBatch::split(placed.clone(), NO_LIMIT).unwrap().remove(0);
    assert_eq!(again.base_offset(), 1 << 40);
    assert_eq!(placed[12..16], 9_i32.to_be_bytes());
    assert_eq!(placed[16..], sent[16..]);
    assert_eq!(batch.base_offset(), 0);
}

#[test]
fn stored_batches_are_found_again() {
    let mut stored = BytesMut::new();
    for records in 1..=20 {
        stored.extend_from_slice(&BatchSpec::new(records).producer(1, 0, records).encode());
    }
    let batches = RecordBatch::from_stored(stored.clone().freeze()).unwrap();
    assert_eq!(
        batches.iter().map(RecordBatch::records).collect::<Vec<_>>(),
        Vec::from_iter(1..=20)
    );
    assert!(RecordBatch::from_stored(stored.split_to(100).freeze()).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = RecordBatch::split(bytes.clone(), 200);
        let _ = RecordBatch::from_stored(bytes);
    }

    #[test]
    fn damaged_headers_never_panic(at in 0_usize..61, bytes in any::<[u8; 8]>()) {
        let batch = BatchSpec::new(3).encode();
        let end = (at + 8).min(61) - at;
        let damaged = changed(&batch, at, &bytes[..end]);
        for batch in RecordBatch::split(damaged, NO_LIMIT).into_iter().flatten() {
            prop_assert!(batch.records() > 0);
            prop_assert_eq!(batch.records_bytes().len() + 61, batch.bytes().len());
        }
    }
}

#[test]
fn the_checksum_is_castagnolis() {
    // The check value of the polynomial's definition: our own fixtures could share our mistake.
    assert_eq!(crc_fast::crc32_iscsi(b"123456789"), 0xe306_9283);
}
