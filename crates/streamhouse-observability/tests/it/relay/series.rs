//! Which series the data points of a push are of, and what is left out.

use super::{CLIENT, draft, push, resource, sum, text};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
};
use std::collections::HashSet;
use std::hash::RandomState;
use streamhouse_observability::relay::{Client, Draft, Terms};

const ALL: [String; 1] = [String::new()];

fn gauge(name: &str, unit: &str, attributes: Vec<KeyValue>) -> Metric {
    let data_points = vec![NumberDataPoint { attributes, time_unix_nano: 1, ..Default::default() }];
    let data = Some(Data::Gauge(Gauge { data_points }));
    Metric { name: name.into(), unit: unit.into(), data, ..Metric::default() }
}

fn histogram(bounds: &[f64]) -> Metric {
    let explicit_bounds = bounds.to_vec();
    let data_points = vec![HistogramDataPoint { explicit_bounds, ..Default::default() }];
    let data = Some(Data::Histogram(Histogram { data_points, aggregation_temporality: 2 }));
    Metric { data, ..gauge("a", "", Vec::new()) }
}

fn series(pushed: ResourceMetrics, key: &RandomState) -> Vec<u64> {
    draft(&push(vec![pushed]), &ALL, 100).expect("good").series(key)
}

#[test]
fn whatever_makes_a_store_keep_series_apart_makes_another_series_and_nothing_else_does() {
    let key = RandomState::new();
    let plain = || resource(Vec::new(), vec![gauge("a", "", Vec::new())]);
    let under = |key: &str| resource(vec![text(key, "1")], vec![gauge("a", "", Vec::new())]);
    let with = |attributes| resource(Vec::new(), vec![gauge("a", "", attributes)]);
    let of = |metric| resource(Vec::new(), vec![metric]);
    let different = [
        plain(),
        under("group_id"),
        under("client_rack"),
        with(vec![text("topic", "1")]),
        with(vec![text("topic", "2")]),
        with(vec![text("node", "1")]),
        with(vec![text("topic", "1"), text("node", "1")]),
        of(gauge("b", "", Vec::new())),
        of(gauge("a", "ms", Vec::new())),
        of(sum("a", 1)),
        of(histogram(&[1.0])),
        of(histogram(&[1.0, 2.0])),
    ];
    let number = different.len();
    let all: HashSet<u64> = different.into_iter().flat_map(|one| series(one, &key)).collect();
    assert_eq!(all.len(), number);

    // Another client under the same instance is another series.
    let other = Client { id: "orders-2", ..CLIENT };
    let terms = Terms { prefixes: &ALL, series: 100 };
    let other = Draft::read(&push(vec![plain()]), &other, &terms).expect("good");
    assert!(!all.contains(&other.series(&key)[0]));

    let later = with(vec![text("node", "1"), text("topic", "1")]);
    let again = [plain(), later, under("group_id"), under("service.version")];
    for one in again {
        assert!(all.contains(&series(one, &key)[0]), "time, order, and what is not passed on");
    }
    assert_ne!(
        series(plain(), &key),
        series(plain(), &RandomState::new()),
        "nobody can foresee it"
    );
}

#[test]
fn what_was_not_asked_for_is_left_out_and_counted_in_data_points() {
    let metrics = vec![sum("shop.a", 3), sum("org.b", 2), sum("org.ab", 1), sum("orga", 4)];
    let plain = push(vec![resource(Vec::new(), metrics), resource(Vec::new(), vec![sum("x", 5)])]);
    for (prefixes, points) in [
        (vec![""], 15),
        (vec!["org."], 3),
        (vec!["org"], 7),
        (vec!["org.b", "x"], 7),
        (vec!["org.b", "org."], 3),
        (vec!["nothing"], 0),
        (vec![], 0),
        (vec!["", "org."], 15),
    ] {
        let prefixes: Vec<_> = prefixes.into_iter().map(String::from).collect();
        let draft = draft(&plain, &prefixes, 100).expect("good");
        assert_eq!((draft.points(), draft.left_out()), (points, 15 - points), "{prefixes:?}");
        assert_eq!(draft.series(&RandomState::new()).len(), points, "{prefixes:?}");
    }
}

#[test]
fn what_is_not_kept_is_gone_and_the_rest_is_as_it_was() {
    let key = RandomState::new();
    let metrics = vec![sum("a", 3), gauge("b", "", Vec::new()), sum("c", 2)];
    let plain = push(vec![resource(Vec::new(), metrics)]);
    let mut draft = draft(&plain, &ALL, 100).expect("good");
    let before = draft.series(&key);
    assert_eq!(draft.retain(&[true; 6]), 0);
    assert_eq!(draft.series(&key), before);
    assert_eq!(draft.retain(&[true, false, true, false, false, true]), 3);
    assert_eq!(draft.points(), 3);
    assert_eq!(draft.series(&key), [before[0], before[2], before[5]]);
    assert_eq!(draft.retain(&[false; 3]), 3);
    assert_eq!((draft.points(), draft.series(&key)), (0, vec![]));
}
