use super::{config, entered, logs, spans, string};
use std::time::Duration;
use streamhouse_observability::declare::Declare;
use streamhouse_observability::labels::Signal;
use streamhouse_observability::pipeline::{Compression, Headers, Protocol};
use streamhouse_observability::testing::otlp::OtlpReceiver;

fn all_three_signals_arrive(protocol: Protocol, compression: Compression) {
    let receiver = OtlpReceiver::start();
    let mut config = config(receiver.endpoint(), protocol);
    config.otlp.compression = Some(compression);
    config.otlp.headers = Some(Headers::new([("x-tenant".to_owned(), "blue".to_owned())]));
    let (observability, _default) = entered(config);

    tracing::info_span!("work", place = 7).in_scope(|| tracing::info!("inside"));
    let report = observability.shutdown(Duration::from_secs(20));

    assert!(report.in_time, "{report:?}");
    let received = receiver.received();
    let spans: Vec<_> = received.spans().collect();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].name, "work");
    let records: Vec<_> = received.log_records().collect();
    assert_eq!(records.len(), 1);
    assert_eq!(string(records[0].1.body.as_ref()), Some("inside"));
    assert_eq!(records[0].1.trace_id, spans[0].trace_id);
    assert!(received.metric("streamhouse.telemetry.created").is_some());
    for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
        let mut requests = received.requests.iter().filter(|one| one.signal == signal);
        let request = requests.next().expect("a request of each signal");
        assert_eq!(request.protocol, protocol);
        assert_eq!(request.header("x-tenant"), Some("blue"));
        let encoding = match protocol {
            Protocol::Grpc => "grpc-encoding",
            Protocol::HttpProtobuf => "content-encoding",
        };
        let zipped = compression == Compression::Gzip;
        assert_eq!(request.header(encoding), zipped.then_some("gzip"));
    }
    for signal in [report.traces, report.logs, report.metrics] {
        assert!(signal.is_balanced(), "{report:?}");
        assert_eq!(signal.exported, signal.created, "{report:?}");
    }
}

#[test]
fn all_three_signals_arrive_over_grpc() {
    all_three_signals_arrive(Protocol::Grpc, Compression::None);
}

#[test]
fn all_three_signals_arrive_over_grpc_with_gzip() {
    all_three_signals_arrive(Protocol::Grpc, Compression::Gzip);
}

#[test]
fn all_three_signals_arrive_over_http() {
    all_three_signals_arrive(Protocol::HttpProtobuf, Compression::None);
}

#[test]
fn all_three_signals_arrive_over_http_with_gzip() {
    all_three_signals_arrive(Protocol::HttpProtobuf, Compression::Gzip);
}

#[test]
fn batches_leave_while_the_process_runs() {
    let receiver = OtlpReceiver::start();
    let mut config = config(receiver.endpoint(), Protocol::HttpProtobuf);
    config.metrics.interval = Duration::from_millis(20);
    let (_observability, _default) = entered(config);

    spans(3);
    logs(3);

    receiver.wait_for("spans", |received| received.spans().count() == 3);
    receiver.wait_for("log records", |received| received.log_records().count() == 3);
    receiver.wait_for("two pushes", |received| received.attempts(Signal::Metrics) >= 2);
}

#[test]
fn every_signal_carries_the_resource() {
    let receiver = OtlpReceiver::start();
    let mut config = config(receiver.endpoint(), Protocol::Grpc);
    config.service.attributes.push(("team".to_owned(), "log".to_owned()));
    let (observability, _default) = entered(config);
    spans(1);
    logs(1);
    observability.shutdown(Duration::from_secs(20));

    let received = receiver.received();
    let resources = [
        received.traces[0].resource_spans[0].resource.clone(),
        received.logs[0].resource_logs[0].resource.clone(),
        received.metrics[0].resource_metrics[0].resource.clone(),
    ];
    for resource in resources {
        let resource = resource.expect("a resource");
        let value = |key: &str| {
            let pair = resource.attributes.iter().find(|pair| pair.key == key);
            pair.unwrap_or_else(|| panic!("no {key}")).value.as_ref()
        };
        assert_eq!(string(value("service.name")), Some("test"));
        assert_eq!(string(value("service.version")), Some("1.2.3"));
        assert_eq!(string(value("team")), Some("log"));
        assert_eq!(string(value("service.instance.id")).map(str::len), Some(36));
        assert_eq!(string(value("telemetry.sdk.language")), Some("rust"));
        for key in ["process.pid", "os.type", "host.name"] {
            assert!(value(key).is_some());
        }
    }
}

streamhouse_observability::instruments! {
    /// Things of this test.
    struct Things("test") {
        /// Things that happened.
        happened: streamhouse_observability::declare::Counter<Signal> = "{thing}";
    }
}

fn things(declare: &Declare) -> Things {
    Things::declare(declare)
}

#[test]
fn an_instrument_of_ones_own_is_pushed_with_its_value() {
    use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
    let receiver = OtlpReceiver::start();
    let (observability, _default) = entered(config(receiver.endpoint(), Protocol::Grpc));
    let cell = things(observability.declare()).happened.bind(&Signal::Logs);
    cell.add(42);
    observability.shutdown(Duration::from_secs(20));

    let received = receiver.received();
    let metric = received.metric("test.happened").expect("the metric is pushed");
    let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
    assert!(sum.is_monotonic);
    assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsInt(42)));
    assert_eq!(string(sum.data_points[0].attributes[0].value.as_ref()), Some("logs"));
}
