//! What is recorded: every kind of value that an item can have.

use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{
    Event, Link, Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt,
    TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Array, Context, InstrumentationScope, Key, KeyValue, Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};
use streamhouse_observability::testing::otlp::Received;

/// A resource with attributes of several types and a schema.
pub(super) fn about() -> Resource {
    let attributes = [KeyValue::new("service.name", "test"), KeyValue::new("process.pid", 7)];
    Resource::builder_empty().with_schema_url(attributes, "https://example.com/1").build()
}

fn scope(name: &'static str) -> InstrumentationScope {
    InstrumentationScope::builder(name)
        .with_version("4.5.6")
        .with_schema_url("https://example.com/2")
        .with_attributes([KeyValue::new("scope", true)])
        .build()
}

/// An attribute of each type.
fn attributes() -> Vec<KeyValue> {
    vec![
        KeyValue::new("bool", true),
        KeyValue::new("int", i64::MIN),
        KeyValue::new("float", -0.25),
        KeyValue::new("text", "ünï\0\"\n"),
        KeyValue::new("empty", ""),
        KeyValue::new("bools", Value::Array(Array::Bool(vec![true, false]))),
        KeyValue::new("ints", Value::Array(Array::I64(vec![1, -1, i64::MAX]))),
        KeyValue::new("floats", Value::Array(Array::F64(vec![f64::INFINITY, 1e-300]))),
        KeyValue::new("texts", Value::Array(Array::String(vec!["a".into(), "".into()]))),
        KeyValue::new("nothing", Value::Array(Array::I64(Vec::new()))),
    ]
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000 + seconds, 123_456_789)
}

fn context(is_remote: bool) -> SpanContext {
    flagged(is_remote, TraceFlags::SAMPLED)
}

fn flagged(is_remote: bool, flags: TraceFlags) -> SpanContext {
    let state = TraceState::from_key_value([("vendor", "value"), ("other", "2")]).unwrap();
    let (trace, span) = (TraceId::from(u128::MAX / 3), SpanId::from(u64::MAX / 5));
    SpanContext::new(trace, span, flags, is_remote, state)
}

/// Ends spans of two scopes: roots, children of a local and of a remote parent, of every kind and
/// status, with links, events and limits that dropped some.
pub(super) fn end_spans(provider: &SdkTracerProvider) {
    let kinds = [
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ];
    let statuses = [Status::Unset, Status::Ok, Status::error("it broke"), Status::error("")];
    let parents = [
        Context::new(),
        Context::new().with_remote_span_context(context(true)),
        Context::new().with_remote_span_context(context(false)),
    ];
    for name in ["one", "two"] {
        let tracer = provider.tracer_with_scope(scope(name));
        for (place, kind) in kinds.iter().enumerate() {
            for parent in &parents {
                let builder = SpanBuilder::from_name(format!("{name} {place}"))
                    .with_kind(kind.clone())
                    .with_start_time(at(place as u64))
                    .with_attributes(attributes())
                    .with_links(vec![
                        Link::new(context(true), attributes(), 3),
                        Link::with_context(context(false)),
                    ])
                    .with_events(vec![Event::new("first", at(20), attributes(), 2)]);
                let mut span = tracer.build_with_context(builder, parent);
                span.add_event_with_timestamp("second", at(21), Vec::new());
                // More than a span may hold: the count of what was dropped is sent as well.
                for number in 0..200 {
                    span.add_event_with_timestamp("more", at(22), Vec::new());
                    span.set_attribute(KeyValue::new(format!("more.{number}"), number));
                }
                span.set_status(statuses[place % statuses.len()].clone());
                span.end_with_timestamp(at(30));
            }
        }
    }
    // Not sampled: sent by nobody.
    let unsampled = flagged(true, TraceFlags::default());
    let parent = Context::new().with_remote_span_context(unsampled);
    provider.tracer("one").start_with_context("unsampled", &parent).end();
}

/// Emits log records of two scopes and two targets: bare ones, and ones with everything.
pub(super) fn emit_logs(provider: &SdkLoggerProvider) {
    for name in ["one", "two"] {
        let logger = provider.logger_with_scope(scope(name));
        logger.emit(logger.create_log_record());
        for (place, severity) in
            [Severity::Trace, Severity::Info, Severity::Fatal4].iter().enumerate()
        {
            let mut record = logger.create_log_record();
            record.set_timestamp(at(place as u64));
            record.set_observed_timestamp(at(40));
            record.set_severity_number(*severity);
            record.set_severity_text(severity.name());
            record.set_body(nested());
            record.set_event_name("happened");
            if place == 1 {
                record.set_target(format!("target of {name}"));
            }
            let ids = context(false);
            record.set_trace_context(ids.trace_id(), ids.span_id(), Some(ids.trace_flags()));
            record.add_attribute("text", "value");
            record.add_attribute("int", i64::MAX);
            record.add_attribute("float", 0.1);
            record.add_attribute("bool", false);
            record.add_attribute("bytes", AnyValue::Bytes(Box::new(vec![0, 255, 7])));
            record.add_attribute("nested", nested());
            logger.emit(record);
        }
    }
}

fn nested() -> AnyValue {
    let list =
        AnyValue::ListAny(Box::new(vec!["a".into(), AnyValue::Int(1), AnyValue::Double(2.5)]));
    let map = HashMap::from([
        (Key::new("list"), list),
        (Key::new("text"), "value".into()),
        (Key::new("no"), AnyValue::Boolean(false)),
    ]);
    AnyValue::Map(Box::new(map))
}

/// Records sums, gauges and histograms of two scopes, of integers and floats.
pub(super) fn record_metrics(provider: &impl MeterProvider) {
    for name in ["first", "second"] {
        let meter = provider.meter_with_scope(scope(name));
        let named = |kind: &str| format!("{name}.{kind}");
        let all = attributes();
        meter.u64_counter(named("sum.u64")).with_unit("By").build().add(u64::MAX >> 1, &all);
        meter.f64_counter(named("sum.f64")).with_description("Sums.").build().add(0.1, &all);
        let level = meter.i64_up_down_counter(named("level.i64")).build();
        level.add(-7, &[]);
        level.add(3, &all);
        meter.f64_up_down_counter(named("level.f64")).build().add(-0.5, &[]);
        meter.i64_gauge(named("gauge.i64")).build().record(i64::MIN, &all);
        meter.f64_gauge(named("gauge.f64")).build().record(f64::MIN, &all);
        let observe = |observer: &dyn opentelemetry::metrics::AsyncInstrument<f64>| {
            observer.observe(1.5, &[KeyValue::new("observed", true)]);
        };
        meter.f64_observable_counter(named("observed.sum")).with_callback(observe).build();
        meter.f64_observable_gauge(named("observed.gauge")).with_callback(observe).build();
        let bounds = vec![0.5, 1.0, 2.0];
        let latency = meter.f64_histogram(named("histogram.f64")).with_boundaries(bounds).build();
        [0.25, 1.0, 1.5, 99.0].iter().for_each(|value| latency.record(*value, &all));
        meter.u64_histogram(named("histogram.u64")).with_unit("s").build().record(3, &[]);
    }
}

/// Fails unless what was recorded has been received: two empty requests are alike as well.
pub(super) fn assert_complete(received: &Received) {
    assert_eq!(received.spans().count(), 2 * 30);
    assert!(received.spans().all(|span| {
        span.links.len() == 2
            && span.dropped_events_count > 0
            && span.dropped_attributes_count > 0
            && span.trace_state.is_empty() == span.parent_span_id.is_empty()
    }));
    assert_eq!(received.log_records().count(), 2 * 8);
    let scopes: std::collections::BTreeSet<_> =
        received.log_records().map(|(scope, _)| scope).collect();
    assert_eq!(scopes, ["one", "target of one", "target of two", "two"].into());
    for kind in ["sum.u64", "level.i64", "gauge.f64", "observed.sum", "histogram.f64"] {
        for name in ["first", "second"] {
            let metric = received.metric(&format!("{name}.{kind}"));
            let data = metric.and_then(|metric| metric.data.as_ref());
            let as_recorded = match (kind, data) {
                ("sum.u64" | "observed.sum", Some(Data::Sum(sum))) => {
                    sum.is_monotonic && sum.aggregation_temporality == 2
                }
                ("level.i64", Some(Data::Sum(sum))) => sum.data_points.len() == 2,
                ("gauge.f64", Some(Data::Gauge(gauge))) => {
                    gauge.data_points[0].attributes.len() == attributes().len()
                }
                ("histogram.f64", Some(Data::Histogram(histogram))) => {
                    histogram.aggregation_temporality == 2
                        && histogram.data_points[0].bucket_counts == [1, 1, 1, 1]
                }
                _ => false,
            };
            assert!(as_recorded, "{name}.{kind}: {data:?}");
        }
    }
}
