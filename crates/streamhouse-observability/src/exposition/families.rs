//! Which families a scrape shows: ours from the registry, other libraries' from the SDK.

use super::head::Head;
use crate::declare::{Declare, Kind, Source, name_with, prometheus_name};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};
use std::collections::HashSet;
use std::collections::btree_map::{BTreeMap, Entry};

/// Our families, sorted by name. Changes only when something is declared.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    /// How many instruments were declared when this was made.
    pub(super) declared: usize,
    pub(super) families: Vec<Declaration>,
    /// Instruments left out because an earlier one has their name.
    pub(super) conflicts: usize,
    claims: HashSet<String>,
}

#[derive(Debug)]
pub(super) struct Declaration {
    pub(super) head: Head,
    /// The OpenTelemetry name.
    pub(super) name: String,
    pub(super) source: Source,
}

impl Declarations {
    pub(super) fn of(declare: &Declare) -> Self {
        let all = declare.declared();
        let mut this = Self { declared: all.len(), ..Self::default() };
        this.claims.insert("target".into());
        this.claims.insert(TARGET_INFO.into());
        for declared in all {
            let row = &declared.row;
            let head = Head::new(row.prometheus_name(), row.kind, row.help, row.unit);
            if claim(&mut this.claims, &head) {
                let (name, source) = (row.name.to_string(), declared.source);
                this.families.push(Declaration { head, name, source });
            } else {
                this.conflicts += 1;
            }
        }
        this.families.sort_by(|a, b| a.head.name.cmp(&b.head.name));
        this
    }
}

/// The name under which the resource is shown.
pub(super) const TARGET_INFO: &str = "target_info";

/// Takes all names of `head`, or none of them.
fn claim(claims: &mut HashSet<String>, head: &Head) -> bool {
    let names = head.claims();
    let is_free = !names.iter().any(|name| claims.contains(name));
    if is_free {
        claims.extend(names);
    }
    is_free
}

/// A family of other libraries' instruments: those that share a name and a type are one.
pub(super) struct Foreign<'a> {
    pub(super) head: Head,
    pub(super) metrics: Vec<&'a Metric>,
}

/// Finds the families of other libraries, sorted by name, and counts the instruments that cannot
/// be shown.
pub(super) fn foreign<'a>(
    collected: &'a ResourceMetrics,
    ours: &Declarations,
) -> (Vec<Foreign<'a>>, usize) {
    let mut scopes: Vec<_> = collected
        .scope_metrics()
        .filter(|metrics| metrics.scope().name() != super::SCOPE)
        .collect();
    // The SDK's order is that of a hash map; the first of two instruments should be the same one
    // on every scrape.
    scopes.sort_by(|a, b| {
        (a.scope().name(), a.scope().version()).cmp(&(b.scope().name(), b.scope().version()))
    });
    let mut found = BTreeMap::<String, Foreign<'a>>::new();
    let (mut claims, mut conflicts) = (HashSet::new(), 0);
    for metric in scopes.iter().flat_map(|scope| scope.metrics()) {
        let Some((kind, name)) = kind_and_name(metric) else {
            conflicts += 1;
            continue;
        };
        match found.entry(name) {
            Entry::Occupied(mut one) if one.get().head.kind == kind => {
                one.get_mut().metrics.push(metric);
            }
            Entry::Occupied(_) => conflicts += 1,
            Entry::Vacant(place) => {
                let name = place.key().clone();
                let head = Head::new(name, kind, metric.description(), metric.unit());
                let is_ours = head.claims().iter().any(|name| ours.claims.contains(name));
                if !is_ours && claim(&mut claims, &head) {
                    place.insert(Foreign { head, metrics: vec![metric] });
                } else {
                    conflicts += 1;
                }
            }
        }
    }
    (found.into_values().collect(), conflicts)
}

/// `None` for what the formats cannot show: exponential histograms, and a name without a letter.
fn kind_and_name(metric: &Metric) -> Option<(Kind, String)> {
    let (name, unit) = (metric.name(), metric.unit());
    let (kind, name) = match shape(metric) {
        Shape::Gauge => (Kind::Gauge, prometheus_name(name, unit, Kind::Gauge)),
        Shape::UpDown => (Kind::Gauge, name_with(name, unit, None)),
        Shape::Counter => (Kind::Counter, prometheus_name(name, unit, Kind::Counter)),
        Shape::Histogram => (Kind::Histogram, prometheus_name(name, unit, Kind::Histogram)),
        Shape::Unknown => return None,
    };
    (!name.is_empty()).then_some((kind, name))
}

enum Shape {
    Gauge,
    UpDown,
    Counter,
    Histogram,
    Unknown,
}

fn shape(metric: &Metric) -> Shape {
    fn of<T>(data: &MetricData<T>) -> Shape {
        match data {
            MetricData::Gauge(_) => Shape::Gauge,
            MetricData::Sum(sum) if sum.is_monotonic() => Shape::Counter,
            MetricData::Sum(_) => Shape::UpDown,
            MetricData::Histogram(_) => Shape::Histogram,
            MetricData::ExponentialHistogram(_) => Shape::Unknown,
        }
    }
    match metric.data() {
        AggregatedMetrics::F64(data) => of(data),
        AggregatedMetrics::U64(data) => of(data),
        AggregatedMetrics::I64(data) => of(data),
    }
}
