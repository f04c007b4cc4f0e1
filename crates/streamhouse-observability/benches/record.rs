//! What one record costs: `cargo bench -p streamhouse-observability --bench record`.
//!
//! Target: a counter's handle costs at most 1.3 times a relaxed atomic add.

mod rounds;

use rounds::{Candidate, compare};
use std::error::Error;
use std::hint::black_box;
use std::io::{Write, stdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use streamhouse_observability::declare::ClosedLabel;
use streamhouse_observability::instruments::ProducerMetrics;
use streamhouse_observability::labels::{Outcome, ProduceError, Topic};
use streamhouse_observability::testing;

fn main() -> Result<(), Box<dyn Error>> {
    let (declare, _seen) = testing::in_memory();
    let metrics = ProducerMetrics::declare(&declare);
    // Maps and allocator should look as in a server.
    let _others: Vec<_> =
        (0..200).map(|n| metrics.topic(&Topic(format!("topic-{n}").into()))).collect();
    let topic = metrics.topic(&Topic("orders".into()));
    let requests = metrics.requests();
    let plain = Box::new(AtomicU64::new(0));

    let mut candidates = [
        Candidate {
            name: "relaxed atomic add",
            run: Box::new(|count| {
                (0..count).for_each(|n| {
                    black_box(&*plain).fetch_add(black_box(n), Ordering::Relaxed);
                });
            }),
        },
        Candidate {
            name: "counter handle",
            run: Box::new(|count| {
                (0..count).for_each(|n| black_box(&topic.records).add(black_box(n)));
            }),
        },
        Candidate {
            name: "counter handle, one of a closed label",
            run: Box::new(|count| {
                let errors = &topic.errors;
                let all = ProduceError::ALL;
                (0..count).for_each(|n| {
                    black_box(errors).of(black_box(all[n as usize % all.len()])).add(1);
                });
            }),
        },
        Candidate {
            name: "histogram handle (per batch or request)",
            run: Box::new(|count| {
                let latency = requests.latency.of(Outcome::Ok);
                (0..count).for_each(|n| black_box(latency).record(black_box(n as f64 * 1e-9)));
            }),
        },
    ];
    let out = &mut stdout().lock();
    let ratios = compare(out, "one record", Duration::from_micros(500), 60, &mut candidates)?;
    let counter = ratios.get(1).copied().unwrap_or(f64::NAN);
    writeln!(out, "counter handle / atomic add: {counter:.2} (target: at most 1.3)")?;
    Ok(())
}
