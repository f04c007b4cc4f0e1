//! Every alert can fire, says what it means, and has a page and cases of its own.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use streamhouse_observability::instruments::registry;
use streamhouse_tests::alerts::{self, list, queries};
use streamhouse_tests::compose::{root, yaml};
use streamhouse_tests::promql;

/// Where the pages of alerts are published.
const PAGES: &str = "https://github.com/streamhouse/streamhouse/blob/main/docs/runbooks/";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn alerts() -> Vec<Value> {
    let all = alerts::all().expect("the rules");
    assert!(all.len() > 4, "alerts/rules has hardly any rules");
    all
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
    let cases = alerts::documents("alerts/tests").unwrap();
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
        let fires: Vec<Vec<bool>> = cases
            .values()
            .flat_map(|file| list(&file["tests"]))
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
    let all = alerts();
    for (name, page) in alerts::pages().unwrap() {
        let has_alert = all.iter().any(|alert| text(&alert["alert"]) == name);
        assert!(has_alert, "docs/runbooks/{name}.md belongs to no alert");
        assert!(!queries(&page).is_empty(), "{name}: no queries");
        for query in queries(&page) {
            assert_eq!(promql::check(query, &rows), Vec::<String>::new(), "{name}");
        }
    }
}

#[test]
fn the_alertmanager_silences_only_alerts_that_exist_and_sends_each_severity_somewhere() {
    let config = yaml(&read("alerts/alertmanager.yml")).unwrap();
    let all = alerts();
    let names: BTreeSet<&str> = all.iter().map(|alert| text(&alert["alert"])).collect();
    let receivers: BTreeSet<&str> =
        list(&config["receivers"]).map(|one| text(&one["name"])).collect();
    let route = &config["route"];
    let mut targets: Vec<&str> = list(&route["routes"]).map(|one| text(&one["receiver"])).collect();
    targets.push(text(&route["receiver"]));
    targets.sort_unstable();
    assert_eq!(targets, receivers.iter().copied().collect::<Vec<_>>());

    for rule in list(&config["inhibit_rules"]) {
        let matchers = ["source_matchers", "target_matchers"].map(|side| list(&rule[side]));
        for matcher in matchers.into_iter().flatten() {
            let name = text(matcher).rsplit(' ').next().unwrap_or_default();
            assert!(names.contains(name), "inhibit_rules: {matcher} names no alert");
        }
        // Without labels in common one agent's alert would silence another's.
        let equal: Vec<&str> = list(&rule["equal"]).map(text).collect();
        assert!(equal.contains(&"job") && equal.len() > 1, "inhibit_rules: {rule}");
    }
}
