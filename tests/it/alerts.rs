//! Every alert can fire, says what it means, and has a page and cases of its own.

use serde_yaml_ng::Value;
use std::fs;
use streamhouse_observability::declare::{Kind, Row};
use streamhouse_observability::instruments::registry;
use streamhouse_tests::compose::root;

/// Where the pages of alerts are published.
const PAGES: &str = "https://github.com/streamhouse/streamhouse/blob/main/docs/runbooks/";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn alerts() -> Vec<Value> {
    let rules: Value =
        serde_yaml_ng::from_str(&read("alerts/rules/streamhouse.yml")).expect("YAML");
    let groups = rules["groups"].as_sequence().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_sequence().expect("rules").clone()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What is wrong with the selectors of StreamHouse's metrics in `query`.
fn problems(query: &str, rows: &[std::sync::Arc<Row>]) -> Vec<String> {
    let mut problems = Vec::new();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (at, _) in query.match_indices("streamhouse_") {
        let rest = &query[at..];
        let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        let named = |row: &&std::sync::Arc<Row>| {
            let family = row.prometheus_name();
            let parts = ["_bucket", "_count", "_sum"].map(|part| format!("{family}{part}"));
            match row.kind {
                Kind::Histogram => parts.iter().any(|part| part == name),
                _ => family == name,
            }
        };
        let Some(row) = rows.iter().find(named) else {
            problems.push(format!("{name} is no metric: take a name of docs/signals.md"));
            continue;
        };
        let matchers = rest[name.len()..].strip_prefix('{').and_then(|it| it.split_once('}'));
        for matcher in matchers.map_or("", |it| it.0).split(',').filter(|it| !it.is_empty()) {
            let (key, value) = matcher.split_once('=').expect("a matcher of equality");
            let value = value.trim_matches('"');
            if ["job", "instance"].contains(&key) {
                continue;
            }
            let Some(label) = row.labels.iter().find(|label| label.key == key) else {
                problems.push(format!("{name} has no label {key}: see docs/signals.md"));
                continue;
            };
            if label.values.as_ref().is_some_and(|values| !values.contains(&value)) {
                problems.push(format!("{key} of {name} is never {value:?}: {:?}", label.values));
            }
        }
    }
    problems
}

#[test]
fn every_alert_names_metrics_labels_and_values_that_exist() {
    let rows = registry().unwrap();
    for alert in alerts() {
        let wrong = problems(text(&alert["expr"]), &rows);
        assert!(wrong.is_empty(), "{}: {wrong:?}", text(&alert["alert"]));
    }
}

#[test]
fn a_metric_label_or_value_that_does_not_exist_is_named() {
    let rows = registry().unwrap();
    for (query, told) in [
        ("rate(streamhouse_s3_throttles_total[5m])", "streamhouse_s3_throttles_total is no metric"),
        ("streamhouse_topics_total{job=\"a\",topic=\"b\"}", "has no label topic"),
        ("streamhouse_s3_errors_total{error=\"throttled\"}", "is never \"throttled\""),
        ("streamhouse_producer_latency_seconds", "is no metric"),
    ] {
        let wrong = problems(query, &rows);
        assert!(wrong.len() == 1 && wrong[0].contains(told), "{query}: {wrong:?}");
    }
    let right = "streamhouse_producer_latency_seconds_bucket{outcome=\"ok\"}";
    assert!(problems(right, &rows).is_empty());
}

#[test]
fn every_alert_has_a_severity_a_text_with_values_a_page_and_cases() {
    let cases: Value = serde_yaml_ng::from_str(&read("alerts/tests/streamhouse.yml")).unwrap();
    let cases: Vec<&Value> = cases["tests"]
        .as_sequence()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_sequence().unwrap())
        .collect();
    for alert in alerts() {
        let name = text(&alert["alert"]).to_owned();
        let severity = text(&alert["labels"]["severity"]);
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity:?}");
        let notes = &alert["annotations"];
        assert!(!text(&notes["summary"]).is_empty(), "{name} has no summary");
        assert!(text(&notes["description"]).contains("{{ $"), "{name} describes without a value");
        let page = text(&notes["runbook_url"]).strip_prefix(PAGES);
        assert_eq!(page, Some(&*format!("{name}.md")), "runbook_url of {name}");
        let page = read(&format!("docs/runbooks/{name}.md"));
        assert!(page.contains("**Confirm**") && page.contains("```promql"), "{name}: no queries");
        assert!(page.contains(&format!("Severity: {severity}")), "{name}: its page's severity");
        let fires = |expected: bool| {
            cases.iter().any(|case| {
                let alerts = case["exp_alerts"].as_sequence().unwrap();
                text(&case["alertname"]) == name && alerts.is_empty() != expected
            })
        };
        assert!(fires(true) && fires(false), "alerts/tests lack a case of {name}");
    }
}

#[test]
fn every_query_of_a_runbook_names_what_exists_and_every_page_has_its_alert() {
    let rows = registry().unwrap();
    let names: Vec<_> = alerts().iter().map(|alert| text(&alert["alert"]).to_owned()).collect();
    for entry in fs::read_dir(root().join("docs/runbooks")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(names.contains(&name), "docs/runbooks/{name}.md belongs to no alert");
        let page = fs::read_to_string(&path).unwrap();
        let wrong = problems(&page, &rows);
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
    }
}
