//! What is not passed on, and how little it costs.

use super::{CLIENT, push, read, resource, sum, text};
use proptest::prelude::*;
use streamhouse_observability::relay::{Message, MessageError};

fn invalid(plain: &[u8]) -> &'static str {
    match read(plain, 1_000) {
        Err(MessageError::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A field of length-delimited bytes.
fn field(number: u8, inner: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = inner.len();
    while length > 0x7f {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(inner);
    bytes
}

#[test]
fn metrics_cut_off_anywhere_are_read_whole_up_to_there_or_refused() {
    let plain = push(vec![resource(vec![text("group_id", "g")], vec![sum("a", 3), sum("b", 2)])]);
    read(&plain, 5).expect("whole");
    for length in 1..plain.len() {
        assert_eq!(invalid(&plain[..length]), "a field is torn", "at {length}");
    }
}

#[test]
fn a_bomb_of_empty_submessages_is_refused_before_it_is_decoded() {
    let empty = [0x0a, 0x00].repeat(400_000);
    assert_eq!(invalid(&empty), "it has more parts than its series need");
    let metrics = field(1, &field(2, &[0x12, 0x00].repeat(400_000)));
    assert_eq!(invalid(&metrics), "it has more parts than its series need");
    let few = push((0..5).map(|n| resource(vec![text("n", &n.to_string())], vec![])).collect());
    assert_eq!(invalid(&few), "it speaks of too many resources");
}

#[test]
fn values_that_nest_deeper_than_metrics_do_are_refused() {
    // An attribute whose value is a list in a list in a list.
    let nested = |levels: usize| {
        let value = (0..levels).fold(Vec::new(), |inner, _| field(5, &field(1, &inner)));
        field(1, &field(1, &field(1, &field(2, &value))))
    };
    read(&nested(3), 10).expect("lists in lists are legal");
    assert_eq!(invalid(&nested(30)), "values nest too deeply");
    assert_eq!(invalid(&nested(3_000)), "values nest too deeply");
}

#[test]
fn more_series_than_a_client_may_have_are_refused_by_their_number() {
    let plain = push(vec![resource(Vec::new(), vec![sum("a", 600), sum("b", 401)])]);
    read(&plain, 1_001).expect("as many as allowed");
    let refused = read(&plain, 1_000).unwrap_err();
    assert_eq!(refused, MessageError::TooManySeries { series: 1_001, limit: 1_000 });
}

#[test]
fn a_field_of_another_type_is_refused() {
    // The name of a metric that is no text, and a resource that is a number.
    let name = field(1, &field(2, &field(2, &field(1, &[0xff, 0xfe]))));
    assert_eq!(invalid(&name), "a field has another type");
    assert_eq!(invalid(&field(1, &[0x08, 0x01])), "a field has another type");
    assert_eq!(invalid(&[0x0b]), "a field is torn", "groups have left the protocol");
}

proptest! {
    #[test]
    fn whatever_the_bytes_are_reading_ends_in_a_message_or_a_reason(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        flips in prop::collection::vec((any::<u16>(), any::<u8>()), 0..8),
    ) {
        let _ = Message::read(&bytes, &CLIENT, 100);
        let metrics = vec![sum("a", 3)];
        let mut plain = push(vec![resource(vec![text("group_id", "g")], metrics)]);
        for (at, byte) in flips {
            let at = usize::from(at) % plain.len();
            plain[at] = byte;
        }
        let _ = Message::read(&plain, &CLIENT, 100);
    }
}
