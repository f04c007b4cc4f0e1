//! What it costs to send through the instrumented client, not sampled, against librdkafka's own
//! producer: `cargo bench -p streamhouse-client --bench send [-- PAIRS]`.
//!
//! Both send the same records to a cluster that librdkafka runs in this process, in interleaved
//! pairs, and wait for every delivery. Aim: at most 1.05 in time, outside a trace and inside one
//! that is not sampled. Metrics go to a real provider, and are collected once a second.
#![allow(clippy::expect_used, reason = "a bench that cannot go on ends")]
#![allow(clippy::print_stdout, reason = "a bench tells its figures")]

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::SdkTracerProvider;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use streamhouse_client::{Producer, Telemetry};
use streamhouse_observability::testing;

/// Records of one measurement.
const RECORDS: usize = 100_000;
/// How many deliveries are awaited at once.
const WINDOW: usize = 1_000;
const TOPIC: &str = "orders";
const VALUE: [u8; 100] = [b'v'; 100];

fn main() {
    let pairs = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(40);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic(TOPIC, 1, 1).expect("a topic");
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("linger.ms", "5")
        .set("queue.buffering.max.messages", "1000000");

    let (_, metrics) = testing::in_memory();
    let provider = SdkTracerProvider::builder().build();
    let telemetry = Telemetry::new(&metrics.metrics().global_provider(), &provider);
    let bare: FutureProducer = config.create().expect("a producer");
    let context = rdkafka::client::DefaultClientContext;
    let ours = Producer::from_config(&config, context, &telemetry).expect("a producer");

    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                metrics.text();
                std::thread::park_timeout(Duration::from_secs(1));
            }
        });
        let send_bare = || runtime.block_on(through_rdkafka(&bare));
        let send_ours = || runtime.block_on(through_client(&ours));
        compare("outside a trace", pairs, &send_bare, &send_ours);
        let context = Context::new().with_remote_span_context(unsampled());
        let _inside = context.attach();
        compare("inside a trace that is not sampled", pairs, &send_bare, &send_ours);
        running.store(false, Ordering::Relaxed);
    });
    println!("aim: at most 1.05");
}

fn unsampled() -> SpanContext {
    let (trace, span) = (TraceId::from(1_u128), SpanId::from(1_u64));
    SpanContext::new(trace, span, TraceFlags::default(), true, TraceState::NONE)
}

fn record() -> FutureRecord<'static, [u8], [u8]> {
    FutureRecord::to(TOPIC).partition(0).key(&b"customer"[..]).payload(&VALUE[..])
}

async fn through_rdkafka(producer: &FutureProducer) {
    let mut waiting = Vec::with_capacity(WINDOW);
    for _ in 0..RECORDS / WINDOW {
        for _ in 0..WINDOW {
            waiting.push(producer.send_result(record()).map_err(|(error, _)| error).expect("room"));
        }
        for delivery in waiting.drain(..) {
            delivery.await.expect("a report").expect("a delivery");
        }
    }
}

async fn through_client<C: rdkafka::ClientContext + 'static>(producer: &Producer<C>) {
    let mut waiting = Vec::with_capacity(WINDOW);
    for _ in 0..RECORDS / WINDOW {
        for _ in 0..WINDOW {
            waiting.push(producer.enqueue(record()).await.expect("room"));
        }
        for delivery in waiting.drain(..) {
            delivery.await.expect("a delivery");
        }
    }
}

/// Runs pairs, each of them in both orders in turn, and tells the ratio's mean with the interval
/// that holds it with 95 %.
fn compare(title: &str, pairs: usize, bare: &dyn Fn(), ours: &dyn Fn()) {
    let time = |work: &dyn Fn()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    // The first of both warm connections and caches up.
    time(bare);
    time(ours);
    let mut logs = Vec::with_capacity(pairs);
    let (mut bare_times, mut our_times) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let (of_bare, of_ours) = if pair % 2 == 0 {
            let of_bare = time(bare);
            (of_bare, time(ours))
        } else {
            let of_ours = time(ours);
            (time(bare), of_ours)
        };
        bare_times.push(of_bare);
        our_times.push(of_ours);
        logs.push((of_ours / of_bare).ln());
    }
    let count = pairs as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = 1.96 * (variance / count).sqrt();
    let nanos = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2] / RECORDS as f64 * 1e9
    };
    println!(
        "{title}: client / rdkafka {:.4} (95 %: {:.4} to {:.4}) of {pairs} pairs; median per \
         record {:.0} ns and {:.0} ns",
        mean.exp(),
        (mean - half).exp(),
        (mean + half).exp(),
        nanos(our_times),
        nanos(bare_times),
    );
}
