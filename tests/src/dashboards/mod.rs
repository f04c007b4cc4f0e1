//! Boards: rendered from `dashboards/src/*.toml` and the registry into `dashboards/boards/*.json`.
//!
//! A source names signals and statistics; unit, axis, description, PromQL and place are made here,
//! so that they cannot differ from what is recorded. [`boards`] renders all that lie in the
//! repository, [`queries`] lists what they ask Prometheus.

mod source; //    what a person writes
mod metric; //    a metric, whoever records it
mod statistic; // what is shown of it, and the PromQL
mod unit; //      what Grafana calls its unit
mod query; //     the queries of a panel
mod links; //     from board to board, trace and log record
mod panel; //     a panel's JSON
mod board; //     a board's JSON
#[cfg(test)]
mod tests;

pub use board::JOB;

use crate::compose::root;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use streamhouse_observability::declare::Row;
use streamhouse_observability::instruments::registry;

/// A board and all that it asks.
#[derive(Clone, Debug)]
pub struct Board {
    /// The name of its files.
    pub name: String,
    /// What Grafana is given.
    pub json: Value,
    /// What it asks Prometheus, with Grafana's variables.
    pub queries: Vec<Query>,
}

/// Something that a board asks.
#[derive(Clone, Debug)]
pub struct Query {
    /// The board.
    pub board: String,
    /// Which part of it asks: a panel, a variable, an annotation.
    pub asker: Asker,
    /// The PromQL.
    pub expr: String,
    /// Whether it may have no answer although StreamHouse is at work and faults have happened: its
    /// series begin to exist with a failure of another kind.
    pub may_be_empty: bool,
}

/// The part of a board that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The panel of this title.
    Panel(String),
    /// The variable of this name: asked is for the values of the label of the same name.
    Variable(&'static str),
    /// The annotation of this name.
    Annotation(&'static str),
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let board = &self.board;
        match &self.asker {
            Asker::Panel(title) => write!(f, "{board}, panel {title:?}: {}", self.expr),
            Asker::Variable(name) => write!(f, "{board}, variable {name}: {}", self.expr),
            Asker::Annotation(name) => write!(f, "{board}, annotation {name:?}: {}", self.expr),
        }
    }
}

/// Renders the board `name` from the text of its source.
///
/// # Errors
/// Text that is no source, and whatever a panel names that does not exist or does not fit; each
/// error says where and what to do.
pub fn render(name: &str, text: &str, rows: &[Arc<Row>]) -> Result<Board, String> {
    let source: source::Source =
        toml::from_str(text).map_err(|error| format!("{name}.toml: {error}"))?;
    let rendered = board::render(name, &source, rows)?;
    let ask = |asker, expr: &str, may_be_empty| Query {
        board: name.to_owned(),
        asker,
        expr: expr.to_owned(),
        may_be_empty,
    };
    let mut queries = Vec::new();
    for variable in &rendered.variables {
        let expr = format!("group by ({}) ({})", variable.name, variable.series);
        queries.push(ask(Asker::Variable(variable.name), &expr, false));
    }
    for (panel, asked) in &rendered.panels {
        let asker = Asker::Panel(panel.title.clone());
        queries.extend(asked.targets.iter().map(|one| ask(asker.clone(), &one.expr, panel.rare)));
    }
    for (name, expr) in &rendered.annotations {
        queries.push(ask(Asker::Annotation(name), expr, true));
    }
    Ok(Board { name: name.to_owned(), json: rendered.json, queries })
}

/// Renders every board of `dashboards/src`, in the order of their names.
///
/// # Errors
/// As [`render`], and files that cannot be read.
pub fn boards() -> Result<Vec<Board>, String> {
    let rows = registry().map_err(|error| error.to_string())?;
    let mut boards = Vec::new();
    for (name, path) in sources()? {
        let text =
            std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        boards.push(render(&name, &text, &rows)?);
    }
    Ok(boards)
}

/// All that the boards ask, as Grafana would ask it with every variable at "All": for `job`, with
/// `interval`, such as `30s`, as the range of every rate.
///
/// # Errors
/// As [`boards`].
pub fn queries(job: &str, interval: &str) -> Result<Vec<Query>, String> {
    let all = boards()?.into_iter().flat_map(|board| board.queries);
    Ok(all.map(|one| Query { expr: substitute(&one.expr, job, interval), ..one }).collect())
}

/// Puts values in the place of Grafana's variables.
pub fn substitute(expr: &str, job: &str, interval: &str) -> String {
    let expr = expr.replace("$__rate_interval", interval).replace("$job", job);
    ["instance", "topic", "group"].iter().fold(expr, |expr, variable| {
        expr.replace(&format!("${variable}"), board::all_value(variable))
    })
}

/// What a board's file holds.
pub fn text(board: &Board) -> String {
    format!("{:#}\n", board.json)
}

/// The sources, by their names.
fn sources() -> Result<Vec<(String, PathBuf)>, String> {
    let folder = root().join("dashboards/src");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        .collect();
    found.sort();
    Ok(found)
}
