//! Our renderer: one pass over families in the order of their names.
//!
//! Cells are read from their owners, the rest from one collect of the SDK. Label texts of cells
//! were rendered when the cells were bound, so a line costs two copies and an integer.

use super::Metrics;
use super::families::{Declaration, Declarations, Foreign, TARGET_INFO, foreign};
use super::head::{Format, Head};
use super::lines;
use super::points::Points;
use crate::declare::{Exit, Family, Number, Source, write_labels};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::data::{Metric, ResourceMetrics};
use std::sync::{Arc, Mutex, PoisonError};

/// Renders one provider's metrics. Keeps what a scrape can take over from the one before.
#[derive(Debug, Default)]
pub(super) struct Renderer {
    declarations: Mutex<Arc<Declarations>>,
    collected: Mutex<Vec<ResourceMetrics>>,
}

/// What came out of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gathered {
    /// Lines with a sample.
    pub(super) series: usize,
    /// Instruments and series left out because their name or labels were taken.
    pub(super) conflicts: usize,
    /// Whether the SDK could not be collected: then only cells are shown.
    pub(super) sdk_failed: bool,
}

impl Renderer {
    /// Appends everything to `out`.
    pub(super) fn render(&self, metrics: &Metrics, format: Format, out: &mut Vec<u8>) -> Gathered {
        let mut collected = self.lock_collected().pop().unwrap_or_default();
        let mut gathered = Gathered {
            sdk_failed: metrics.collect_sdk(&mut collected).is_err(),
            ..Gathered::default()
        };
        let ours = self.declarations(metrics);
        if gathered.sdk_failed {
            collected = ResourceMetrics::default();
        }
        self.write(metrics, &ours, &collected, format, out, &mut gathered);
        self.lock_collected().push(collected);
        gathered
    }

    fn write(
        &self,
        metrics: &Metrics,
        ours: &Declarations,
        collected: &ResourceMetrics,
        format: Format,
        out: &mut Vec<u8>,
        gathered: &mut Gathered,
    ) {
        let (theirs, conflicts) = foreign(collected, ours);
        gathered.conflicts += ours.conflicts + conflicts;
        let mut shown: Vec<Shown<'_>> = ours.families.iter().map(Shown::Ours).collect();
        shown.extend(theirs.iter().map(Shown::Theirs));
        if !metrics.resource().is_empty() {
            shown.push(Shown::Target(metrics.resource()));
        }
        shown.sort_by(|a, b| a.name().cmp(b.name()));
        let sdk = Sdk::of(collected);
        for one in shown {
            let (lines, left_out) = match one {
                Shown::Ours(family) => (declared(out, format, family, &sdk), 0),
                Shown::Theirs(family) => {
                    let mut points = Points::default();
                    family.metrics.iter().for_each(|metric| points.add(metric));
                    points.write(out, format, &family.head, None)
                }
                Shown::Target(resource) => (target_info(out, format, resource), 0),
            };
            gathered.series += lines;
            gathered.conflicts += left_out;
        }
        if format == Format::OpenMetrics {
            out.extend_from_slice(b"# EOF\n");
        }
    }

    fn declarations(&self, metrics: &Metrics) -> Arc<Declarations> {
        let mut kept = self.declarations.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.declared != metrics.declare().declared_count() {
            *kept = Arc::new(Declarations::of(metrics.declare()));
        }
        kept.clone()
    }

    fn lock_collected(&self) -> std::sync::MutexGuard<'_, Vec<ResourceMetrics>> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A family on its way out.
enum Shown<'a> {
    Ours(&'a Declaration),
    Theirs(&'a Foreign<'a>),
    Target(&'a Resource),
}

impl Shown<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Ours(family) => &family.head.name,
            Self::Theirs(family) => &family.head.name,
            Self::Target(_) => TARGET_INFO,
        }
    }
}

/// Our own scope in what the SDK collected.
struct Sdk<'a>(Vec<&'a Metric>);

impl<'a> Sdk<'a> {
    fn of(collected: &'a ResourceMetrics) -> Self {
        let ours = |metrics: &&opentelemetry_sdk::metrics::data::ScopeMetrics| {
            metrics.scope().name() == super::SCOPE
        };
        Self(collected.scope_metrics().filter(ours).flat_map(|scope| scope.metrics()).collect())
    }

    fn find(&self, name: &str) -> Option<&'a Metric> {
        self.0.iter().find(|metric| metric.name() == name).copied()
    }
}

/// Writes one of our families; one without series is left out.
fn declared(out: &mut Vec<u8>, format: Format, family: &Declaration, sdk: &Sdk<'_>) -> usize {
    match &family.source {
        Source::Cells(cells) => write_cells(out, format, &family.head, cells),
        Source::Sdk(exemplars) => match sdk.find(&family.name) {
            Some(metric) => {
                let mut points = Points::default();
                points.add(metric);
                points.write(out, format, &family.head, Some(exemplars)).0
            }
            None => 0,
        },
    }
}

fn write_cells(out: &mut Vec<u8>, format: Format, head: &Head, cells: &Family) -> usize {
    let (mut lines, name, number) = (0, head.name.as_str(), cells.number);
    cells.read(Exit::Scrape, |cell, bits| {
        if lines == 0 {
            out.extend_from_slice(head.lines(format).as_bytes());
        }
        lines += 1;
        match number {
            Number::Unsigned => lines::sample(out, name, &cell.text, bits),
            Number::Signed => lines::sample(out, name, &cell.text, bits as i64),
            Number::Float => lines::sample(out, name, &cell.text, f64::from_bits(bits)),
        }
    });
    lines
}

/// Writes the resource; OpenMetrics has a type of its own for it.
fn target_info(out: &mut Vec<u8>, format: Format, resource: &Resource) -> usize {
    let mut labels = String::new();
    write_labels(&mut labels, resource.iter().map(|(key, value)| (key.as_str(), value)));
    out.extend_from_slice(match format {
        Format::Text => b"# HELP target_info Target metadata\n# TYPE target_info gauge\n",
        Format::OpenMetrics => b"# HELP target Target metadata\n# TYPE target info\n",
    });
    lines::sample(out, TARGET_INFO, &labels, 1_u64);
    1
}
