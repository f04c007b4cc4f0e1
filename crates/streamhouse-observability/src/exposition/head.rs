//! The formats of `/metrics`, and the lines that head a family in each.

use crate::declare::{Kind, unit_word};

/// A format of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What identifies a family: its name, its kind, and its first lines.
#[derive(Debug)]
pub(super) struct Head {
    /// The name as it stands on a counter's or gauge's lines.
    pub(super) name: String,
    pub(super) kind: Kind,
    text: String,
    open_metrics: String,
}

impl Head {
    pub(super) fn new(name: String, kind: Kind, help: &str, unit: &str) -> Self {
        let mut head = Self { name, kind, text: String::new(), open_metrics: String::new() };
        let (family, kind) = (head.family(), kind.as_str());
        let escaped = help.replace('\\', "\\\\").replace('\n', "\\n");
        let (mut text, mut open_metrics) = (String::new(), String::new());
        if !help.is_empty() {
            text = format!("# HELP {} {escaped}\n", head.name);
            open_metrics = format!("# HELP {family} {}\n", escaped.replace('"', "\\\""));
        }
        text += &format!("# TYPE {} {kind}\n", head.name);
        open_metrics += &format!("# TYPE {family} {kind}\n");
        let word = unit_word(unit);
        if family.strip_suffix(word).is_some_and(|rest| rest.ends_with('_')) && !word.is_empty() {
            open_metrics += &format!("# UNIT {family} {word}\n");
        }
        (head.text, head.open_metrics) = (text, open_metrics);
        head
    }

    /// The lines before the samples.
    pub(super) fn lines(&self, format: Format) -> &str {
        match format {
            Format::Text => &self.text,
            Format::OpenMetrics => &self.open_metrics,
        }
    }

    /// Every name that the family takes: no other family may have one of them.
    pub(super) fn claims(&self) -> Vec<String> {
        let suffixes: &[&str] = match self.kind {
            Kind::Counter => &["", "_total"],
            Kind::Gauge => &[""],
            Kind::Histogram => &["", "_bucket", "_sum", "_count"],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", self.family())).collect()
    }

    /// OpenMetrics names a family of counters without `_total`.
    fn family(&self) -> &str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(&self.name),
            Kind::Gauge | Kind::Histogram => &self.name,
        }
    }
}
