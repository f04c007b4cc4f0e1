//! A board as Grafana's classic model has it: variables, annotations, and panels in a grid.

use super::links;
use super::metric::Metric;
use super::panel;
use super::query::{Queries, queries};
use super::source::{Panel, Source, Variable};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use streamhouse_observability::declare::Row;

/// The version of the classic model.
const SCHEMA: u32 = 42;
/// How many columns the grid has.
const COLUMNS: u32 = 24;
/// The job that a board shows at first: exemplars exist there alone.
pub const JOB: &str = "streamhouse-scrape";
/// The series that is there as soon as an agent is.
const ALWAYS: &str = "streamhouse.build.info";
/// Firing alerts, whichever of StreamHouse's jobs they read.
const FIRING: &str = "ALERTS{alertstate=\"firing\",job=~\"streamhouse.*\"}";
/// An uptime falls when an agent starts anew. The range follows the step, so that none is missed.
const RESTARTS: &str =
    "resets(process_uptime_seconds{job=\"$job\",instance=~\"$instance\"}[$__rate_interval]) > 0";

impl Variable {
    /// The label that it narrows, which is also its name.
    pub fn key(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Group => "group",
        }
    }

    /// A metric whose series have all its values.
    fn metric(self) -> &'static str {
        match self {
            Self::Topic => "streamhouse.producer.records",
            Self::Group => "streamhouse.group.members",
        }
    }
}

/// A variable whose values Prometheus knows.
#[derive(Clone, Debug)]
pub struct Values {
    /// Its name, which is also the label whose values it has.
    pub name: &'static str,
    /// The series that carry the label.
    pub series: String,
}

/// A rendered board, and what it asks.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The JSON that Grafana is given.
    pub json: Value,
    /// Each panel and its queries.
    pub panels: Vec<(Panel, Queries)>,
    /// The variables with values from Prometheus.
    pub variables: Vec<Values>,
    /// Names of annotations and what they ask.
    pub annotations: Vec<(&'static str, &'static str)>,
}

/// Renders the board `name` from its source.
///
/// # Errors
/// The panel and what is wrong with it.
pub fn render(name: &str, source: &Source, rows: &[Arc<Row>]) -> Result<Rendered, String> {
    let mut grid = Grid::default();
    let (mut all, mut json_panels) = (Vec::<(Panel, Queries)>::new(), Vec::new());
    for section in &source.sections {
        json_panels.push(grid.heading(&section.title));
        for panel in &section.panels {
            let named = |error: String| format!("{name}.toml, panel {:?}: {error}", panel.title);
            if all.iter().any(|(other, _)| other.title == panel.title) {
                return Err(named(
                    "another panel has this title: give one of them a new one".into(),
                ));
            }
            let queries = queries(panel, &source.variables, rows).map_err(named)?;
            let json = panel::render(panel, &queries).map_err(named)?;
            json_panels.push(grid.place(json, panel::size(panel)).map_err(named)?);
            all.push((panel.clone(), queries));
        }
    }
    let variables = variables(source, rows)?;
    let annotations = vec![("Firing alerts", FIRING), ("Restarts", RESTARTS)];
    let json = json!({
        "id": null,
        "uid": format!("streamhouse-{name}"),
        "title": source.title,
        "description": source.about,
        "tags": [links::TAG],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": false,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "liveNow": false,
        "preload": false,
        "timepicker": {},
        "links": links::boards(),
        "annotations": {"list": annotations.iter().map(annotation).collect::<Vec<_>>()},
        "templating": {"list": templating(&variables)},
        "panels": json_panels,
    });
    Ok(Rendered { json, panels: all, variables, annotations })
}

/// Panels from left to right, a new line where one does not fit.
#[derive(Default)]
struct Grid {
    x: u32,
    y: u32,
    line: u32,
    count: u32,
}

impl Grid {
    fn heading(&mut self, title: &str) -> Value {
        self.end_line();
        let at = json!({"x": 0, "y": self.y, "w": COLUMNS, "h": 1});
        self.y += 1;
        json!({"type": "row", "id": self.id(), "title": title, "collapsed": false, "panels": [],
            "gridPos": at})
    }

    fn place(&mut self, mut panel: Map<String, Value>, size: (u32, u32)) -> Result<Value, String> {
        let (width, height) = size;
        if width == 0 || width > COLUMNS || height == 0 {
            return Err(format!(
                "`size` = [{width}, {height}]: give 1 to {COLUMNS} columns and a height"
            ));
        }
        if self.x + width > COLUMNS {
            self.end_line();
        }
        panel.insert("gridPos".into(), json!({"x": self.x, "y": self.y, "w": width, "h": height}));
        panel.insert("id".into(), json!(self.id()));
        self.x += width;
        self.line = self.line.max(height);
        Ok(Value::Object(panel))
    }

    fn end_line(&mut self) {
        self.y += self.line;
        (self.x, self.line) = (0, 0);
    }

    fn id(&mut self) -> u32 {
        self.count += 1;
        self.count
    }
}

fn variables(source: &Source, rows: &[Arc<Row>]) -> Result<Vec<Values>, String> {
    let always = Metric::find(ALWAYS, rows)?.prometheus;
    let job = Values { name: "job", series: always.clone() };
    let instance = Values { name: "instance", series: format!("{always}{{job=\"$job\"}}") };
    let mut all = vec![job, instance];
    for variable in &source.variables {
        let metric = Metric::find(variable.metric(), rows)?;
        let series = format!("{}{}", metric.prometheus, metric.selector(&[], &[])?);
        all.push(Values { name: variable.key(), series });
    }
    Ok(all)
}

fn templating(variables: &[Values]) -> Vec<Value> {
    let datasource = json!({
        "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
        "current": {"text": "Prometheus", "value": "prometheus"}, "regex": "", "refresh": 1,
        "hide": 0, "includeAll": false, "multi": false, "options": [], "skipUrlSync": false,
    });
    [datasource].into_iter().chain(variables.iter().map(query_variable)).collect()
}

fn query_variable(variable: &Values) -> Value {
    let query = format!("label_values({}, {})", variable.series, variable.name);
    // The same numbers arrive by two jobs: one at a time, or every sum is doubled.
    let is_job = variable.name == "job";
    let current = if is_job {
        json!({"text": JOB, "value": JOB})
    } else {
        json!({"text": ["All"], "value": ["$__all"]})
    };
    let mut json = json!({
        "type": "query", "name": variable.name, "label": variable.name,
        "datasource": panel::datasource(), "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "current": current, "includeAll": !is_job, "multi": !is_job, "regex": "", "refresh": 2,
        "sort": 1, "hide": 0, "options": [], "skipUrlSync": false,
    });
    if !is_job {
        json["allValue"] = json!(all_value(variable.name));
    }
    json
}

/// What "All" stands for. There may be no topic yet, and then All must match that.
pub fn all_value(variable: &str) -> &'static str {
    if variable == "instance" { ".+" } else { ".*" }
}

fn annotation((name, expr): &(&'static str, &'static str)) -> Value {
    let (color, title, text) = match *name {
        "Restarts" => ("blue", "Started", "{{instance}}"),
        _ => ("red", "{{alertname}}", "{{severity}} {{instance}}"),
    };
    // Newer versions of Grafana read the target, older ones what stands beside it.
    json!({
        "target": {"refId": "Anno", "expr": expr, "interval": "60s"},
        "name": name, "enable": true, "hide": false, "iconColor": color,
        "datasource": panel::datasource(), "expr": expr, "step": "60s",
        "titleFormat": title, "textFormat": text, "tagKeys": "severity", "useValueForTime": false,
    })
}
