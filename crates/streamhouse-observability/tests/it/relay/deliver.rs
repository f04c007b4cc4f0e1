//! What arrives at the receiver, and what the ledger says of it.

use super::{CLIENT, message, push, read, resource, sum, text};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use streamhouse_observability::Observability;
use streamhouse_observability::instruments::ClientTelemetryMetrics;
use streamhouse_observability::labels::{PushRefusal, Signal};
use streamhouse_observability::pipeline::{Config, Protocol};
use streamhouse_observability::relay::{Full, PushLedger, PushReport, Relay, RelayLimits};
use streamhouse_observability::testing;
use streamhouse_observability::testing::otlp::{Fault, OtlpReceiver, Received, RefusingPort};
use tracing_subscriber::Registry;

struct Relaying {
    observability: Observability,
    relay: Relay,
    ledger: PushLedger,
}

impl Relaying {
    fn start(endpoint: String, protocol: Protocol, limits: RelayLimits) -> Self {
        let mut config = Config::new("test", "1.2.3");
        config.log_lines = false;
        config.metrics.otlp.endpoint = Some(match protocol {
            Protocol::Grpc => endpoint,
            Protocol::HttpProtobuf => format!("{endpoint}/v1/metrics"),
        });
        config.metrics.otlp.protocol = Some(protocol);
        config.metrics.otlp.timeout = Some(Duration::from_millis(300));
        config.metrics.interval = Duration::from_secs(3600);
        let (mut observability, _layers) = testing::pipeline::<Registry>(config).expect("good");
        let relay = observability.relay(limits).expect("metrics are exported");
        let ledger = PushLedger::new(&ClientTelemetryMetrics::declare(observability.declare()));
        Self { observability, relay, ledger }
    }

    fn offer(&self, series: usize) -> Result<(), Full> {
        self.relay.offer(message(series), self.ledger.receive(100))
    }

    /// Waits until nothing is on its way.
    fn settled(&self) -> PushReport {
        let start = Instant::now();
        loop {
            let report = self.ledger.report();
            if report.pending == 0 {
                assert!(report.is_balanced(), "{report:?}");
                return report;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{report:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The attributes of every resource of clients that was received.
fn resources(received: &Received) -> Vec<BTreeMap<String, String>> {
    let all = received.metrics.iter().flat_map(|request| &request.resource_metrics);
    let attributes = all.map(|metrics| {
        let attributes = &metrics.resource.as_ref().expect("a resource").attributes;
        let text = |value: &Option<Value>| match value {
            Some(Value::StringValue(text)) => text.clone(),
            other => format!("{other:?}"),
        };
        let pair = |one: &opentelemetry_proto::tonic::common::v1::KeyValue| {
            (one.key.clone(), text(&one.value.as_ref().expect("a value").value))
        };
        attributes.iter().map(pair).collect()
    });
    let of_clients = |attributes: &BTreeMap<String, String>| {
        attributes.get("service.name").map(String::as_str) == Some("kafka-client")
    };
    attributes.filter(of_clients).collect()
}

#[test]
fn a_push_arrives_under_a_resource_that_says_whose_it_is_over_both_protocols() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let receiver = OtlpReceiver::start();
        let relaying = Relaying::start(receiver.endpoint(), protocol, RelayLimits::default());
        let theirs = vec![
            text("group_id", "billing"),
            text("service.name", "streamhouse"),
            text("service.namespace", "production"),
            text("principal", "User:root"),
            text("client_rack", &"x".repeat(1_000)),
        ];
        // The Java client gives every metric a resource of its own.
        let plain = push(vec![
            resource(theirs.clone(), vec![sum("org.apache.kafka.consumer.a", 2)]),
            resource(theirs, vec![sum("org.apache.kafka.consumer.b", 1)]),
        ]);
        let message = read(&plain, 3).expect("good metrics");
        relaying.relay.offer(message, relaying.ledger.receive(plain.len())).expect("room");

        let received = receiver.wait_for("the push", |received| !received.metrics.is_empty());
        assert_eq!(received.requests[0].protocol, protocol);
        let resources = resources(&received);
        let expected = BTreeMap::from([
            ("client_id", CLIENT.id.to_owned()),
            ("client_instance_id", CLIENT.instance.to_string()),
            ("client_rack", "x".repeat(256)),
            ("client_software_name", "librdkafka".into()),
            ("client_software_version", "2.12.1".into()),
            ("group_id", "billing".into()),
            ("principal", "User:ANONYMOUS".into()),
            ("service.instance.id", CLIENT.instance.to_string()),
            ("service.name", "kafka-client".into()),
        ]);
        let expected = expected.into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
        assert_eq!(resources, [expected]);
        let scopes = &received.metrics[0].resource_metrics[0].scope_metrics;
        assert_eq!(scopes.len(), 1);
        assert_eq!(scopes[0].scope, None, "the client's name and number are not a scope");
        let names: Vec<_> = received.metric_list().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["org.apache.kafka.consumer.a", "org.apache.kafka.consumer.b"]);
        let report = relaying.settled();
        assert_eq!((report.pushes, report.relayed), (1, 1));
    }
}

#[test]
fn every_push_is_accounted_for_whatever_the_receiver_does() {
    let receiver = OtlpReceiver::start();
    let endpoint = receiver.endpoint();
    let relaying = Relaying::start(endpoint, Protocol::HttpProtobuf, RelayLimits::default());
    let mut expected = PushReport::default();
    for (fault, relayed) in [
        (Fault::None, true),
        (Fault::Invalid, false),
        (Fault::Reject(1), true),
        (Fault::Reject(2), false),
        (Fault::Rubbish(10), true),
        (Fault::Unavailable(None), false),
        (Fault::Hang, false),
    ] {
        receiver.set_fault(fault);
        for _ in 0..3 {
            relaying.offer(2).expect("room");
        }
        expected.pushes += 3;
        *(if relayed { &mut expected.relayed } else { &mut expected.failed }) += 3;
        assert_eq!(relaying.settled(), expected, "{fault:?}");
    }
    receiver.set_fault(Fault::None);
    // After failures comes a pause: what falls into it fails, and what comes later does not.
    let start = Instant::now();
    let before = expected.relayed;
    while relaying.settled().relayed == before {
        assert!(start.elapsed() < Duration::from_secs(30));
        relaying.offer(2).expect("room");
    }
    // The signal's own ledger is not the relay's.
    assert_eq!(relaying.observability.report(Signal::Metrics).created, 0);
}

#[test]
fn what_waits_for_a_hung_receiver_is_bounded_in_pushes_and_bytes_and_nobody_waits() {
    for limits in [
        RelayLimits { pushes: 4, ..RelayLimits::default() },
        RelayLimits { bytes: 4_000, ..RelayLimits::default() },
    ] {
        let receiver = OtlpReceiver::start();
        receiver.set_fault(Fault::Hang);
        let relaying = Relaying::start(receiver.endpoint(), Protocol::HttpProtobuf, limits);
        let start = Instant::now();
        let offered = 200;
        let turned_away = (0..offered).filter(|_| relaying.offer(10).is_err()).count() as u64;
        assert!(start.elapsed() < Duration::from_secs(2), "offering took {:?}", start.elapsed());
        assert!((150..200).contains(&turned_away), "{turned_away}");
        let report = relaying.ledger.report();
        assert_eq!(report.refused, turned_away);
        assert!(report.is_balanced(), "{report:?}");
        let refused = relaying.settled();
        assert_eq!(refused.failed, offered - turned_away, "{refused:?}");
    }
}

#[test]
fn the_shutdown_sends_what_waits_and_a_hung_receiver_holds_it_no_longer_than_its_deadline() {
    let receiver = OtlpReceiver::start();
    let limits = RelayLimits::default();
    let relaying = Relaying::start(receiver.endpoint(), Protocol::HttpProtobuf, limits);
    receiver.set_fault(Fault::Slow(Duration::from_millis(5)));
    for _ in 0..10 {
        relaying.offer(1).expect("room");
    }
    let Relaying { observability, relay, ledger } = relaying;
    assert!(observability.shutdown(Duration::from_secs(20)).in_time);
    assert_eq!(ledger.report().relayed, 10);
    assert_eq!(relay.offer(message(1), ledger.receive(1)), Err(Full), "after the end");

    let relaying = Relaying::start(receiver.endpoint(), Protocol::HttpProtobuf, limits);
    receiver.set_fault(Fault::Hang);
    for _ in 0..10 {
        relaying.offer(1).expect("room");
    }
    let Relaying { observability, ledger, .. } = relaying;
    let report = observability.shutdown(Duration::from_millis(100));
    assert!(!report.in_time && report.took < Duration::from_secs(5), "{report:?}");
    let start = Instant::now();
    while ledger.report().pending != 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", ledger.report());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(ledger.report().failed, 10);
    assert!(ledger.report().is_balanced());
}

#[test]
fn without_an_export_of_metrics_nothing_is_relayed() {
    let mut config = Config::new("test", "1.2.3");
    config.log_lines = false;
    let (mut nowhere, _) = testing::pipeline::<Registry>(config.clone()).expect("good");
    assert!(nowhere.relay(RelayLimits::default()).is_none());

    config.traces.otlp.endpoint = Some(RefusingPort::reserve().endpoint());
    let (mut only_traces, _) = testing::pipeline::<Registry>(config).expect("good");
    assert!(only_traces.relay(RelayLimits::default()).is_none());
}

#[test]
fn a_push_that_is_given_up_anywhere_is_in_the_books() {
    let (declare, seen) = testing::in_memory();
    let ledger = PushLedger::new(&ClientTelemetryMetrics::declare(&declare));
    drop(ledger.receive(10));
    ledger.receive(20).refuse(PushRefusal::TooEarly);
    let waiting = ledger.receive(30);
    let report = ledger.report();
    assert_eq!((report.pushes, report.failed, report.refused, report.pending), (3, 1, 1, 1));
    assert!(report.is_balanced());
    assert_eq!(seen.count("streamhouse.client_telemetry.bytes", &[]), 60);
    let too_early = [("reason", "too_early")];
    assert_eq!(seen.count("streamhouse.client_telemetry.refused", &too_early), 1);
    drop(waiting);
}
