//! A cluster, and telemetry that ends in memory.

use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanContext, TraceContextExt, Tracer, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use streamhouse_client::{Connection, Header, Record, Telemetry};
use streamhouse_observability::testing;

pub type Cluster = MockCluster<'static, DefaultProducerContext>;

pub fn cluster(topic: &str, partitions: i32) -> (Cluster, Connection) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(topic, partitions, 1).unwrap();
    let connection = Connection::to(cluster.bootstrap_servers());
    (cluster, connection)
}

pub fn nobody() -> Connection {
    // Bound and dropped: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Connection::to(format!("127.0.0.1:{port}")).within(Duration::from_secs(2))
}

pub fn text(topic: &str, value: &str) -> Record {
    Record {
        topic: topic.into(),
        partition: Some(0),
        value: Some(value.into()),
        ..Record::default()
    }
}

pub fn header<'a>(headers: &'a [Header], key: &str) -> Option<&'a str> {
    let value = headers.iter().find(|header| header.key == key)?.value.as_deref()?;
    Some(std::str::from_utf8(value).unwrap())
}

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Kept {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Everything that a client records.
pub struct Recorded {
    pub telemetry: Telemetry,
    provider: SdkTracerProvider,
    kept: Kept,
    metrics: testing::Seen,
}

pub fn recorded() -> Recorded {
    let (_, metrics) = testing::in_memory();
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_span_processor(kept.clone())
        .build();
    let telemetry = Telemetry::new(&metrics.metrics().global_provider(), &provider);
    Recorded { telemetry, provider, kept, metrics }
}

impl Recorded {
    /// Does `work` inside a sampled span, and tells which.
    pub async fn inside<T>(&self, work: impl Future<Output = T>) -> (SpanContext, T) {
        let span = self.provider.tracer("test").start("at hand");
        let context = Context::new().with_span(span);
        let result = work.with_context(context.clone()).await;
        (context.span().span_context().clone(), result)
    }

    /// The spans that have ended, with this name.
    pub fn named(&self, name: &str) -> Vec<SpanData> {
        let spans = self.kept.0.lock().unwrap();
        spans.iter().filter(|span| span.name == name).cloned().collect()
    }

    /// The one span that has ended with this name.
    pub fn only(&self, name: &str) -> SpanData {
        let mut spans = self.named(name);
        assert_eq!(spans.len(), 1, "{name}: {spans:#?}");
        spans.remove(0)
    }

    pub fn spans(&self) -> Vec<SpanData> {
        self.kept.0.lock().unwrap().clone()
    }

    /// The sum of the series `name`, as a scrape shows it, that have all of `labels`.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let text = self.metrics.text();
        let labels: Vec<_> =
            labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        text.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .reduce(|sum, value| sum + value)
    }

    pub fn text(&self) -> String {
        self.metrics.text()
    }
}

/// The text of an attribute.
pub fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|pair| pair.key.as_str() == key)?;
    Some(found.value.to_string())
}

/// Runs `work` in a context that is part of a trace which is not sampled.
pub async fn unsampled<T>(work: impl Future<Output = T>) -> T {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};
    let (trace, span) = (TraceId::from(7_u128), SpanId::from(7_u64));
    let context = SpanContext::new(trace, span, TraceFlags::default(), false, TraceState::NONE);
    work.with_context(Context::new().with_remote_span_context(context)).await
}
