//! What client telemetry is told: which metrics, of whom, how often, how much.

use std::time::Duration;

/// Settings of client telemetry. `Default` gives the documented defaults.
#[derive(Clone, Debug)]
pub struct ClientTelemetryConfig {
    /// Prefixes of the metrics asked for; an empty prefix asks for all, no prefix for none.
    /// Default: all.
    pub metrics: Vec<String>,
    /// Time from one push of a client to its next. Default 60 s.
    pub interval: Duration,
    /// Which clients are asked, by client id. Default: all.
    pub client_ids: Vec<Pattern>,
    /// Which clients are asked, by the name of their library. Default: all.
    pub software: Vec<Pattern>,
    /// The largest push in bytes, before and after decompression. Default 1 MiB.
    pub max_push_bytes: usize,
    /// Series (data points) in one push, and those of one client instance for as long as it is
    /// known: data points of further ones are left out. Default 2,000.
    pub max_series: usize,
    /// Client instances known at a time; further ones have no subscription. An instance is
    /// forgotten after three intervals of silence. Default 4,096.
    pub max_instances: usize,
    /// Client instances that were not known before, in any hour. Default 10,000.
    pub new_instances_per_hour: usize,
}

impl Default for ClientTelemetryConfig {
    fn default() -> Self {
        Self {
            metrics: vec![String::new()],
            interval: Duration::from_secs(60),
            client_ids: vec![Pattern::new("*")],
            software: vec![Pattern::new("*")],
            max_push_bytes: 1 << 20,
            max_series: 2_000,
            max_instances: 4_096,
            new_instances_per_hour: 10_000,
        }
    }
}

/// A name in which `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern that `text` writes.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether any of `patterns` matches `name`.
    pub fn any(patterns: &[Self], name: &str) -> bool {
        patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether the whole of `name` is what the pattern writes.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut left) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return left.is_empty() };
        // The leftmost place of each part leaves the most for those after it.
        for part in parts {
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(last)
    }
}
