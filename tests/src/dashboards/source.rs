//! What a person writes: `dashboards/src/<board>.toml`.

use super::statistic::Statistic;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A board.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name in Grafana.
    pub title: String,
    /// What it answers.
    pub about: String,
    /// What it can be narrowed to beside job and instance.
    #[serde(default)]
    pub variables: Vec<Variable>,
    /// Its sections, from above.
    #[serde(rename = "section")]
    pub sections: Vec<Section>,
}

/// What a board can be narrowed to.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Variable {
    /// One or more topics.
    Topic,
    /// One or more consumer groups.
    Group,
}

/// Panels below a common heading.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// The panels, from left to right.
    #[serde(rename = "panel")]
    pub panels: Vec<Panel>,
}

/// A panel. All but the first few options are rare.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Its title, which no other panel of the board has.
    pub title: String,
    /// Its metric, or several that share a unit.
    pub metric: OneOrMany<Series>,
    /// The statistics of each metric that are shown.
    pub show: Vec<Statistic>,
    /// The labels that tell its lines apart.
    #[serde(default)]
    pub by: Vec<String>,
    /// Label values that are shown alone.
    #[serde(default, rename = "where")]
    pub only: Only,
    /// What a ratio is a share of; several are added.
    #[serde(default)]
    pub over: Vec<Series>,
    /// How many of the largest lines are shown; all, if it is not given.
    pub top: Option<u32>,
    /// How many of the smallest lines are shown.
    pub least: Option<u32>,
    /// How it is drawn; lines over time, if it is not given.
    #[serde(default)]
    pub draw: Draw,
    /// Columns of 24, and units of height.
    pub size: Option<(u32, u32)>,
    /// From here on it is orange.
    pub warn: Option<f64>,
    /// From here on it is red.
    pub bad: Option<f64>,
    /// From here on it is green, and red below `warn`.
    pub good: Option<f64>,
    /// Words for values.
    #[serde(default)]
    pub words: BTreeMap<String, String>,
    /// What its description says beside the metric's own.
    pub note: Option<String>,
    /// What it says when there is nothing to show.
    pub empty: Option<String>,
    /// Whether its series begin to exist only with a failure that not every test causes.
    #[serde(default)]
    pub rare: bool,
    /// The span that measures the same, whose traces it links.
    pub span: Option<String>,
}

/// Label keys, and the values that are shown.
pub type Only = BTreeMap<String, OneOrMany<String>>;

/// A metric, or a part of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Series {
    /// All of it.
    Whole(String),
    /// Some of it.
    Part(Part),
}

/// A part of a metric.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The metric.
    pub metric: String,
    /// Label values that are shown alone, beside the panel's own.
    #[serde(default, rename = "where")]
    pub only: Only,
    /// What its line is called.
    pub name: Option<String>,
}

/// One, or a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// As a list.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }
}

impl Series {
    /// The metric's name.
    pub fn metric(&self) -> &str {
        match self {
            Self::Whole(metric) => metric,
            Self::Part(part) => &part.metric,
        }
    }

    /// The part, if it is one.
    pub fn part(&self) -> Option<&Part> {
        match self {
            Self::Whole(_) => None,
            Self::Part(part) => Some(part),
        }
    }
}

/// How a panel is drawn.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Draw {
    /// Lines over time.
    #[default]
    Lines,
    /// Areas over time, one on the other.
    Stack,
    /// Buckets over time.
    Heatmap,
    /// The last value, large.
    Stat,
    /// The last values, one row each.
    Table,
}
