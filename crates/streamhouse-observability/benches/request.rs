//! What a request costs that is not traced: `cargo bench -p streamhouse-observability --bench
//! request`.
//!
//! Target: its context and the gate together cost at most 100 ns.

mod rounds;

use futures_util::FutureExt;
use rounds::{Candidate, compare};
use std::error::Error;
use std::hint::black_box;
use std::io::{Write, stdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use streamhouse_observability::labels::Operation;
use streamhouse_observability::spans::{self, Arrival};
use streamhouse_observability::testing;
use tracing::Span;

fn main() -> Result<(), Box<dyn Error>> {
    let traces = testing::traces(0.000_001);
    let requests = traces.requests();
    let arrival = Arrival::now();
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
            name: "both clocks, for scale",
            run: Box::new(|count| (0..count).for_each(|_| _ = black_box(Arrival::now()))),
        },
        Candidate {
            name: "gate: ids and decision",
            run: Box::new(|count| {
                (0..count).for_each(|_| drop(black_box(requests.begin(arrival, &[]))));
            }),
        },
        Candidate {
            name: "gate and context: begin, run, one poll",
            run: Box::new(|count| {
                (0..count).for_each(|_| {
                    let request = requests.begin(arrival, &[]);
                    let work = request.run(Span::none, async { black_box(1) });
                    black_box(work.now_or_never());
                });
            }),
        },
        Candidate {
            name: "the same with finish, which reads the clock",
            run: Box::new(|count| {
                (0..count).for_each(|_| {
                    let request = requests.begin(Arrival::now(), &[]);
                    let work = request.run(Span::none, async { black_box(1) });
                    black_box(work.now_or_never());
                    black_box(request.finish(false, Span::none));
                });
            }),
        },
        Candidate {
            name: "a part's span that is not made",
            run: Box::new(|count| {
                (0..count).for_each(|_| {
                    drop(black_box(spans::object_store(Operation::Put, black_box("name"))));
                });
            }),
        },
    ];
    let out = &mut stdout().lock();
    compare(out, "one unsampled request", Duration::from_micros(500), 60, &mut candidates)?;
    writeln!(out, "gate and context: target at most 100 ns")?;
    Ok(())
}
