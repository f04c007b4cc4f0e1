//! The pipeline against an OTLP receiver in this process.

mod agree;
mod deliver;
mod environment;
mod faults;
mod oracle;
mod process;
mod shutdown;
mod tls;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use std::time::Duration;
use streamhouse_observability::pipeline::{Config, Observability, Protocol};
use streamhouse_observability::testing;
use tracing::dispatcher::{DefaultGuard, Dispatch};
use tracing_subscriber::layer::SubscriberExt;

/// Everything is sent to `endpoint`, quickly.
fn config(endpoint: String, protocol: Protocol) -> Config {
    let mut config = Config::new("test", "1.2.3");
    config.log_lines = false;
    config.otlp.endpoint = Some(endpoint);
    config.otlp.protocol = Some(protocol);
    config.traces.batch.delay = Duration::from_millis(20);
    config.logs.batch.delay = Duration::from_millis(20);
    config.metrics.interval = Duration::from_secs(3600);
    config
}

/// A pipeline of its own, and a subscriber with its layers.
fn pipeline(config: Config) -> (Observability, Dispatch) {
    let (observability, layers) = testing::pipeline(config).expect("the configuration is good");
    assert_eq!(observability.problems(), &[] as &[String]);
    (observability, Dispatch::new(tracing_subscriber::registry().with(layers)))
}

/// As [`pipeline`], as this thread's default subscriber.
fn entered(config: Config) -> (Observability, DefaultGuard) {
    let (observability, dispatch) = pipeline(config);
    (observability, tracing::dispatcher::set_default(&dispatch))
}

fn spans(count: usize) {
    for place in 0..count {
        drop(tracing::info_span!("work", place));
    }
}

fn logs(count: usize) {
    for place in 0..count {
        tracing::info!(place, "something happened");
    }
}

fn string(value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>) -> Option<&str> {
    match value?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
