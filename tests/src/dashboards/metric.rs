//! A metric as a panel sees it, whoever records it.

use super::source::{OneOrMany, Only, Variable};
use crate::promql::{TARGET, foreign};
use std::sync::Arc;
use streamhouse_observability::declare::{Kind, LabelRow, Row};

/// A metric that exists.
#[derive(Clone, Debug)]
pub struct Metric {
    /// What the source calls it.
    pub name: String,
    /// What Prometheus calls it.
    pub prometheus: String,
    /// How it behaves.
    pub kind: Kind,
    /// Its unit.
    pub unit: &'static str,
    /// What it measures.
    pub help: String,
    labels: Vec<LabelRow>,
    /// Which of its series a board asks for.
    scope: String,
}

impl Metric {
    /// Finds the metric that a source calls `name`: ours by their OpenTelemetry names, others by
    /// what Prometheus calls them.
    ///
    /// # Errors
    /// A metric that does not exist.
    pub fn find(name: &str, rows: &[Arc<Row>]) -> Result<Self, String> {
        if let Some(row) = rows.iter().find(|row| row.name == name) {
            return Ok(Self::of(row));
        }
        if let Some(other) = foreign(name) {
            let label = |key: &&'static str| LabelRow { key, values: None };
            return Ok(Self {
                name: name.into(),
                prometheus: name.into(),
                kind: other.kind,
                unit: other.unit,
                help: other.help.into(),
                labels: other.labels.iter().map(label).collect(),
                scope: other.selector.into(),
            });
        }
        Err(match rows.iter().find(|row| row.prometheus_name() == name) {
            Some(row) => format!("write {name:?} as {:?}, its OpenTelemetry name", row.name),
            None => format!(
                "there is no metric {name:?}: take an OpenTelemetry name of docs/signals.md, or \
                 declare another's metric in tests/src/promql/foreign.rs"
            ),
        })
    }

    fn of(row: &Row) -> Self {
        Self {
            name: row.name.to_string(),
            prometheus: row.prometheus_name(),
            kind: row.kind,
            unit: row.unit,
            // A doc comment of several lines is one text.
            help: row.help.split_whitespace().collect::<Vec<_>>().join(" "),
            labels: row.labels.clone(),
            scope: "job=\"$job\",instance=~\"$instance\"".into(),
        }
    }

    /// Which label Prometheus knows as what the source calls `key`.
    ///
    /// # Errors
    /// A label that the metric does not have.
    pub fn label(&self, key: &str) -> Result<String, String> {
        self.find_label(key)?;
        Ok(prometheus_key(key))
    }

    fn find_label(&self, key: &str) -> Result<Option<&LabelRow>, String> {
        let own = self.labels.iter().find(|label| label.key == key);
        if own.is_some() || TARGET.contains(&key) {
            return Ok(own);
        }
        let keys: Vec<_> = self.labels.iter().map(|label| label.key).chain(TARGET).collect();
        Err(format!("{} has no label {key:?}: it has {}", self.name, keys.join(", ")))
    }

    /// The braces behind its name: the board's scope, its variables, and what is shown alone.
    ///
    /// # Errors
    /// Labels and values that the metric does not have.
    pub fn selector(&self, variables: &[Variable], only: &[&Only]) -> Result<String, String> {
        let mut matchers = vec![self.scope.clone()];
        for variable in variables {
            let key = variable.key();
            let is_own = self.labels.iter().any(|label| label.key == key);
            matchers.extend(is_own.then(|| format!("{key}=~\"${key}\"")));
        }
        for (key, values) in only.iter().flat_map(|only| only.iter()) {
            matchers.push(self.matcher(key, values)?);
        }
        Ok(format!("{{{}}}", matchers.join(",")))
    }

    fn matcher(&self, key: &str, values: &OneOrMany<String>) -> Result<String, String> {
        let known = self.find_label(key)?.and_then(|label| label.values.as_deref());
        let values = values.as_slice();
        for value in values {
            if let Some(all) = known.filter(|all| !all.contains(&value.as_str())) {
                let all = all.join(", ");
                return Err(format!("{}: {key} is never {value:?}: it is {all}", self.name));
            }
        }
        let key = prometheus_key(key);
        Ok(match values {
            [one] => format!("{key}=\"{one}\""),
            all => format!("{key}=~\"{}\"", all.join("|")),
        })
    }
}

/// Prometheus writes a dot as an underscore.
fn prometheus_key(key: &str) -> String {
    key.replace('.', "_")
}
