//! Rows: what the registry knows about an instrument.

use super::label::LabelRow;
use super::name::prometheus_name;
use std::borrow::Cow;

/// Bounds of every histogram of seconds.
pub const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds of every histogram of counts: steps of 1-2-5.
pub const COUNTS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0];
/// Bounds of every histogram of bytes: powers of four from 1 KiB to 16 MiB.
pub const BYTES: &[f64] =
    &[1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// How an instrument behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size.
    Histogram,
}

impl Kind {
    /// The word for the kind in Prometheus' `# TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One instrument: everything that is known about it, written once.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The OpenTelemetry name.
    pub name: Cow<'static, str>,
    /// What it measures: the doc comment of its declaration.
    pub help: &'static str,
    /// The UCUM unit, or an annotation such as `{record}`.
    pub unit: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// The upper bounds of a histogram's buckets; empty for other kinds.
    pub bounds: &'static [f64],
    /// How many series it may have. Closed labels give it by themselves.
    pub series: usize,
    /// Its labels, in their fixed order.
    pub labels: Vec<LabelRow>,
}

impl Row {
    /// The name on `/metrics`, which is also what the collector and Prometheus derive over OTLP.
    pub fn prometheus_name(&self) -> String {
        prometheus_name(&self.name, self.unit, self.kind)
    }
}
