//! What a PromQL expression asks for, held to what StreamHouse records.

mod foreign;

pub use foreign::{FOREIGN, Foreign, foreign};

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use std::convert::Infallible;
use std::sync::Arc;
use streamhouse_observability::declare::{Kind, LabelRow, Row};

/// The labels that Prometheus gives to every series that it scrapes.
pub(crate) const TARGET: [&str; 2] = ["job", "instance"];

/// What is wrong with `query`, each with what to do: text that does not parse, metrics, labels and
/// label values that do not exist, a rate of what is no counter.
pub fn check(query: &str, rows: &[Arc<Row>]) -> Vec<String> {
    let expr = match parser::parse(query) {
        Ok(expr) => expr,
        Err(error) => return vec![format!("`{query}` is no PromQL: {error}")],
    };
    let mut checker = Checker { rows, problems: Vec::new() };
    let Ok(_) = walk_expr(&mut checker, &expr);
    checker.problems
}

/// The selectors of an expression, in their order.
///
/// # Errors
/// Text that is no PromQL.
pub fn selectors(query: &str) -> Result<Vec<VectorSelector>, String> {
    let expr = parser::parse(query).map_err(|error| format!("`{query}` is no PromQL: {error}"))?;
    Ok(selected(&expr))
}

fn selected(expr: &Expr) -> Vec<VectorSelector> {
    let mut found = Selected(Vec::new());
    let Ok(_) = walk_expr(&mut found, expr);
    found.0
}

struct Selected(Vec<VectorSelector>);

impl ExprVisitor for Selected {
    type Error = Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Infallible> {
        self.0.extend(selector(expr).cloned());
        Ok(true)
    }
}

fn selector(expr: &Expr) -> Option<&VectorSelector> {
    match expr {
        Expr::VectorSelector(selector) => Some(selector),
        Expr::MatrixSelector(range) => Some(&range.vs),
        _ => None,
    }
}

/// A label of a series, as Prometheus writes it.
struct Label {
    key: String,
    /// Its values, if they are closed.
    values: Option<Vec<&'static str>>,
}

struct Checker<'r> {
    rows: &'r [Arc<Row>],
    problems: Vec<String>,
}

impl ExprVisitor for Checker<'_> {
    type Error = Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Infallible> {
        if let Some(selector) = selector(expr) {
            self.selector(selector);
        }
        match expr {
            Expr::Call(call) if ["rate", "irate", "increase"].contains(&call.func.name) => {
                for selector in call.args.args.iter().flat_map(|argument| selected(argument)) {
                    self.counts(call.func.name, &selector);
                }
            }
            Expr::Aggregate(aggregate) => {
                if let Some(LabelModifier::Include(by)) = &aggregate.modifier {
                    self.grouping(&by.labels, &selected(&aggregate.expr));
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

impl Checker<'_> {
    /// The row that a series of this name belongs to.
    fn row(&self, name: &str) -> Option<&Arc<Row>> {
        self.rows.iter().find(|row| {
            let family = row.prometheus_name();
            let part = name.strip_prefix(&family);
            match row.kind {
                Kind::Histogram => part.is_some_and(|p| ["_bucket", "_count", "_sum"].contains(&p)),
                _ => part == Some(""),
            }
        })
    }

    /// The labels of a metric; `None`: no such metric.
    fn labels(&self, name: &str) -> Option<Vec<Label>> {
        let free = |key: &str| Label { key: key.to_owned(), values: None };
        let mut labels: Vec<_> = TARGET.map(free).into();
        if let Some(metric) = foreign(name) {
            labels.extend(metric.labels.iter().map(|key| free(key)));
            return Some(labels);
        }
        let row = self.row(name)?;
        labels.extend(name.ends_with("_bucket").then(|| free("le")));
        // Prometheus writes a dot as an underscore.
        let own = |label: &LabelRow| Label {
            key: label.key.replace('.', "_"),
            values: label.values.clone(),
        };
        labels.extend(row.labels.iter().map(own));
        Some(labels)
    }

    fn selector(&mut self, selector: &VectorSelector) {
        let name = selector.name.as_deref().unwrap_or_default();
        let Some(labels) = self.labels(name) else {
            self.problems.push(format!("{name:?} is no metric: take a name of docs/signals.md"));
            return;
        };
        let or_matchers = selector.matchers.or_matchers.iter().flatten();
        for matcher in selector.matchers.matchers.iter().chain(or_matchers) {
            let Some(label) = labels.iter().find(|label| label.key == matcher.name) else {
                self.unknown_label(name, &matcher.name);
                continue;
            };
            if let Some(values) = label.values.as_ref().filter(|all| !is_possible(matcher, all)) {
                self.problems.push(format!("{name}: {matcher} is never so: {values:?}"));
            }
        }
    }

    fn counts(&mut self, function: &str, selector: &VectorSelector) {
        let name = selector.name.as_deref().unwrap_or_default();
        let kind = foreign(name).map(|metric| metric.kind);
        if kind.or_else(|| Some(self.row(name)?.kind)) == Some(Kind::Gauge) {
            self.problems.push(format!("{function} of {name}: it is a gauge, not a counter"));
        }
    }

    fn grouping(&mut self, by: &[String], selectors: &[VectorSelector]) {
        let names = selectors.iter().filter_map(|selector| selector.name.as_deref());
        for name in names {
            let Some(labels) = self.labels(name) else { continue };
            for label in by.iter().filter(|by| !labels.iter().any(|label| label.key == **by)) {
                self.unknown_label(name, label);
            }
        }
    }

    fn unknown_label(&mut self, name: &str, label: &str) {
        self.problems.push(format!("{name} has no label {label}: see docs/signals.md"));
    }
}

/// Whether every value that a matcher names exists.
fn is_possible(matcher: &Matcher, values: &[&str]) -> bool {
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match &matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => values.contains(&matcher.value.as_str()),
        MatchOp::Re(pattern) | MatchOp::NotRe(pattern) => {
            let mut parts = matcher.value.split('|');
            if parts.clone().all(is_word) {
                parts.all(|part| values.contains(&part))
            } else {
                values.iter().any(|value| pattern.is_match(value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamhouse_observability::instruments::registry;

    #[test]
    fn what_does_not_exist_is_named_with_what_to_do() {
        let rows = registry().expect("the registry");
        for (query, told) in [
            (
                "rate(streamhouse_s3_throttles_total[5m])",
                "\"streamhouse_s3_throttles_total\" is no",
            ),
            ("streamhouse_producer_latency_seconds", "is no metric"),
            ("proces_uptime_seconds", "\"proces_uptime_seconds\" is no metric"),
            ("streamhouse_topics_total{job=\"a\",topic=\"b\"}", "has no label topic"),
            ("streamhouse_s3_errors_total{error=\"throttled\"}", "is never so"),
            ("streamhouse_s3_errors_total{error!=\"throttled\"}", "is never so"),
            ("streamhouse_s3_errors_total{error=~\"throttling|slow\"}", "is never so"),
            ("streamhouse_s3_errors_total{error=~\"slow.*\"}", "is never so"),
            ("rate(streamhouse_cache_size_bytes[5m])", "it is a gauge, not a counter"),
            ("sum by (topic) (streamhouse_s3_errors_total)", "has no label topic"),
            ("rate(otelcol_exporter_queue_size[5m])", "it is a gauge, not a counter"),
            ("otelcol_exporter_sent_spans", "is no metric"),
            ("sum(", "is no PromQL"),
        ] {
            let wrong = check(query, &rows);
            assert!(wrong.len() == 1 && wrong[0].contains(told), "{query}: {wrong:?}");
        }
    }

    #[test]
    fn what_exists_is_fine() {
        let rows = registry().expect("the registry");
        for query in [
            "up{job=\"a\"} == 0 or absent(up{job=\"a\"})",
            "histogram_quantile(0.99, sum by (le) (rate(streamhouse_producer_latency_seconds_bucket\
             {outcome=\"ok\"}[5m])))",
            "sum by (cpu_mode) (rate(process_cpu_time_seconds_total{cpu_mode=\"user\"}[5m]))",
            "streamhouse_s3_errors_total{error=~\"throttling|timeout\",operation!=\"put\"}",
            "streamhouse_s3_errors_total{error=~\"t.*\"}",
            "sum by (exporter) (rate(otelcol_exporter_sent_spans_total{job=\"otelcol\"}[5m]))",
        ] {
            assert_eq!(check(query, &rows), Vec::<String>::new(), "{query}");
        }
    }
}
