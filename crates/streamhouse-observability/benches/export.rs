//! What a sampled span and a log record cost their caller while the receiver hangs: from creation
//! to the queue, or to the count of what it turns away.
//! `cargo bench -p streamhouse-observability --features testing --bench export`
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its figures")]
#![expect(clippy::disallowed_macros, reason = "stands for a span of another library")]

use std::time::{Duration, Instant};
use streamhouse_observability::pipeline::{Config, Protocol};
use streamhouse_observability::testing;
use streamhouse_observability::testing::otlp::{Fault, OtlpReceiver};
use tracing_subscriber::layer::SubscriberExt;

const COUNT: usize = 500_000;

fn main() {
    let receiver = OtlpReceiver::start();
    receiver.set_fault(Fault::Hang);
    let mut config = Config::new("bench", "0");
    config.otlp.endpoint = Some(receiver.endpoint());
    config.otlp.protocol = Some(Protocol::Grpc);
    config.log_lines = false;
    let (observability, layers) = testing::pipeline(config).expect("a pipeline");
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layers));
    tracing::dispatcher::with_default(&dispatch, || {
        measure("span", |place| drop(tracing::info_span!("work", place)));
        measure("log record", |place| tracing::info!(place, "something happened"));
    });
    let start = Instant::now();
    let report = observability.shutdown(Duration::from_secs(2));
    println!("shutdown under a deadline of 2 s: {:?}; {report:?}", start.elapsed());
    assert!(report.traces.is_balanced() && report.logs.is_balanced());
}

fn measure(what: &str, one: impl Fn(usize)) {
    let mut times: Vec<u64> = (0..COUNT)
        .map(|place| {
            let start = Instant::now();
            one(place);
            start.elapsed().as_nanos() as u64
        })
        .collect();
    times.sort_unstable();
    let at = |share: f64| times[(COUNT as f64 * share) as usize - 1];
    println!(
        "{what}, {COUNT} times: p50 {} ns, p99 {} ns, p999 {} ns, max {} µs",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0) / 1_000
    );
}
