//! Metrics that clients push: from the socket to an OTLP receiver in this process.

use crate::server::{PATIENCE, Server, eventually};
use crate::wire::Wire;
use bytes::Bytes;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::{
    ApiVersionsRequest, GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
    PushTelemetryRequest, PushTelemetryResponse,
};
use kafka_protocol::protocol::StrBytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, MetricsData, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use prost::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::collections::BTreeMap;
use std::time::Duration;
use streamhouse_kafka::{BrokerConfig, ClientTelemetryConfig, Pattern};
use streamhouse_observability::Observability;
use streamhouse_observability::pipeline::Config;
use streamhouse_observability::relay::RelayLimits;
use streamhouse_observability::testing;
use streamhouse_observability::testing::otlp::{Fault, OtlpReceiver, Received};
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(3600);

/// A server that passes metrics of clients on, and where they arrive.
struct Relaying {
    server: Server,
    receiver: OtlpReceiver,
    _observability: Observability,
}

impl Relaying {
    async fn start(client_telemetry: ClientTelemetryConfig) -> Self {
        Self::bounded(client_telemetry, RelayLimits::default()).await
    }

    async fn bounded(client_telemetry: ClientTelemetryConfig, limits: RelayLimits) -> Self {
        let receiver = OtlpReceiver::start();
        let mut config = Config::new("test", "1.2.3");
        config.log_lines = false;
        config.metrics.otlp.endpoint = Some(format!("{}/v1/metrics", receiver.endpoint()));
        config.metrics.otlp.timeout = Some(Duration::from_millis(300));
        config.metrics.interval = HOUR;
        let pipeline = testing::pipeline::<tracing_subscriber::Registry>(config);
        let (mut observability, _layers) = pipeline.unwrap();
        let relay = observability.relay(limits).unwrap();
        let refresh = Duration::from_millis(20);
        let config = BrokerConfig { client_telemetry, refresh, ..BrokerConfig::default() };
        let server = Server::relaying(config, relay).await;
        Self { server, receiver, _observability: observability }
    }

    fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.server.count(&format!("streamhouse.client_telemetry.{name}"), labels)
    }

    /// Waits until nothing is on its way, and checks that every push is accounted for.
    async fn balanced(&self) -> (u64, u64, u64) {
        self.server.gauge("streamhouse.client_telemetry.pending", 0.0).await;
        let (relayed, failed) = (self.count("relayed", &[]), self.count("failed", &[]));
        let refused = self.count("refused", &[]);
        assert_eq!(self.count("pushes", &[]), relayed + failed + refused);
        (relayed, failed, refused)
    }
}

fn hourly() -> ClientTelemetryConfig {
    ClientTelemetryConfig { interval: HOUR, ..ClientTelemetryConfig::default() }
}

/// Metrics of so many series, as a client writes them.
fn metrics(series: usize) -> Bytes {
    let data_points = vec![NumberDataPoint { time_unix_nano: 1, ..Default::default() }; series];
    let name = "org.apache.kafka.producer.connection.creation.total".into();
    let data = Some(Data::Gauge(Gauge { data_points }));
    encoded(vec![Metric { name, data, ..Metric::default() }])
}

/// A gauge of each name.
fn named(names: impl IntoIterator<Item = String>) -> Bytes {
    let gauge = |name| {
        let data_points = vec![NumberDataPoint { time_unix_nano: 1, ..Default::default() }];
        let data = Some(Data::Gauge(Gauge { data_points }));
        Metric { name, data, ..Metric::default() }
    };
    encoded(names.into_iter().map(gauge).collect())
}

/// A sum of what was added since the last push.
fn delta() -> Bytes {
    let data_points = vec![NumberDataPoint { time_unix_nano: 1, ..Default::default() }];
    let sum = Sum { data_points, aggregation_temporality: 1, is_monotonic: true };
    let data = Some(Data::Sum(sum));
    encoded(vec![Metric { name: "a.total".into(), data, ..Metric::default() }])
}

fn encoded(metrics: Vec<Metric>) -> Bytes {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    MetricsData { resource_metrics }.encode_to_vec().into()
}

async fn subscribe(wire: &mut Wire, instance: Uuid) -> GetTelemetrySubscriptionsResponse {
    let request = GetTelemetrySubscriptionsRequest::default().with_client_instance_id(instance);
    wire.ask(&request, 0).await
}

fn push(subscription: &GetTelemetrySubscriptionsResponse, metrics: Bytes) -> PushTelemetryRequest {
    PushTelemetryRequest::default()
        .with_client_instance_id(subscription.client_instance_id)
        .with_subscription_id(subscription.subscription_id)
        .with_metrics(metrics)
}

/// The text attributes of every resource received.
fn resources(received: &Received) -> Vec<BTreeMap<String, String>> {
    let all = received.metrics.iter().flat_map(|request| &request.resource_metrics);
    let attributes = all.map(|metrics| {
        let attributes = metrics.resource.iter().flat_map(|resource| &resource.attributes);
        let text = attributes.filter_map(|one| match one.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some((one.key.clone(), text.clone())),
            _ => None,
        });
        text.collect()
    });
    attributes.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_what_to_push_and_its_push_arrives_with_its_name() {
    let config = ClientTelemetryConfig {
        metrics: vec!["org.apache.kafka.producer.".into(), "org.apache.kafka.consumer.".into()],
        interval: Duration::from_secs(30),
        ..ClientTelemetryConfig::default()
    };
    let relaying = Relaying::start(config).await;
    let mut wire = relaying.server.wire().await;
    let hello = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("librdkafka"))
        .with_client_software_version(StrBytes::from_static_str("2.12.1"));
    wire.ask(&hello, 3).await;

    let told = subscribe(&mut wire, Uuid::nil()).await;
    assert_eq!((told.error_code, told.throttle_time_ms), (0, 0));
    assert!(!told.client_instance_id.is_nil());
    assert_eq!(told.accepted_compression_types, [4, 3, 1, 2], "zstd, lz4, gzip, snappy");
    assert_eq!((told.push_interval_ms, told.telemetry_max_bytes), (30_000, 1 << 20));
    assert!(!told.delta_temporality);
    let prefixes: Vec<_> = told.requested_metrics.iter().map(StrBytes::as_str).collect();
    assert_eq!(prefixes, ["org.apache.kafka.producer.", "org.apache.kafka.consumer."]);
    let again = subscribe(&mut wire, told.client_instance_id).await;
    assert_eq!(again.client_instance_id, told.client_instance_id, "an instance keeps its id");
    assert_eq!(again.subscription_id, told.subscription_id);
    relaying.server.gauge("streamhouse.client_telemetry.instances", 1.0).await;

    let answer = wire.ask(&push(&told, metrics(1)), 0).await;
    assert_eq!((answer.error_code, answer.throttle_time_ms), (0, 0));
    let received = relaying.receiver.wait_for("the push", |it| !it.metrics.is_empty());
    let instance = told.client_instance_id.to_string();
    let expected = [
        ("client_id", "raw"),
        ("client_instance_id", &instance),
        ("client_software_name", "librdkafka"),
        ("client_software_version", "2.12.1"),
        ("principal", "User:ANONYMOUS"),
        ("service.instance.id", &instance),
        ("service.name", "kafka-client"),
    ];
    let expected = expected.map(|(key, text)| (key.to_owned(), text.to_owned()));
    assert_eq!(resources(&received), [BTreeMap::from(expected)]);
    assert_eq!(relaying.balanced().await, (1, 0, 0));
    assert_eq!(relaying.count("bytes", &[]), metrics(1).len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_has_its_error_and_its_place_in_the_ledger() {
    let config = ClientTelemetryConfig {
        max_series: 50,
        max_push_bytes: 100_000,
        max_instances: 11,
        ..hourly()
    };
    let limits = RelayLimits { bytes: 100, ..RelayLimits::default() };
    let relaying = Relaying::bounded(config, limits).await;
    let mut wire = relaying.server.wire().await;
    type Change = fn(&mut PushTelemetryRequest);
    let cases: [(Change, Code, &str); 10] = [
        (|it| it.subscription_id += 1, Code::UnknownSubscriptionId, "unknown_subscription"),
        (
            |it| it.client_instance_id = Uuid::nil(),
            Code::UnknownSubscriptionId,
            "unknown_subscription",
        ),
        (|it| it.compression_type = 5, Code::UnsupportedCompressionType, "unsupported_compression"),
        (|it| it.metrics = vec![0; 100_001].into(), Code::TelemetryTooLarge, "too_large"),
        (|it| it.metrics = vec![0xff; 100].into(), Code::InvalidRecord, "invalid"),
        (|it| it.compression_type = 4, Code::InvalidRecord, "invalid"),
        (|it| it.metrics = named(["x".repeat(90_000)]), Code::InvalidRecord, "invalid"),
        (|it| it.metrics = delta(), Code::InvalidRecord, "not_cumulative"),
        (|it| it.metrics = metrics(51), Code::ThrottlingQuotaExceeded, "too_many_series"),
        (|_| {}, Code::ThrottlingQuotaExceeded, "full"),
    ];
    let mut told = None;
    for (change, code, reason) in cases {
        let before = relaying.count("refused", &[("reason", reason)]);
        let subscription = subscribe(&mut wire, Uuid::nil()).await;
        let mut request = push(&subscription, metrics(1));
        change(&mut request);
        let answer = wire.ask(&request, 0).await;
        assert_eq!(answer.error_code, code.code(), "{reason}");
        let throttled = code == Code::ThrottlingQuotaExceeded;
        assert_eq!(answer.throttle_time_ms, if throttled { 1_000 } else { 0 });
        assert_eq!(relaying.count("refused", &[("reason", reason)]), before + 1, "{reason}");
        told = Some(subscription);
    }
    // The last instance has pushed within its interval, then terminates, then comes again.
    let told = told.unwrap();
    let early = wire.ask(&push(&told, metrics(1)), 0).await;
    assert_eq!(early.error_code, Code::ThrottlingQuotaExceeded.code());
    assert_eq!(relaying.count("refused", &[("reason", "too_early")]), 1);
    let last = push(&told, metrics(1)).with_terminating(true);
    let answer = wire.ask(&last, 0).await;
    assert_eq!(answer.error_code, Code::ThrottlingQuotaExceeded.code(), "still full");
    for request in [last, push(&told, metrics(1))] {
        assert_eq!(wire.ask(&request, 0).await.error_code, Code::InvalidRequest.code());
    }
    assert_eq!(relaying.count("refused", &[("reason", "terminated")]), 2);
    // One more instance fits, and no other, whether it asks or pushes.
    assert_eq!(subscribe(&mut wire, Uuid::from_u128(1)).await.error_code, 0);
    let beyond = subscribe(&mut wire, Uuid::from_u128(2)).await;
    assert_eq!(beyond.error_code, Code::ThrottlingQuotaExceeded.code());
    assert_eq!(beyond.requested_metrics.len(), 0);
    let stranger = push(&told, metrics(1)).with_client_instance_id(Uuid::from_u128(2));
    let answer = wire.ask(&stranger, 0).await;
    assert_eq!(answer.error_code, Code::ThrottlingQuotaExceeded.code());
    assert_eq!(relaying.count("refused", &[("reason", "too_many_instances")]), 1);
    let (relayed, failed, refused) = relaying.balanced().await;
    assert_eq!((relayed, failed, refused), (0, 0, 15));
}

fn received_names(relaying: &Relaying) -> Vec<String> {
    let received = relaying.receiver.received();
    received.metric_list().map(|metric| metric.name.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_beyond_those_that_an_instance_may_have_in_its_life_are_left_out_and_counted() {
    let relaying = Relaying::start(ClientTelemetryConfig { max_series: 50, ..hourly() }).await;
    let mut wire = relaying.server.wire().await;
    let names = |range: std::ops::Range<u32>| named(range.map(|n| format!("m{n:02}")));
    let told = subscribe(&mut wire, Uuid::nil()).await;
    assert_eq!(wire.ask(&push(&told, names(0..30)), 0).await.error_code, 0);
    // A last push may follow at once: 10 series that it has, 20 more, and 10 too many.
    let last = push(&told, names(20..60)).with_terminating(true);
    assert_eq!(wire.ask(&last, 0).await.error_code, 0);
    assert_eq!(relaying.balanced().await, (2, 0, 0));
    let expected = (0..30).chain(20..50).map(|n| format!("m{n:02}"));
    assert_eq!(received_names(&relaying), expected.collect::<Vec<_>>());
    let beyond = [("reason", "too_many_series")];
    assert_eq!(relaying.count("left_out", &beyond), 10);

    // Another instance has its own; a push of which nothing is left is refused, and the client goes
    // on: it may have done nothing wrong.
    let told = subscribe(&mut wire, Uuid::nil()).await;
    assert_eq!(wire.ask(&push(&told, names(0..50)), 0).await.error_code, 0);
    let last = push(&told, names(50..99)).with_terminating(true);
    assert_eq!(wire.ask(&last, 0).await.error_code, Code::ThrottlingQuotaExceeded.code());
    assert_eq!(relaying.balanced().await, (3, 0, 1));
    assert_eq!(relaying.count("refused", &beyond), 1);
    assert_eq!(relaying.count("left_out", &[]), 10, "a refused push is counted as such");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_that_were_not_asked_for_are_left_out_and_counted() {
    let metrics = vec!["org.apache.kafka.producer.".into(), "shop.".into()];
    let relaying = Relaying::start(ClientTelemetryConfig { metrics, ..hourly() }).await;
    let mut wire = relaying.server.wire().await;
    let names = |all: &[&str]| named(all.iter().map(|name| (*name).to_owned()));
    let told = subscribe(&mut wire, Uuid::nil()).await;
    let some = ["org.apache.kafka.consumer.a", "shop.a", "org.apache.kafka.producer.b", "shopping"];
    assert_eq!(wire.ask(&push(&told, names(&some)), 0).await.error_code, 0);
    assert_eq!(relaying.balanced().await, (1, 0, 0));
    assert_eq!(received_names(&relaying), ["shop.a", "org.apache.kafka.producer.b"]);
    assert_eq!(relaying.count("left_out", &[("reason", "not_subscribed")]), 2);

    let none = push(&told, names(&["org.apache.kafka.consumer.a"])).with_terminating(true);
    let answer = wire.ask(&none, 0).await;
    assert_eq!(answer.error_code, Code::UnknownSubscriptionId.code(), "it asks again");
    assert_eq!(relaying.count("refused", &[("reason", "not_subscribed")]), 1);
    assert_eq!(relaying.count("left_out", &[]), 2);
    assert_eq!(relaying.balanced().await, (1, 0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_not_wanted_is_told_so_and_its_push_is_refused() {
    let off = Server::start().await;
    let none = Relaying::start(ClientTelemetryConfig { metrics: Vec::new(), ..hourly() }).await;
    let client_ids = vec![Pattern::new("orders-*")];
    let other = Relaying::start(ClientTelemetryConfig { client_ids, ..hourly() }).await;
    let software = vec![Pattern::new("librdkafka")];
    let library = Relaying::start(ClientTelemetryConfig { software, ..hourly() }).await;
    for server in [&off, &none.server, &other.server, &library.server] {
        let mut wire = server.wire().await;
        let told = subscribe(&mut wire, Uuid::nil()).await;
        assert_eq!((told.error_code, told.requested_metrics.len()), (0, 0));
        let answer = wire.ask(&push(&told, metrics(1)), 0).await;
        assert_eq!(answer.error_code, Code::UnknownSubscriptionId.code(), "it asks again");
        let disabled = [("reason", "disabled")];
        assert_eq!(server.count("streamhouse.client_telemetry.refused", &disabled), 1);
        assert_eq!(server.count("streamhouse.client_telemetry.pushes", &[]), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_push_before_the_connection_closes_arrives_at_any_time() {
    let relaying = Relaying::start(hourly()).await;
    for place in 1..=20 {
        let mut wire = relaying.server.wire().await;
        let told = subscribe(&mut wire, Uuid::nil()).await;
        wire.ask(&push(&told, metrics(1)), 0).await;
        wire.send(&push(&told, metrics(1)).with_terminating(true), 0).await;
        drop(wire);
        relaying.receiver.wait_for("both pushes", |it| it.metrics.len() == 2 * place);
    }
    assert_eq!(relaying.balanced().await, (40, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_silent_is_forgotten_and_makes_room() {
    let config = ClientTelemetryConfig {
        interval: Duration::from_millis(100),
        max_instances: 1,
        ..ClientTelemetryConfig::default()
    };
    let relaying = Relaying::start(config).await;
    let mut wire = relaying.server.wire().await;
    assert_eq!(subscribe(&mut wire, Uuid::from_u128(1)).await.error_code, 0);
    let beyond = subscribe(&mut wire, Uuid::from_u128(2)).await;
    assert_eq!(beyond.error_code, Code::ThrottlingQuotaExceeded.code());
    relaying.server.gauge("streamhouse.client_telemetry.instances", 0.0).await;
    assert_eq!(subscribe(&mut wire, Uuid::from_u128(2)).await.error_code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_another_agent_than_the_one_that_was_asked_is_taken() {
    let (one, two) = (Relaying::start(hourly()).await, Relaying::start(hourly()).await);
    let told = subscribe(&mut one.server.wire().await, Uuid::nil()).await;
    let answer = two.server.wire().await.ask(&push(&told, metrics(1)), 0).await;
    assert_eq!(answer.error_code, 0);
    assert_eq!(two.balanced().await, (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_push_is_accounted_for_while_the_receiver_fails_and_producing_goes_on() {
    let limits = RelayLimits { pushes: 8, ..RelayLimits::default() };
    let relaying = Relaying::bounded(hourly(), limits).await;
    let server = &relaying.server;
    let mut wire = server.wire().await;
    wire.topic("here").await;
    let mut sent = 0;
    for fault in
        [Fault::None, Fault::Invalid, Fault::Reject(9), Fault::Unavailable(None), Fault::Hang]
    {
        relaying.receiver.set_fault(fault);
        for _ in 0..30 {
            let told = subscribe(&mut wire, Uuid::nil()).await;
            let answer: PushTelemetryResponse = wire.ask(&push(&told, metrics(9)), 0).await;
            assert!([0, Code::ThrottlingQuotaExceeded.code()].contains(&answer.error_code));
            sent += 1;
            let batch = streamhouse_storage::testing::BatchSpec::new(1).encode();
            assert_eq!(wire.produce("here", 0, batch).await.error_code, 0);
        }
        relaying.balanced().await;
    }
    let (relayed, failed, refused) = relaying.balanced().await;
    assert_eq!(relayed + failed + refused, sent);
    assert!(relayed >= 8 && failed >= 8 && refused > 0, "{relayed} {failed} {refused}");
    assert_eq!(relaying.count("refused", &[("reason", "full")]), refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_unmodified_librdkafka_arrive_without_being_asked_for() {
    let config = ClientTelemetryConfig {
        interval: Duration::from_millis(200),
        ..ClientTelemetryConfig::default()
    };
    let relaying = Relaying::start(config).await;
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", relaying.server.bootstrap())
        .set("broker.address.family", "v4")
        .set("client.id", "orders-1");
    let used = settings.clone();
    tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = used.create().unwrap();
        producer.send(BaseRecord::<(), [u8]>::to("here").payload(b"x")).map_err(|it| it.0).unwrap();
        producer.flush(PATIENCE).unwrap();
    });
    let producer = |it: &Received| it.metric_list().any(|one| one.name.contains(".producer."));
    let received = relaying.receiver.wait_for("metrics of a producer", producer);
    let resources = resources(&received);
    assert!(resources.iter().all(|it| it["client_id"] == "orders-1"), "{resources:?}");
    assert!(resources.iter().all(|it| it["client_software_name"].contains("librdkafka")));
    let names = received.metric_list().map(|metric| metric.name.as_str());
    let foreign: Vec<_> = names.filter(|name| !name.starts_with("org.apache.kafka.")).collect();
    assert_eq!(foreign, [""; 0], "names are those of the clients' common list");

    let consumer: BaseConsumer = settings.set("group.id", "billing").create().unwrap();
    consumer.assign(&assignment()).unwrap();
    let of_consumer = |it: &Received| it.metric_list().any(|one| one.name.contains(".consumer."));
    eventually("metrics of a consumer", || {
        let _ = consumer.poll(Duration::from_millis(10));
        of_consumer(&relaying.receiver.received()).then_some(())
    })
    .await;
    drop(consumer);
    assert_eq!(relaying.count("failed", &[]), 0);
    assert_eq!(relaying.count("refused", &[]), 0, "librdkafka keeps to what it is told");
}

fn assignment() -> rdkafka::TopicPartitionList {
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset("here", 0, rdkafka::Offset::Beginning).unwrap();
    list
}
