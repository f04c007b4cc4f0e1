//! The table of shapes is proven by the encoder: whatever it writes, the walker consumes.

mod requests; // requests made up from bytes

use super::*;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable as _, Encodable as _, StrBytes};
use proptest::prelude::*;
use requests::{Source, request};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A whole frame without its length.
fn encoded(offered: &Offered, version: i16, bytes: &[u8]) -> Vec<u8> {
    let mut source = Source(bytes);
    let mut frame = BytesMut::new();
    let header_version = offered.key.request_header_version(version);
    RequestHeader::default()
        .with_request_api_key(offered.key as i16)
        .with_request_api_version(version)
        .with_client_id(source.some(Source::text))
        .with_unknown_tagged_fields(source.tags(header_version >= 2))
        .encode(&mut frame, header_version)
        .unwrap();
    request(offered.key, &mut source, version).encode(&mut frame, version).unwrap();
    frame.to_vec()
}

fn decode(offered: &Offered, version: i16, frame: Vec<u8>) -> Option<RequestKind> {
    let mut frame = Bytes::from(frame);
    let header_version = offered.key.request_header_version(version);
    RequestHeader::decode(&mut frame, header_version).ok()?;
    RequestKind::decode(offered.key, &mut frame, version).ok()
}

fn every_version() -> impl Iterator<Item = (&'static Offered, i16)> {
    OFFERED.iter().flat_map(|offered| (offered.min..=offered.max).map(move |it| (offered, it)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_encoded_in_an_offered_version_is_walked_to_its_last_byte(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        for (offered, version) in every_version() {
            let frame = encoded(offered, version, &bytes);
            prop_assert_eq!(
                offered.walk(&frame, version), Ok(0), "{:?} version {}", offered.key, version
            );
            let cut = usize::from(bytes.first().copied().unwrap_or(0)) % frame.len();
            prop_assert!(offered.walk(&frame[..cut], version).is_err());
        }
    }

    #[test]
    fn what_passes_the_walker_is_decoded_with_bounded_memory(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..6),
    ) {
        for (offered, version) in every_version() {
            let mut frame = encoded(offered, version, &bytes);
            for (at, byte) in &flips {
                let at = 8 + usize::from(*at) % (frame.len() - 7);
                if let Some(place) = frame.get_mut(at) {
                    *place = *byte;
                }
            }
            // The decoder allocates what a length says: one absurd length aborts the process.
            if offered.walk(&frame, version).is_ok() {
                decode(offered, version, frame);
            }
        }
    }
}

#[test]
fn absurd_lengths_at_every_place_never_reach_the_decoder() {
    let bytes: Vec<u8> = (0..200u8).map(|n| n.wrapping_mul(37) | 3).collect();
    for (offered, version) in every_version() {
        let whole = encoded(offered, version, &bytes);
        for at in 8..whole.len() {
            for absurd in [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 0x0f][..]] {
                let mut frame = whole.clone();
                let end = (at + absurd.len()).min(frame.len());
                frame[at..end].copy_from_slice(&absurd[..end - at]);
                if offered.walk(&frame, version).is_ok() {
                    decode(offered, version, frame);
                }
            }
        }
    }
}
