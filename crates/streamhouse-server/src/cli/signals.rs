//! `streamhouse signals`: what the server measures.

use super::output::{Failure, Output, OutputFlag};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;
use streamhouse_observability::declare::{Kind, LabelRow, Row};
use streamhouse_observability::instruments::registry;
use streamhouse_observability::spans::SPANS;

const EXAMPLE: &str = "Example:
  streamhouse signals --format markdown > docs/signals.md";

/// Lists every metric and span: name, kind, unit, labels and meaning
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(super) struct Signals {
    /// What the list looks like
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for a terminal
    Table,
    /// The reference page docs/signals.md
    Markdown,
    /// One JSON document, docs/signals.json
    Json,
}

impl Signals {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let rows = registry().map_err(|error| Failure::Failed(error.to_string()))?;
        let text = match self.format {
            Format::Json => registry_json(&rows),
            _ if output.is_json() => registry_json(&rows),
            Format::Markdown => registry_markdown(&rows),
            Format::Table => table(&rows),
        };
        output.bytes(text.as_bytes())
    }
}

fn table(rows: &[Arc<Row>]) -> String {
    let names: Vec<_> = rows.iter().map(|row| row.prometheus_name()).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let mut out = String::new();
    for (row, name) in rows.iter().zip(&names) {
        let keys: Vec<_> = row.labels.iter().map(|label| label.key).collect();
        let (kind, unit, keys) = (row.kind.as_str(), row.unit, keys.join(","));
        let _ = writeln!(out, "{name:width$}  {kind:9}  {unit:17}  {keys:20}  {}", one_line(row));
    }
    for span in SPANS {
        let (name, keys) = (span.name, span.attributes.join(","));
        let _ =
            writeln!(out, "{name:width$}  span       {:17}  {keys:20}  {}", span.kind, span.help);
    }
    out
}

/// The reference page of all metrics and spans.
pub fn registry_markdown(rows: &[Arc<Row>]) -> String {
    let mut out = String::from(
        "# Signals\n\nEvery metric and span of StreamHouse, as `streamhouse signals --format markdown` \
         prints it. This page is generated: change the tables in \
         `crates/streamhouse-observability/src/instruments` and run `UPDATE=1 cargo test`.\n",
    );
    let mut area = String::new();
    for row in rows {
        let this = row.name.rsplit_once('.').map_or(&*row.name, |(area, _)| area);
        if this != area {
            area = this.to_owned();
            let _ = write!(out, "\n## {area}\n\n");
            out.push_str(
                "| Prometheus name | OpenTelemetry name | kind | unit | series | meaning |\n",
            );
            out.push_str("|---|---|---|---|---|---|\n");
        }
        let name = row.prometheus_name();
        let (otel, kind, unit, series) = (&row.name, row.kind.as_str(), row.unit, row.series);
        let mut meaning = one_line(row);
        for label in &row.labels {
            let _ = write!(meaning, "<br>`{}`: {}", label.key, values(label));
        }
        let _ = writeln!(out, "| `{name}` | `{otel}` | {kind} | `{unit}` | {series} | {meaning} |");
    }
    out.push_str("\n## Spans\n\n| name | kind | attributes | meaning |\n|---|---|---|---|\n");
    for span in SPANS {
        let attributes: Vec<_> = span.attributes.iter().map(|key| format!("`{key}`")).collect();
        let (name, kind, attributes) = (span.name, span.kind, attributes.join(", "));
        let _ = writeln!(out, "| `{name}` | {kind} | {attributes} | {} |", span.help);
    }
    out
}

fn values(label: &LabelRow) -> String {
    let quoted = |values: &Vec<&str>| {
        values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
    };
    label.values.as_ref().map_or_else(|| "any".into(), quoted)
}

/// The same as one JSON document.
pub fn registry_json(rows: &[Arc<Row>]) -> String {
    let metrics: Vec<Value> = rows.iter().map(|row| row_json(row)).collect();
    let spans: Vec<Value> = SPANS
        .iter()
        .map(|span| {
            json!({
                "name": span.name,
                "kind": span.kind,
                "attributes": span.attributes,
                "help": span.help,
            })
        })
        .collect();
    let document = json!({ "metrics": metrics, "spans": spans });
    format!("{document:#}\n")
}

fn row_json(row: &Row) -> Value {
    let labels: Vec<Value> = row
        .labels
        .iter()
        .map(|label| json!({ "key": label.key, "values": label.values }))
        .collect();
    let mut json = json!({
        "name": row.name,
        "prometheus_name": row.prometheus_name(),
        "kind": row.kind.as_str(),
        "unit": row.unit,
        "help": one_line(row),
        "labels": labels,
        "series": row.series,
    });
    if row.kind == Kind::Histogram {
        json["bounds"] = json!(row.bounds);
    }
    json
}

fn one_line(row: &Row) -> String {
    row.help.split_whitespace().collect::<Vec<_>>().join(" ")
}
