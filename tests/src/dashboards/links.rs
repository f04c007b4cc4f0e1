//! From a board to other boards, and from a measurement to its traces and log records.

use serde_json::{Value, json};
use streamhouse_observability::spans::SPANS;

/// The tag that all boards have.
pub const TAG: &str = "streamhouse";

/// The other boards, with the same time and variables.
pub fn boards() -> Value {
    json!([{
        "type": "dashboards", "tags": [TAG], "title": "StreamHouse", "asDropdown": false,
        "icon": "external link", "includeVars": true, "keepTime": true, "targetBlank": false,
        "tooltip": "", "url": "",
    }])
}

/// From a panel to the traces of the span that measures the same, and to the log records of the
/// time shown. An exemplar leads to its own trace by itself, and from there to its log records.
///
/// # Errors
/// A span that does not exist.
pub fn of_span(span: &str) -> Result<Value, String> {
    if !SPANS.iter().any(|row| row.name == span) {
        let names: Vec<_> = SPANS.iter().map(|row| row.name).collect();
        return Err(format!("there is no span {span:?}: it is {}", names.join(", ")));
    }
    let traces = json!({"refId": "A", "queryType": "search", "service": "streamhouse",
        "operation": span});
    let logs = json!({"refId": "A", "queryType": "instant", "expr": "service.name:=streamhouse"});
    Ok(json!([
        {"title": format!("Traces of {span}"), "url": explore("jaeger", traces), "targetBlank": true},
        {"title": "Log records of this time", "url": explore("logs", logs), "targetBlank": true},
    ]))
}

/// A link into Grafana's Explore with one query, for the time that the board shows.
fn explore(datasource: &str, mut query: Value) -> String {
    query["datasource"] = json!({"uid": datasource});
    let panes = json!({"board": {"datasource": datasource, "queries": [query],
        "range": {"from": "${__from}", "to": "${__to}"}}});
    format!("/explore?schemaVersion=1&panes={}", encode(&panes.to_string()))
}

/// Percent-encodes what has a meaning in a URL; Grafana's variables stay as they are.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let variable = rest.strip_prefix("${").and_then(|inner| inner.split_once('}'));
        if let Some((name, after)) = variable {
            encoded.push_str(&format!("${{{name}}}"));
            rest = after;
            continue;
        }
        match next {
            c if c.is_ascii_alphanumeric() || "-_.~".contains(c) => encoded.push(c),
            c => c.to_string().bytes().for_each(|byte| encoded.push_str(&format!("%{byte:02X}"))),
        }
        rest = &rest[next.len_utf8()..];
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_carries_its_query_and_leaves_the_time_to_grafana() {
        let link = explore("jaeger", json!({"operation": "produce_request"}));
        assert!(link.starts_with("/explore?schemaVersion=1&panes=%7B%22board%22"), "{link}");
        assert!(link.contains("%22produce_request%22"), "{link}");
        assert!(link.contains("%22from%22%3A%22${__from}%22"), "{link}");
    }
}
