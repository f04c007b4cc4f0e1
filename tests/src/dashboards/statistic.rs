//! Statistics: what is shown of a metric, which kinds have it, and the PromQL that computes it.

use super::metric::Metric;
use serde::Deserialize;
use streamhouse_observability::declare::Kind;

/// What is shown of a metric.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Statistic {
    /// A counter's or histogram's events in a second.
    Rate,
    /// A counter's or histogram's events in a step of the panel.
    Increase,
    /// A share of something else: `over` says of what.
    Ratio,
    /// A gauge, added up.
    Value,
    /// The largest of a gauge's series.
    Max,
    /// The smallest of a gauge's series.
    Min,
    /// How much a gauge grows in a second, where it grows most; less than 0 while it shrinks.
    Growth,
    /// How many series a gauge has.
    Count,
    /// The mean of a histogram.
    Mean,
    /// The median of a histogram.
    P50,
    /// Of a histogram: what 95 in 100 do not exceed.
    P95,
    /// Of a histogram: what 99 in 100 do not exceed.
    P99,
    /// A histogram's buckets.
    Buckets,
}

use Statistic::{
    Buckets, Count, Growth, Increase, Max, Mean, Min, P50, P95, P99, Rate, Ratio, Value,
};

/// The range of every rate: as wide as scrapes are apart and as the panel's steps need it.
const RANGE: &str = "[$__rate_interval]";

impl Statistic {
    /// Its name in sources and legends.
    pub fn as_str(self) -> &'static str {
        match self {
            Rate => "rate",
            Increase => "increase",
            Ratio => "ratio",
            Value => "value",
            Max => "max",
            Min => "min",
            Growth => "growth",
            Count => "count",
            Mean => "mean",
            P50 => "p50",
            P95 => "p95",
            P99 => "p99",
            Buckets => "buckets",
        }
    }

    /// Whether it estimates how a histogram is distributed, so that exemplars belong to it.
    pub fn is_of_distribution(self) -> bool {
        matches!(self, P50 | P95 | P99 | Mean | Buckets)
    }

    fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Counter => &[Rate, Increase, Ratio],
            Kind::Gauge => &[Value, Max, Min, Growth, Count, Ratio],
            Kind::Histogram => &[P50, P95, P99, Mean, Buckets, Rate, Increase, Ratio],
        }
    }

    /// Whether `metric` has this statistic.
    ///
    /// # Errors
    /// A kind that does not have it, and times and shares that somebody wants to add up.
    pub fn fits(self, metric: &Metric) -> Result<(), String> {
        let fitting = Self::of(metric.kind);
        if !fitting.contains(&self) {
            let names: Vec<_> = fitting.iter().map(|one| one.as_str()).collect();
            return Err(format!(
                "{} of {}, which is a {}: show {}",
                self.as_str(),
                metric.name,
                metric.kind.as_str(),
                names.join(", ")
            ));
        }
        if self == Value && ["s", "1"].contains(&metric.unit) {
            return Err(format!(
                "value of {} would add up times or shares: show max or min",
                metric.name
            ));
        }
        Ok(())
    }

    /// The PromQL of this statistic, except a ratio's: `name` and `selector` name the series, `by`
    /// the labels that are kept.
    pub fn query(self, metric: &Metric, selector: &str, by: &[String]) -> String {
        let name = &metric.prometheus;
        let counted = match metric.kind {
            Kind::Histogram => format!("{name}_count{selector}"),
            _ => format!("{name}{selector}"),
        };
        let quantile = |q: &str| {
            let le: Vec<_> = ["le".into()].into_iter().chain(by.iter().cloned()).collect();
            let buckets = sum(&le, &format!("rate({name}_bucket{selector}{RANGE})"));
            // Without events there is no quantile, rather than one that is not a number.
            let any = sum(by, &format!("rate({counted}{RANGE})"));
            format!("histogram_quantile({q}, {buckets}) and {any} > 0")
        };
        match self {
            Rate | Ratio if metric.kind == Kind::Gauge => sum(by, &counted),
            Rate | Ratio => sum(by, &format!("rate({counted}{RANGE})")),
            Increase => sum(by, &format!("increase({counted}{RANGE})")),
            Value => sum(by, &counted),
            Max => aggregate("max", by, &counted),
            Min => aggregate("min", by, &counted),
            Growth => aggregate("max", by, &format!("deriv({counted}{RANGE})")),
            Count => aggregate("count", by, &counted),
            P50 => quantile("0.5"),
            P95 => quantile("0.95"),
            P99 => quantile("0.99"),
            Mean => ratio(
                &sum(by, &format!("rate({name}_sum{selector}{RANGE})")),
                &[sum(by, &format!("rate({counted}{RANGE})"))],
            ),
            Buckets => sum(&["le".into()], &format!("increase({name}_bucket{selector}{RANGE})")),
        }
    }
}

/// A part of the sum of `whole`; nothing while that is 0, rather than what is not a number.
pub fn ratio(part: &str, whole: &[String]) -> String {
    match whole {
        [one] => format!("{part} / ({one} > 0)"),
        all => format!("{part} / (({}) > 0)", all.join(" + ")),
    }
}

fn sum(by: &[String], inner: &str) -> String {
    aggregate("sum", by, inner)
}

fn aggregate(how: &str, by: &[String], inner: &str) -> String {
    match by {
        [] => format!("{how}({inner})"),
        labels => format!("{how} by ({}) ({inner})", labels.join(", ")),
    }
}
