//! The whole way of a record in traces: from the producer's call through the object store to the
//! consumer's work. An arrow is child or link.

use crate::BINARY;
use crate::ledger::fetch;
use kafka_protocol::messages::FetchRequest;
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::collections::BTreeSet;
use std::time::Duration;
use streamhouse_client::{
    Admin, Compression, Connection, GroupConsumer, GroupOptions, Producer, ProducerOptions, Record,
    Telemetry,
};
use streamhouse_observability::Config;
use streamhouse_observability::testing::Exporters;
use streamhouse_observability::testing::otlp::{OtlpReceiver, Received};
use streamhouse_tests::process::{Launch, Server};
use streamhouse_tests::raw;

/// Every codec with its number in a batch's attributes.
const CODECS: [(Compression, &str, u8); 5] = [
    (Compression::None, "plain", 0),
    (Compression::Gzip, "gzip", 1),
    (Compression::Snappy, "snappy", 2),
    (Compression::Lz4, "lz4", 3),
    (Compression::Zstd, "zstd", 4),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_records_way_is_one_graph_from_send_to_process_with_every_codec() {
    let receiver = OtlpReceiver::start();
    let data = tempfile::tempdir().expect("a folder");
    let server = Launch::serve(BINARY, data.path())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint())
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .start();
    let client = Client::start(&receiver, &server);

    for (compression, topic, number) in CODECS {
        client.one_record(topic, compression).await;
        assert_eq!(codec(&server, topic), number, "{topic}: the batch in the log");
    }
    client.exporters.shutdown(Duration::from_secs(10));
    for (_, topic, _) in CODECS {
        let seen = receiver.wait_for("the whole way", |received| way(received, topic).is_some());
        let way = way(&seen, topic).expect("it was there");
        assert_graph(&way);
        assert_reachable(&seen, &way);
    }
}

/// The application: a producer and a consumer that export to the receiver.
struct Client {
    connection: Connection,
    provider: SdkTracerProvider,
    exporters: Exporters,
}

impl Client {
    fn start(receiver: &OtlpReceiver, server: &Server) -> Self {
        let mut config = Config::new("application", "1");
        config.otlp.endpoint = Some(receiver.endpoint());
        config.traces.batch.delay = Duration::from_millis(50);
        let resource = Resource::builder_empty().with_service_name("application").build();
        let exporters =
            Exporters::start(&config, &resource, |_| {}).expect("the configuration is good");
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(exporters.span_processor())
            .build();
        let telemetry = Telemetry::new(&exporters.metrics().global_provider(), &provider);
        let connection = Connection::to(server.kafka.to_string()).recorded_by(&telemetry);
        Self { connection, provider, exporters }
    }

    /// Sends a record inside a trace, works on it outside any, polls and commits inside another.
    async fn one_record(&self, topic: &str, compression: Compression) {
        let admin = Admin::new(&self.connection).expect("an admin client");
        admin.create_topic(topic, 1).await.expect("a topic");
        let options = ProducerOptions { compression, ..ProducerOptions::default() };
        let producer = Producer::new(&self.connection, options).expect("a producer");
        let record =
            Record { topic: topic.into(), value: Some(vec![b'v'; 1000]), ..Record::default() };
        let order = self.provider.tracer("application").start(format!("order {topic}"));
        let order = Context::new().with_span(order);
        producer.send(&record).with_context(order).await.expect("a delivery");

        // The commit is to be that of the round.
        let options = GroupOptions { commit_every: None, ..GroupOptions::default() };
        let member = GroupConsumer::subscribe(&self.connection, "payments", &[topic], options);
        let member = member.expect("a member");
        let round = self.provider.tracer("application").start(format!("round {topic}"));
        let round = Context::new().with_span(round);
        let record = member.recv().with_context(round.clone()).await.expect("the record");
        member.process(&record, async { Ok::<_, ()>(()) }).await.expect("the work");
        member.commit().with_context(round).await.expect("a commit");
        member.close().await.expect("a last commit");
    }
}

/// The codec of the first batch of `topic`, as it stands in the log.
fn codec(server: &Server, topic: &str) -> u8 {
    const FETCH: i16 = 12;
    let mut raw = raw::Connection::open(server.kafka).expect("a connection");
    let answer = raw.call::<FetchRequest>(FETCH, &fetch(topic, 0)).expect("an answer");
    let records = answer.responses[0].partitions[0].records.as_ref().expect("a batch");
    // The attributes' low byte, after offset, length, epoch, magic and checksum.
    records[22] & 0b111
}

/// The spans of one record's way.
struct Way {
    order: Span,
    send: Span,
    request: Span,
    write: Span,
    flush: Span,
    put: Span,
    commit: Span,
    poll: Span,
    process: Span,
    settle: Span,
}

/// The way of the record of `topic`, once all of it has arrived.
fn way(received: &Received, topic: &str) -> Option<Way> {
    let spans: Vec<&Span> = received.spans().collect();
    let named = |name: &str| spans.iter().copied().find(|span| span.name == name);
    let below = |parent: &Span, name: &str| {
        let is_child = |span: &&&Span| span.parent_span_id == parent.span_id;
        spans.iter().filter(is_child).copied().find(|span| span.name == name)
    };
    let send = named(&format!("send {topic}"))?;
    let request = below(send, "produce_request")?;
    let write = below(request, "partition_write")?;
    let flush = linked(write, &spans, "segment_flush")?;
    let round = named(&format!("round {topic}"))?;
    let poll = below(round, &format!("poll {topic}"))?;
    let operation = |name, key, value| {
        let mut children = spans.iter().filter(|span| span.parent_span_id == flush.span_id);
        let is_it = |span: &&&Span| span.name == name && text(span, key) == Some(value);
        children.find(is_it).copied()
    };
    Some(Way {
        order: named(&format!("order {topic}"))?.clone(),
        send: send.clone(),
        request: request.clone(),
        write: write.clone(),
        flush: flush.clone(),
        put: operation("object_store", "streamhouse.operation", "put")?.clone(),
        commit: operation("metadata", "db.operation.name", "commit")?.clone(),
        poll: poll.clone(),
        process: named(&format!("process {topic}"))?.clone(),
        settle: below(round, "commit")?.clone(),
    })
}

/// The span `name` that `from` is linked with.
fn linked<'a>(from: &Span, spans: &[&'a Span], name: &str) -> Option<&'a Span> {
    spans.iter().copied().find(|span| span.name == name && links_to(from, span))
}

fn links_to(from: &Span, to: &Span) -> bool {
    from.links.iter().any(|link| link.trace_id == to.trace_id && link.span_id == to.span_id)
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span.attributes.iter().find(|pair| pair.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn assert_graph(way: &Way) {
    // The application's trace: order → send → produce_request → partition_write, and process.
    assert_eq!(way.send.parent_span_id, way.order.span_id);
    assert_eq!(way.process.parent_span_id, way.send.span_id);
    assert!(links_to(&way.process, &way.send), "{:?}", way.process);
    for span in [&way.send, &way.request, &way.write, &way.process] {
        assert_eq!(span.trace_id, way.order.trace_id, "{span:?}");
    }
    // The consumer's round, linked with the record's creation.
    for span in [&way.poll, &way.settle] {
        assert_ne!(span.trace_id, way.order.trace_id, "{span:?}");
        assert!(links_to(span, &way.send), "{span:?}");
        assert_eq!(text(span, "messaging.consumer.group.name"), Some("payments"));
    }
    // The flush's trace, linked both ways.
    assert_ne!(way.flush.trace_id, way.order.trace_id);
    assert!(way.flush.parent_span_id.is_empty(), "{:?}", way.flush);
    assert!(links_to(&way.write, &way.flush), "{:?}", way.write);
    assert!(links_to(&way.flush, &way.write), "{:?}", way.flush);
    for span in [&way.put, &way.commit] {
        assert_eq!(span.trace_id, way.flush.trace_id, "{span:?}");
    }
    for (span, kind) in [
        (&way.send, SpanKind::Producer),
        (&way.request, SpanKind::Server),
        (&way.put, SpanKind::Client),
        (&way.commit, SpanKind::Client),
        (&way.process, SpanKind::Consumer),
        (&way.poll, SpanKind::Client),
        (&way.settle, SpanKind::Client),
    ] {
        assert_eq!(span.kind, kind as i32, "{span:?}");
    }
    // Each step lies within the one that caused it, and nothing is acknowledged before it is safe.
    assert!(way.send.end_time_unix_nano >= way.put.end_time_unix_nano);
    assert!(way.process.start_time_unix_nano >= way.commit.start_time_unix_nano);
}

/// From `send` the arrows lead to every step, and back.
fn assert_reachable(received: &Received, way: &Way) {
    let engine = [&way.request, &way.write, &way.flush, &way.put, &way.commit];
    let application = [&way.order, &way.poll, &way.process, &way.settle];
    let steps = engine.into_iter().chain(application);
    let spans: Vec<&Span> = received.spans().collect();
    let arrow = |from: &Span, to: &Span| to.parent_span_id == from.span_id || links_to(from, to);
    let mut seen = BTreeSet::from([way.send.span_id.clone()]);
    let mut todo = vec![&way.send];
    while let Some(at) = todo.pop() {
        for other in spans.iter().copied().filter(|other| arrow(at, other) || arrow(other, at)) {
            if seen.insert(other.span_id.clone()) {
                todo.push(other);
            }
        }
    }
    for step in steps {
        assert!(seen.contains(&step.span_id), "no arrows lead to {:?}", step.name);
    }
}
