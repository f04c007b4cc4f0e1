//! The queries of a panel, from its source and the registry.

use super::metric::Metric;
use super::source::{Draw, Only, Panel, Series, Variable};
use super::statistic::{Statistic, ratio};
use super::unit::unit;
use std::sync::Arc;
use streamhouse_observability::declare::Row;

/// What a panel asks Prometheus, and what is known of the answer.
#[derive(Clone, Debug)]
pub struct Queries {
    /// One query for each metric and statistic.
    pub targets: Vec<Target>,
    /// The unit of all of them, as Grafana calls it.
    pub unit: String,
    /// What the panel shows, in sentences.
    pub description: String,
}

/// One query.
#[derive(Clone, Debug)]
pub struct Target {
    /// The PromQL, variables included.
    pub expr: String,
    /// What its lines are called, labels included.
    pub legend: String,
    /// What sets it apart from the panel's other queries.
    pub name: String,
    /// What it computes.
    pub statistic: Statistic,
}

/// The queries of `panel` on a board with `variables`.
///
/// # Errors
/// Metrics, labels and values that do not exist, statistics that do not fit, units that differ.
pub fn queries(
    panel: &Panel,
    variables: &[Variable],
    rows: &[Arc<Row>],
) -> Result<Queries, String> {
    let series = panel.metric.as_slice();
    let metrics: Vec<_> =
        series.iter().map(|one| Metric::find(one.metric(), rows)).collect::<Result<_, _>>()?;
    if panel.show.is_empty() || metrics.is_empty() {
        return Err("name a metric and what to `show` of it".into());
    }
    if panel.over.is_empty() == panel.show.contains(&Statistic::Ratio) {
        return Err("`over` says what a ratio is a share of: give both or none".into());
    }
    if panel.show.contains(&Statistic::Buckets) != (panel.draw == Draw::Heatmap) {
        return Err("buckets are drawn as a heatmap: give `draw = \"heatmap\"` with them".into());
    }
    let names = names(series, &metrics);
    let (mut targets, mut units) = (Vec::new(), Vec::new());
    for ((one, metric), name) in series.iter().zip(&metrics).zip(&names) {
        let by: Vec<_> = panel.by.iter().map(|key| metric.label(key)).collect::<Result<_, _>>()?;
        for statistic in &panel.show {
            statistic.fits(metric)?;
            units.push(unit(*statistic, metric));
            let part = expr(*statistic, one, metric, &by, panel, variables)?;
            let expr = match statistic {
                Statistic::Ratio => ratio(&part, &whole(&by, panel, variables, rows)?),
                _ => part,
            };
            let expr = limited(panel, expr)?;
            let name = own_name(name.as_deref(), *statistic, panel);
            let legend = legend(&name, &by, panel);
            targets.push(Target { expr, legend, name, statistic: *statistic });
        }
    }
    if let Some(other) = units.iter().find(|unit| **unit != units[0]) {
        return Err(format!("{} and {other} share no axis: make two panels of it", units[0]));
    }
    let description = description(panel, &metrics);
    Ok(Queries { targets, unit: units.swap_remove(0), description })
}

fn expr(
    statistic: Statistic,
    series: &Series,
    metric: &Metric,
    by: &[String],
    panel: &Panel,
    variables: &[Variable],
) -> Result<String, String> {
    let part = series.part().map(|part| &part.only);
    let only: Vec<&Only> = [&panel.only].into_iter().chain(part).collect();
    Ok(statistic.query(metric, &metric.selector(variables, &only)?, by))
}

/// The largest or smallest of the lines, if not all are wanted.
fn limited(panel: &Panel, expr: String) -> Result<String, String> {
    match (panel.top, panel.least) {
        (None, None) => Ok(expr),
        (Some(top), None) => Ok(format!("topk({top}, {expr})")),
        (None, Some(least)) => Ok(format!("bottomk({least}, {expr})")),
        (Some(_), Some(_)) => Err("`top` and `least` contradict each other: give one".into()),
    }
}

/// What a ratio is a share of: `where` narrows it only where it says so itself.
fn whole(
    by: &[String],
    panel: &Panel,
    variables: &[Variable],
    rows: &[Arc<Row>],
) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for one in &panel.over {
        let metric = Metric::find(one.metric(), rows)?;
        Statistic::Ratio.fits(&metric)?;
        for key in &panel.by {
            metric.label(key)?;
        }
        let only: Vec<&Only> = one.part().map(|part| &part.only).into_iter().collect();
        let selector = metric.selector(variables, &only)?;
        all.push(Statistic::Ratio.query(&metric, &selector, by));
    }
    Ok(all)
}

/// What each metric of a panel is called; a single one needs no name.
fn names(series: &[Series], metrics: &[Metric]) -> Vec<Option<String>> {
    let words = |metric: &Metric, count: usize| {
        let words: Vec<&str> = metric.name.split('.').collect();
        words[words.len().saturating_sub(count)..].join(" ").replace('_', " ")
    };
    let short: Vec<String> = metrics.iter().map(|metric| words(metric, 1)).collect();
    let is_clear = (1..short.len()).all(|place| !short[..place].contains(&short[place]));
    let count = if is_clear { 1 } else { 2 };
    series
        .iter()
        .zip(metrics)
        .map(|(one, metric)| match one.part().and_then(|part| part.name.clone()) {
            Some(name) => Some(name),
            None => (series.len() > 1).then(|| words(metric, count)),
        })
        .collect()
}

fn own_name(metric: Option<&str>, statistic: Statistic, panel: &Panel) -> String {
    let statistic = (panel.show.len() > 1).then(|| statistic.as_str());
    metric.into_iter().chain(statistic).collect::<Vec<_>>().join(" ")
}

fn legend(name: &str, by: &[String], panel: &Panel) -> String {
    if panel.draw == Draw::Heatmap {
        return "{{le}}".into();
    }
    let labels = by.iter().map(|label| format!("{{{{{label}}}}}"));
    let parts: Vec<_> = labels.chain((!name.is_empty()).then(|| name.to_owned())).collect();
    if parts.is_empty() { panel.title.clone() } else { parts.join(" ") }
}

fn description(panel: &Panel, metrics: &[Metric]) -> String {
    let mut sentences: Vec<&str> = Vec::new();
    for metric in metrics {
        if !sentences.contains(&metric.help.as_str()) {
            sentences.push(&metric.help);
        }
    }
    let help = match &sentences[..] {
        [one] => (*one).to_owned(),
        _ => sentences.iter().map(|one| format!("- {one}\n")).collect(),
    };
    let mut names: Vec<_> =
        metrics.iter().map(|metric| format!("`{}`", metric.prometheus)).collect();
    names.dedup();
    let note = panel.note.iter().cloned();
    let parts = [help.trim_end().to_owned()].into_iter().chain(note);
    parts.chain([names.join(", ")]).collect::<Vec<_>>().join("\n\n")
}
