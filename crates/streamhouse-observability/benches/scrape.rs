//! What a scrape costs: `cargo bench -p streamhouse-observability --bench scrape`.
//!
//! Target: with 100,000 series our renderer takes at most 0.05 of the time of
//! `opentelemetry-prometheus`, over the same instruments with the same values.

mod rounds;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry::StringValue;
use opentelemetry_sdk::Resource;
use rounds::{Candidate, compare};
use std::error::Error;
use std::io::{Write, stdout};
use std::time::Duration;
use streamhouse_observability::declare::{Counter, CounterCell, Gauge, GaugeCell, Label};
use streamhouse_observability::exposition::{Exposition, Metrics, Mode};
use streamhouse_observability::instruments::Instruments;
use streamhouse_observability::labels::Topic;

/// A partition's number.
#[derive(Clone, Debug)]
struct Partition(u32);

impl Label for Partition {
    const KEY: &'static str = "partition";

    fn values() -> Option<Vec<&'static str>> {
        None
    }

    fn value(&self) -> StringValue {
        self.0.to_string().into()
    }

    fn overflow(&self) -> Self {
        Self(u32::MAX)
    }
}

streamhouse_observability::instruments! {
    /// As many series as a large server has.
    pub(crate) struct WideMetrics("streamhouse.wide") {
        /// Records that a group has not read.
        lag: Gauge<(Topic, Partition)> = "{record}", series = 100_000;
        /// Records of a partition.
        records: Counter<(Topic, Partition)> = "{record}", series = 100_000;
    }
}

struct Server {
    exposition: Exposition,
    _gauges: Vec<GaugeCell>,
    _counters: Vec<CounterCell>,
    _metrics: (Metrics, Instruments),
}

/// 70 gauges and 30 counters for each of 1000 topics, beside the server's own instruments.
fn server(mode: Mode) -> Result<Server, Box<dyn Error>> {
    let resource = Resource::builder_empty().with_service_name("bench").build();
    let metrics = Metrics::build(resource, mode)?;
    let all = Instruments::declare(metrics.declare());
    let wide = WideMetrics::declare(metrics.declare());
    let (mut gauges, mut counters) = (Vec::new(), Vec::new());
    for n in 0..1000 {
        let topic = Topic(format!("orders-{n:04}").into());
        for partition in 0..70 {
            let gauge = wide.lag.bind(&(topic.clone(), Partition(partition)));
            gauge.set(i64::from(partition) * n);
            gauges.push(gauge);
        }
        for partition in 0..30 {
            let counter = wide.records.bind(&(topic.clone(), Partition(partition)));
            counter.add(u64::from(partition) * 1_000_003);
            counters.push(counter);
        }
    }
    let exposition = metrics.exposition();
    Ok(Server { exposition, _gauges: gauges, _counters: counters, _metrics: (metrics, all) })
}

fn main() -> Result<(), Box<dyn Error>> {
    let (native, bridge) = (server(Mode::Native)?, server(Mode::Bridge)?);
    let mut text = Vec::new();
    native.exposition.write_text(&mut text);
    let out = &mut stdout().lock();
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    writeln!(out, "{lines} lines, {} bytes", text.len())?;

    let (mut ours, mut theirs, mut copy, mut packed) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut candidates = [
        Candidate {
            name: "opentelemetry-prometheus",
            run: Box::new(|count| {
                (0..count).for_each(|_| {
                    theirs.clear();
                    bridge.exposition.write_text(&mut theirs);
                });
            }),
        },
        Candidate {
            name: "native",
            run: Box::new(|count| {
                (0..count).for_each(|_| {
                    ours.clear();
                    native.exposition.write_text(&mut ours);
                });
            }),
        },
        Candidate {
            name: "gzip level 1 of that text",
            run: Box::new(|count| {
                (0..count).for_each(|_| {
                    packed.clear();
                    let mut encoder = GzEncoder::new(&mut packed, Compression::fast());
                    let _ = encoder.write_all(&text);
                    let _ = encoder.finish();
                });
            }),
        },
        Candidate {
            name: "memcpy of that text",
            run: Box::new(|count| {
                (0..count).for_each(|_| {
                    copy.clear();
                    copy.extend_from_slice(std::hint::black_box(&text));
                });
            }),
        },
    ];
    let ratios =
        compare(out, "one scrape of 100,000 series", Duration::from_millis(1), 3, &mut candidates)?;
    let native = ratios.get(1).copied().unwrap_or(f64::NAN);
    writeln!(out, "native / opentelemetry-prometheus: {native:.4} (target: at most 0.05)")?;
    Ok(())
}
