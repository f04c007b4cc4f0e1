//! Every alert can fire, says what it means, and has a page and cases of its own.

use serde_json::Value;
use std::fs;
use streamhouse_observability::instruments::registry;
use streamhouse_tests::compose::{root, yaml};
use streamhouse_tests::promql;

/// Where the pages of alerts are published.
const PAGES: &str = "https://github.com/streamhouse/streamhouse/blob/main/docs/runbooks/";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn load(path: &str) -> Value {
    yaml(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn alerts() -> Vec<Value> {
    let rules = load("alerts/rules/streamhouse.yml");
    let all: Vec<_> =
        list(&rules["groups"]).flat_map(|group| list(&group["rules"])).cloned().collect();
    assert!(!all.is_empty(), "alerts/rules/streamhouse.yml has no rules");
    all
}

/// The queries of a page: its blocks, and what it names inside a sentence.
fn queries(page: &str) -> Vec<&str> {
    let blocks = page.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let sentences =
        page.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2));
    blocks.chain(sentences.filter(|code| code.contains("streamhouse_"))).collect()
}

#[test]
fn every_alert_asks_for_what_exists_and_says_of_which_job() {
    let rows = registry().unwrap();
    for alert in alerts() {
        let (name, query) = (text(&alert["alert"]), text(&alert["expr"]));
        assert_eq!(promql::check(query, &rows), Vec::<String>::new(), "{name}");
        for selector in promql::selectors(query).unwrap() {
            let has_job = selector.matchers.matchers.iter().any(|matcher| matcher.name == "job");
            assert!(has_job, "{name}: {selector} would add up both jobs; name one");
        }
    }
}

#[test]
fn every_alert_has_a_severity_a_text_with_values_a_page_and_cases() {
    let cases = load("alerts/tests/streamhouse.yml");
    for alert in alerts() {
        let name = text(&alert["alert"]);
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

        // For each case of this alert: at which of its times it fires.
        let fires: Vec<Vec<bool>> = list(&cases["tests"])
            .map(|case| {
                let own =
                    list(&case["alert_rule_test"]).filter(|at| text(&at["alertname"]) == name);
                own.map(|at| list(&at["exp_alerts"]).next().is_some()).collect()
            })
            .collect();
        let boundary = fires.iter().any(|case| case.contains(&true) && case.contains(&false));
        let silent = fires.iter().any(|case| !case.is_empty() && !case.contains(&true));
        assert!(boundary, "alerts/tests lack a case of {name} that fires, and not before its time");
        assert!(silent, "alerts/tests lack a case in which {name} never fires");
    }
}

#[test]
fn every_query_of_a_runbook_asks_for_what_exists_and_every_page_has_its_alert() {
    let rows = registry().unwrap();
    let alerts = alerts();
    for entry in fs::read_dir(root().join("docs/runbooks")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let has_alert = alerts.iter().any(|alert| text(&alert["alert"]) == name);
        assert!(has_alert, "docs/runbooks/{name}.md belongs to no alert");
        let page = fs::read_to_string(&path).unwrap();
        assert!(!queries(&page).is_empty(), "{name}: no queries");
        for query in queries(&page) {
            assert_eq!(promql::check(query, &rows), Vec::<String>::new(), "{name}");
        }
    }
}
