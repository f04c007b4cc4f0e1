//! What a log line costs its caller: `cargo bench -p streamhouse-observability --bench log_line`.
//!
//! Target: a JSON line with trace and span id costs at most 0.2 times what the JSON formatter of
//! tracing-subscriber costs with the ids as fields of a span, which is how it can show them.
#![expect(clippy::disallowed_macros, reason = "others show ids as fields of a span")]

mod rounds;

use futures_util::FutureExt;
use rounds::{Candidate, compare};
use std::error::Error;
use std::hint::black_box;
use std::io::{self, Write, stdout};
use std::time::Duration;
use streamhouse_observability::instruments::TelemetryMetrics;
use streamhouse_observability::labels::LogDrop;
use streamhouse_observability::logging::{self, Format, LogCells, LogConfig, Logging};
use streamhouse_observability::spans::{Arrival, Requests};
use streamhouse_observability::testing;
use tracing::{Dispatch, Span, dispatcher};
use tracing_subscriber::layer::SubscriberExt;

fn one(n: u64) {
    tracing::info!(topic = "orders", partition = n as i64, records = 1000, "batch stored");
}

/// Each candidate alone is installed while it runs: what a line costs depends on all that are.
fn alone(dispatch: Dispatch, run: impl FnOnce()) {
    dispatcher::with_default(&dispatch, run);
}

fn own(metrics: &TelemetryMetrics, format: Format) -> Result<Logging, logging::LogError> {
    let config = LogConfig {
        format,
        lines_per_second: u32::MAX,
        queue_bytes: 64 << 20,
        ..LogConfig::new("streamhouse", "4b0f8c0e-2f3c-4f5c-9b55-0a8a3b1f4a11")
    };
    logging::build(&config, Box::new(io::sink()), LogCells::new(metrics))
}

fn in_request(count: u64) {
    let request = Requests::untraced().begin(Arrival::now(), &[]);
    let lines = async { (0..count).for_each(|n| one(black_box(n))) };
    black_box(request.run(Span::none, lines).now_or_never());
}

fn in_span(count: u64) {
    let span = tracing::info_span!(
        "request",
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736",
        span_id = "00f067aa0ba902b7"
    );
    span.in_scope(|| (0..count).for_each(|n| one(black_box(n))));
}

fn main() -> Result<(), Box<dyn Error>> {
    let metrics = TelemetryMetrics::declare(&testing::in_memory().0);
    let json = own(&metrics, Format::Json)?;
    let text = own(&metrics, Format::Text)?;
    let stock_json = || tracing_subscriber::fmt().json().with_writer(io::sink).finish();
    let stock_text = || tracing_subscriber::fmt().with_ansi(false).with_writer(io::sink).finish();
    let registry = tracing_subscriber::registry;
    let mut candidates = [
        Candidate {
            name: "stock JSON with ids, to a sink",
            run: Box::new(|count| alone(stock_json().into(), || in_span(count))),
        },
        Candidate {
            name: "stock JSON without ids, to a sink",
            run: Box::new(|count| {
                alone(stock_json().into(), || (0..count).for_each(|n| one(black_box(n))));
            }),
        },
        Candidate {
            name: "own JSON with ids, into the queue",
            run: Box::new(|count| {
                alone(registry().with(json.layer()).into(), || in_request(count));
            }),
        },
        Candidate {
            name: "stock text without ids, to a sink",
            run: Box::new(|count| {
                alone(stock_text().into(), || (0..count).for_each(|n| one(black_box(n))));
            }),
        },
        Candidate {
            name: "own text with ids, into the queue",
            run: Box::new(|count| {
                alone(registry().with(text.layer()).into(), || in_request(count));
            }),
        },
    ];
    let out = &mut stdout().lock();
    let ratios = compare(out, "one log line", Duration::from_millis(5), 20, &mut candidates)?;
    drop(candidates);
    let lost = metrics.log_lines_dropped.bind(&LogDrop::QueueFull).get();
    writeln!(out, "lines lost: {lost} (must be 0)")?;
    let ratio = ratios.get(2).copied().unwrap_or(f64::NAN);
    writeln!(out, "own JSON / stock JSON, both with ids: {ratio:.3} (target: at most 0.2)")?;
    Ok(())
}
