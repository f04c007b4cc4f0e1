use std::collections::HashSet;
use streamhouse_observability::declare::{Kind, prometheus_name};
use streamhouse_observability::instruments::Instruments;
use streamhouse_observability::testing;

/// The metrics of the specification: Prometheus name, OpenTelemetry name, kind, unit.
const SPECIFIED: &[(&str, &str, Kind, &str)] = &[
    ("producer_records_total", "producer.records", Kind::Counter, "{record}"),
    ("producer_bytes_total", "producer.bytes", Kind::Counter, "By"),
    ("producer_latency_seconds", "producer.latency", Kind::Histogram, "s"),
    ("producer_batch_size", "producer.batch_size", Kind::Histogram, "{record}"),
    ("producer_errors_total", "producer.errors", Kind::Counter, "{error}"),
    ("consumer_records_total", "consumer.records", Kind::Counter, "{record}"),
    ("consumer_lag", "consumer.lag", Kind::Gauge, "{record}"),
    ("consumer_rebalances_total", "consumer.rebalances", Kind::Counter, "{rebalance}"),
    ("consumer_errors_total", "consumer.errors", Kind::Counter, "{error}"),
    ("segment_writes_total", "segment.writes", Kind::Counter, "{segment}"),
    ("segment_flushes_total", "segment.flushes", Kind::Counter, "{flush}"),
    ("s3_requests_total", "s3.requests", Kind::Counter, "{request}"),
    ("s3_errors_total", "s3.errors", Kind::Counter, "{error}"),
    ("cache_hits_total", "cache.hits", Kind::Counter, "{hit}"),
    ("cache_misses_total", "cache.misses", Kind::Counter, "{miss}"),
    ("connections_active", "connections.active", Kind::Gauge, "{connection}"),
    ("partitions_total", "partitions.total", Kind::Gauge, "{partition}"),
    ("topics_total", "topics.total", Kind::Gauge, "{topic}"),
    ("agents_active", "agents.active", Kind::Gauge, "{agent}"),
];
/// The labels that are no enums.
const FREE: [&str; 3] = ["topic", "group", "partition"];

#[test]
fn every_metric_of_the_specification_has_its_exact_prometheus_name() {
    let (declare, _seen) = testing::in_memory();
    let _all = Instruments::declare(&declare);
    let rows = declare.rows();
    for (expected, name, kind, unit) in SPECIFIED {
        let (expected, full) = (format!("streamhouse_{expected}"), format!("streamhouse.{name}"));
        assert_eq!(prometheus_name(&full, unit, *kind), expected);
        let row = rows.iter().find(|row| row.name == full);
        let row = row.unwrap_or_else(|| panic!("no row {full}"));
        assert_eq!((row.kind, row.unit), (*kind, *unit), "{full}");
        assert_eq!(row.prometheus_name(), expected);
    }
}

#[test]
fn names_follow_the_rules_that_the_collector_and_prometheus_share() {
    for (name, unit, kind, expected) in [
        ("a.b", "", Kind::Gauge, "a_b"),
        ("a..b__c", "", Kind::Gauge, "a_b_c"),
        ("a.b.total", "", Kind::Counter, "a_b_total"),
        ("total.a", "", Kind::Counter, "a_total"),
        ("a.seconds", "s", Kind::Histogram, "a_seconds"),
        ("a.seconds.max", "s", Kind::Gauge, "a_seconds_max"),
        ("a", "1", Kind::Gauge, "a_ratio"),
        ("a.ratio", "1", Kind::Gauge, "a_ratio"),
        ("a", "1", Kind::Counter, "a_total"),
        ("a", "1", Kind::Histogram, "a"),
        ("a", "By/s", Kind::Gauge, "a_bytes_per_second"),
        ("a", "{packet}/s", Kind::Gauge, "a_per_second"),
        ("a", "1/h", Kind::Gauge, "a_per_hour"),
        ("a", "record", Kind::Counter, "a_record_total"),
        ("a", "%", Kind::Gauge, "a_percent"),
        ("a", "KiBy", Kind::Gauge, "a_kibibytes"),
        ("1st.thing", "", Kind::Gauge, "_1st_thing"),
        ("größe", "", Kind::Gauge, "gr_e"),
        ("ns:a", "", Kind::Gauge, "ns:a"),
    ] {
        assert_eq!(prometheus_name(name, unit, kind), expected, "{name} {unit}");
    }
}

#[test]
fn every_row_has_help_a_known_unit_and_a_bound_on_its_series() {
    let (declare, _seen) = testing::in_memory();
    let _all = Instruments::declare(&declare);
    let is_annotation = |unit: &str| unit.starts_with('{') && unit.ends_with('}') && unit.len() > 2;
    for row in declare.rows() {
        let name = &row.name;
        assert!(row.help.len() > 5, "{name} says too little: {:?}", row.help);
        assert!(row.help.ends_with('.') || row.help.ends_with(']'), "{name}: {:?}", row.help);
        assert!(
            is_annotation(row.unit) || ["s", "By", "1"].contains(&row.unit),
            "{name}: {}",
            row.unit
        );
        let free: Vec<_> = row.labels.iter().filter(|label| label.values.is_none()).collect();
        assert!(free.iter().all(|label| FREE.contains(&label.key)), "{name}: {free:?}");
        let closed: usize =
            row.labels.iter().filter_map(|label| Some(label.values.as_ref()?.len())).product();
        match free.is_empty() {
            true => assert_eq!(row.series, closed, "{name}"),
            false => assert!(row.series > closed, "{name} states no bound on its series"),
        }
        if row.kind == Kind::Histogram {
            assert!(!row.labels.is_empty(), "{name} would not exist before its first record");
            assert!(free.is_empty(), "{name}: a histogram's series never end");
            assert!(row.bounds.is_sorted(), "{name}");
        }
    }
}

#[test]
fn no_two_rows_share_a_name_and_only_two_gauges_end_in_total() {
    let (declare, _seen) = testing::in_memory();
    let _all = Instruments::declare(&declare);
    let mut names = HashSet::new();
    for row in declare.rows() {
        let name = row.prometheus_name();
        let is_allowed = ["streamhouse_partitions_total", "streamhouse_topics_total"];
        if row.kind != Kind::Counter && name.ends_with("_total") {
            assert!(is_allowed.contains(&name.as_str()), "{name} looks like a counter");
        }
        if row.kind != Kind::Gauge {
            let words = ["total", "seconds"];
            let plain = row.name.split(['.', '_']).all(|word| !words.contains(&word));
            assert!(plain, "{} repeats what its kind and unit add", row.name);
        }
        assert!(names.insert(name), "two rows are called {}", row.prometheus_name());
    }
}
