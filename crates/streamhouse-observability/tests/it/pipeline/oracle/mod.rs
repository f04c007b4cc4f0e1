//! The exporters of `opentelemetry-otlp` are the oracle of ours: the SDK gives both the same
//! items, both send them to the same receiver, and the requests must be the same.

mod items;
mod library;

use super::config;
use items::{about, emit_logs, end_spans, record_metrics};
use library::Library;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::fmt::Debug;
use std::time::Duration;
use streamhouse_observability::labels::Signal;
use streamhouse_observability::pipeline::{Compression, Headers, Protocol};
use streamhouse_observability::testing::Exporters;
use streamhouse_observability::testing::otlp::{OtlpReceiver, Received, RequestInfo};

/// Nothing leaves before it is told to: each side has one batch of each signal.
const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn what_is_sent_is_what_opentelemetry_otlp_sends() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        for compression in [Compression::None, Compression::Gzip] {
            let received = sent_twice(protocol, compression);
            let [theirs, ours] = pair(&received.traces);
            assert_eq!(theirs, ours);
            let [theirs, ours] = pair(&received.logs);
            assert_eq!(ordered(theirs), ordered(ours));
            let [theirs, ours] = pair(&received.metrics);
            assert_eq!(theirs, ours);
            for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
                let of = |one: &&RequestInfo| one.signal == signal;
                let requests: Vec<_> = received.requests.iter().filter(of).cloned().collect();
                let [theirs, ours] = pair(&requests);
                assert_eq!((theirs.protocol, ours.protocol), (protocol, protocol));
                assert_eq!(headers(theirs), headers(ours), "{signal:?}");
            }
            items::assert_complete(&received);
        }
    }
}

/// Everything is sent by the library first, then by us.
fn sent_twice(protocol: Protocol, compression: Compression) -> Received {
    let receiver = OtlpReceiver::start();
    let mut config = config(receiver.endpoint(), protocol);
    config.otlp.compression = Some(compression);
    config.otlp.headers = Some(Headers::new([("x-tenant".to_owned(), "blue".to_owned())]));
    config.traces.batch.delay = NEVER;
    config.logs.batch.delay = NEVER;
    let library = Library { endpoint: receiver.endpoint(), protocol, compression };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();

    let resource = about();
    let pushed = library.metrics();
    let handle = runtime.handle().clone();
    let ours = Exporters::start(&config, &resource, move |metrics| {
        handle.block_on(pushed.export(metrics)).expect("the library exports metrics");
    });
    let ours = ours.expect("the configuration is good");
    let spans = SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_span_processor(library.spans())
        .with_span_processor(ours.span_processor())
        .build();
    let logs = SdkLoggerProvider::builder()
        .with_resource(resource)
        .with_log_processor(library.logs())
        .with_log_processor(ours.log_processor())
        .build();

    end_spans(&spans);
    emit_logs(&logs);
    record_metrics(&ours.metrics().global_provider());
    spans.force_flush().expect("the library exports spans");
    logs.force_flush().expect("the library exports log records");
    let report = ours.shutdown(Duration::from_secs(20));
    assert!(report.in_time, "{report:?}");
    receiver.received()
}

/// The library's request and ours.
fn pair<T: Debug>(requests: &[T]) -> [&T; 2] {
    let [theirs, ours] = requests else { panic!("two requests, not {}", requests.len()) };
    [theirs, ours]
}

/// A request of log records in an order of its own: scopes, and the pairs of a
/// map, come in the order of a hash map, whose seed is random. The order of the records in
/// a scope, and of everything else, is as it was sent.
fn ordered(request: &ExportLogsServiceRequest) -> ExportLogsServiceRequest {
    let mut request = request.clone();
    for resource in &mut request.resource_logs {
        resource.scope_logs.sort_by_key(|logs| format!("{:?}", logs.scope));
        for record in resource.scope_logs.iter_mut().flat_map(|logs| &mut logs.log_records) {
            record.body.as_mut().into_iter().for_each(order);
            record.attributes.iter_mut().filter_map(|pair| pair.value.as_mut()).for_each(order);
        }
    }
    request
}

fn order(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::ArrayValue(list)) => list.values.iter_mut().for_each(order),
        Some(Value::KvlistValue(map)) => {
            map.values.sort_by(|one, other| one.key.cmp(&other.key));
            map.values.iter_mut().filter_map(|pair| pair.value.as_mut()).for_each(order);
        }
        _ => {}
    }
}

/// The headers of a request, sorted; without `user-agent`, which has to tell the two apart, and the
/// length of a zipped body, for the level of compression is each side's own.
fn headers(request: &RequestInfo) -> Vec<&(String, String)> {
    let zipped = request.header("content-encoding").is_some();
    let kept = |name: &str| name != "user-agent" && !(zipped && name == "content-length");
    let mut headers: Vec<_> = request.headers.iter().filter(|(name, _)| kept(name)).collect();
    headers.sort();
    headers
}
