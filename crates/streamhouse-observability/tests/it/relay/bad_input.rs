//! What is not passed on, and how little it costs.

use super::{push, read, resource, sum, text};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use proptest::prelude::*;
use streamhouse_observability::relay::MessageError;

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

fn gauge(attributes: Vec<KeyValue>) -> Metric {
    let data_points = vec![NumberDataPoint { attributes, ..NumberDataPoint::default() }];
    let data = Some(Data::Gauge(Gauge { data_points }));
    Metric { name: "a".into(), data, ..Metric::default() }
}

fn pushed(metric: Metric) -> Result<(), MessageError> {
    read(&push(vec![resource(Vec::new(), vec![metric])]), 10).map(|_| ())
}

#[test]
fn names_units_and_attributes_of_any_length_are_refused_by_what_is_too_long() {
    let long = |length| "x".repeat(length);
    let renamed = |name: String| Metric { name, ..gauge(Vec::new()) };
    let measured = |unit: String| Metric { unit, ..gauge(Vec::new()) };
    type Of = Box<dyn Fn(usize) -> Metric>;
    let cases: [(&str, usize, Of); 4] = [
        ("the name of a metric", 255, Box::new(move |n| renamed(long(n)))),
        ("a unit", 63, Box::new(move |n| measured(long(n)))),
        ("the name of an attribute", 255, Box::new(move |n| gauge(vec![text(&long(n), "x")]))),
        ("the value of an attribute", 1_024, Box::new(move |n| gauge(vec![text("x", &long(n))]))),
    ];
    for (what, limit, of) in cases {
        assert_eq!(pushed(of(limit)), Ok(()), "{what}");
        for length in [limit + 1, 90_000] {
            let refused = pushed(of(length)).unwrap_err();
            assert_eq!(refused, MessageError::TooLong { what, length, limit });
        }
    }
}

#[test]
fn a_data_point_of_too_many_attributes_or_buckets_is_refused() {
    let of = |number: usize| gauge((0..number).map(|n| text(&n.to_string(), "x")).collect());
    assert_eq!(pushed(of(64)), Ok(()));
    let refused = MessageError::TooMany { what: "attributes", number: 65, limit: 64 };
    assert_eq!(pushed(of(65)), Err(refused));
    let of = |buckets: usize| {
        let explicit_bounds = (0..buckets).map(|n| n as f64).collect();
        let data_points = vec![HistogramDataPoint { explicit_bounds, ..Default::default() }];
        let data = Some(Data::Histogram(Histogram { data_points, aggregation_temporality: 2 }));
        Metric { data, ..gauge(Vec::new()) }
    };
    assert_eq!(pushed(of(320)), Ok(()));
    let refused = MessageError::TooMany { what: "buckets", number: 20_000, limit: 320 };
    assert_eq!(pushed(of(20_000)), Err(refused));
}

#[test]
fn what_is_not_cumulative_is_refused_whatever_its_kind() {
    for (aggregation_temporality, taken) in [(0, false), (1, false), (2, true), (3, false)] {
        for data in [
            Data::Sum(Sum { aggregation_temporality, ..Sum::default() }),
            Data::Histogram(Histogram { aggregation_temporality, ..Histogram::default() }),
            Data::ExponentialHistogram(ExponentialHistogram {
                aggregation_temporality,
                ..ExponentialHistogram::default()
            }),
        ] {
            let metric = Metric { name: "a".into(), data: Some(data), ..Metric::default() };
            let expected = if taken { Ok(()) } else { Err(MessageError::NotCumulative) };
            assert_eq!(pushed(metric), expected, "{aggregation_temporality}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_the_bytes_are_reading_ends_in_a_message_or_a_reason(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        flips in prop::collection::vec((any::<u16>(), any::<u8>()), 0..8),
    ) {
        let _ = read(&bytes, 100);
        let metrics = vec![sum("a", 3)];
        let mut plain = push(vec![resource(vec![text("group_id", "g")], metrics)]);
        for (at, byte) in flips {
            let at = usize::from(at) % plain.len();
            plain[at] = byte;
        }
        let _ = read(&plain, 100);
    }
}
