//! The registry tells the truth: what is declared is recorded by the running engine.

use crate::clients::{create_topic, flush, producer, read_all, send};
use crate::store_faults::launch;
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    FetchRequest, GetTelemetrySubscriptionsRequest, GroupId, JoinGroupRequest, OffsetCommitRequest,
    ProduceRequest, PushTelemetryRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, MetricsData, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use prost::Message as _;
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use streamhouse_observability::declare::{Kind, Row};
use streamhouse_observability::instruments::Instruments;
use streamhouse_observability::labels::Operation;
use streamhouse_observability::testing::in_memory;
use streamhouse_observability::testing::otlp;
use streamhouse_storage::testing::Fault;
use streamhouse_storage::testing::s3::S3Server;
use streamhouse_tests::metrics::Scrape;
use streamhouse_tests::process::Server;
use streamhouse_tests::raw::{Connection, batch, produce};

/// Rows that a healthy process keeps at 0, and the tests that move them.
const MOVED_BY_OTHER_TESTS: &[(&str, &str)] = &[
    (
        "streamhouse_telemetry_callback_panics_total",
        "a_panicking_callback_silences_only_itself_and_is_counted",
    ),
    (
        "streamhouse_telemetry_series_at_limit",
        "beyond_the_bound_every_increment_is_in_other_and_nothing_is_lost",
    ),
    (
        "streamhouse_telemetry_series_overflows_total",
        "beyond_the_bound_every_increment_is_in_other_and_nothing_is_lost",
    ),
    ("tokio_runtime_global_queue", "tasks_that_wait_for_a_worker_are_counted"),
    (
        "streamhouse_telemetry_name_conflicts",
        "a_name_that_is_taken_by_another_type_or_by_us_is_left_out_and_counted",
    ),
];

fn registry() -> Vec<std::sync::Arc<Row>> {
    let (declare, _seen) = in_memory();
    let _all = Instruments::declare(&declare);
    let rows = declare.rows();
    assert!(rows.iter().any(|row| row.name == "streamhouse.telemetry.created"), "telemetry's own");
    rows
}

/// The greatest value seen of each family.
#[derive(Default)]
struct Moved(BTreeMap<String, f64>);

impl Moved {
    fn note(&mut self, scrape: &Scrape) {
        for sample in &scrape.0 {
            let most = self.0.entry(sample.name.clone()).or_default();
            *most = most.max(sample.value.abs());
        }
    }

    fn has(&self, row: &Row) -> bool {
        let mut name = row.prometheus_name();
        if row.kind == Kind::Histogram {
            name.push_str("_count");
        }
        self.0.get(&name).is_some_and(|value| *value > 0.0)
    }
}

/// Reads and writes, some of it wrong.
fn load(server: &Server, moved: &mut Moved) {
    create_topic(server.kafka, "orders", 2);
    let (producer, _) = producer(server.kafka, &[("enable.idempotence", "true")]);
    for n in 0..2_000 {
        send(&producer, "orders", (n % 2) as i32, n);
        if n % 100 == 0 {
            moved.note(&server.scrape());
        }
    }
    flush(&producer);
    read_all(server.kafka, "orders", 2);
    consume_in_a_group(server, moved);
    let mut raw = Connection::open(server.kafka).expect("a connection");
    let good = batch(&[vec![0; 10]], kafka_protocol::records::Compression::None, None);
    raw.call::<ProduceRequest>(9, &produce("no/such/topic", 0, good.clone(), -1)).expect("answer");
    raw.call::<FetchRequest>(12, &crate::ledger::fetch("orders", 1 << 40)).expect("answer");
    create_topic(server.kafka, "short", 1);
    // A batch that waits for its segment shows the gauges of what is not durable yet.
    raw.send::<ProduceRequest>(9, &produce("orders", 0, good, -1)).expect("sent");
    moved.note(&server.scrape());
    raw.receive::<ProduceRequest>(9).expect("an answer");
    push_metrics(&mut raw);
    moved.note(&server.scrape());
}

/// A group of one member, which commits an offset.
fn consume_in_a_group(server: &Server, moved: &mut Moved) {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let mut raw = Connection::open(server.kafka).expect("a connection");
    // It subscribes to both partitions and commits in one: the other has no commit.
    let subscription = b"\0\0\0\0\0\x01\0\x06orders\xff\xff\xff\xff";
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(subscription));
    let join = JoinGroupRequest::default()
        .with_group_id(GroupId(text("billing")))
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let joined = raw.call::<JoinGroupRequest>(3, &join).expect("an answer");
    let sync = SyncGroupRequest::default()
        .with_group_id(join.group_id.clone())
        .with_member_id(joined.member_id.clone())
        .with_generation_id(joined.generation_id);
    assert_eq!(raw.call::<SyncGroupRequest>(2, &sync).expect("an answer").error_code, 0);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("orders")))
        .with_partitions(vec![OffsetCommitRequestPartition::default().with_committed_offset(1)]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(join.group_id)
        .with_member_id(joined.member_id)
        .with_generation_id_or_member_epoch(joined.generation_id)
        .with_topics(vec![topic]);
    let committed = raw.call::<OffsetCommitRequest>(5, &commit).expect("an answer");
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    moved.note(&server.scrape());
    // It loses records that it has not consumed.
    crate::cleanup::delete_records_before(server.kafka, "orders", 5).expect("an answer");
    moved.note(&server.scrape());
}

/// A new client's last push, of which a part was not asked for, and one after it, which is refused.
fn push_metrics(raw: &mut Connection) {
    let points = vec![NumberDataPoint { time_unix_nano: 1, ..Default::default() }; 2];
    let data = Some(Data::Gauge(Gauge { data_points: points }));
    let of = |name: &str| Metric { name: name.into(), data: data.clone(), ..Metric::default() };
    let metrics = vec![of("org.apache.kafka.producer.x"), of("shop.orders")];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    let plain = MetricsData { resource_metrics }.encode_to_vec();
    let asking = GetTelemetrySubscriptionsRequest::default();
    let told = raw.call::<GetTelemetrySubscriptionsRequest>(0, &asking).expect("an answer");
    let push = PushTelemetryRequest::default()
        .with_client_instance_id(told.client_instance_id)
        .with_subscription_id(told.subscription_id)
        .with_terminating(true)
        .with_metrics(plain.into());
    for _ in 0..2 {
        raw.call::<PushTelemetryRequest>(0, &push).expect("an answer");
    }
}

#[test]
fn every_declared_instrument_is_recorded_by_the_running_engine() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let s3 = runtime.block_on(S3Server::start()).expect("an S3 server");
    let receiver = otlp::OtlpReceiver::start();
    let data = tempfile::tempdir().expect("a directory");
    let server = launch(data.path(), &s3)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint())
        .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        .env("OTEL_TRACES_SAMPLER_ARG", "0.5")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "64")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("STREAMHOUSE_CLIENT_TELEMETRY_METRICS", "org.apache.kafka.*")
        .env("STREAMHOUSE_CACHE_SIZE", "512KiB")
        .env("STREAMHOUSE_LAG_INTERVAL", "200ms")
        .env("STREAMHOUSE_GARBAGE_GRACE", "2s")
        .env("STREAMHOUSE_GARBAGE_INTERVAL", "50ms")
        .env("STREAMHOUSE_LOG_LEVEL", "trace")
        .start();
    let mut moved = Moved::default();
    s3.faults().queue(Operation::Put, [Fault::Throttled, Fault::ServerError]);
    load(&server, &mut moved);
    // Each fault stays until an export has met it.
    receiver.set_fault(otlp::Fault::Reject(1));
    load_until(&server, &mut moved, "streamhouse_telemetry_rejected_total");
    receiver.set_fault(otlp::Fault::Invalid);
    load_until(&server, &mut moved, "streamhouse_telemetry_failed_total");
    receiver.set_fault(otlp::Fault::Hang);
    storm(&server, &mut moved);

    let rows = registry();
    let other: BTreeSet<&str> = MOVED_BY_OTHER_TESTS.iter().map(|(name, _)| *name).collect();
    let still = |moved: &Moved| -> Vec<String> {
        let rows = rows.iter().filter(|row| !other.contains(row.prometheus_name().as_str()));
        rows.filter(|row| !moved.has(row)).map(|row| row.prometheus_name()).collect()
    };
    for _ in 0..100 {
        if still(&moved).is_empty() {
            break;
        }
        load_again(&server, &mut moved);
    }
    assert_eq!(still(&moved), Vec::<String>::new(), "declared, and never moved");
}

/// More failing requests at a time than are logged or traced in a second.
fn storm(server: &Server, moved: &mut Moved) {
    let again = streamhouse_tests::load::create_topic(server.kafka, "orders", 2);
    assert!(again.is_err(), "a topic is created once");
    let mut raw = Connection::open(server.kafka).expect("a connection");
    let records = batch(&[vec![0; 10]], kafka_protocol::records::Compression::None, None);
    let request = produce("no/such/topic", 0, records, -1);
    for _ in 0..100 {
        for _ in 0..50 {
            raw.send::<ProduceRequest>(9, &request).expect("sent");
        }
        for _ in 0..50 {
            raw.receive::<ProduceRequest>(9).expect("an answer");
        }
    }
    moved.note(&server.scrape());
}

/// Goes on until the family has moved, or for long enough to be sure that it does not.
fn load_until(server: &Server, moved: &mut Moved, family: &str) {
    for _ in 0..100 {
        load_again(server, moved);
        if moved.0.get(family).is_some_and(|value| *value > 0.0) {
            return;
        }
    }
}

fn load_again(server: &Server, moved: &mut Moved) {
    let mut raw = Connection::open(server.kafka).expect("a connection");
    let records = batch(&vec![vec![0; 100]; 100], kafka_protocol::records::Compression::None, None);
    for _ in 0..20 {
        raw.send::<ProduceRequest>(9, &produce("orders", 0, records.clone(), -1)).expect("sent");
    }
    moved.note(&server.scrape());
    for _ in 0..20 {
        raw.receive::<ProduceRequest>(9).expect("an answer");
    }
    raw.call::<ProduceRequest>(9, &produce("no/such/topic", 0, records, -1)).expect("an answer");
    // Records that are deleted leave an object that waits for the floor.
    let one = batch(&[vec![0; 10]], kafka_protocol::records::Compression::None, None);
    raw.call::<ProduceRequest>(9, &produce("short", 0, one, -1)).expect("an answer");
    crate::cleanup::delete_records(server.kafka, "short").expect("an answer");
    push_metrics(&mut raw);
    // Somewhere in the log: old blocks have left the cache.
    let offset = rand::rng().random_range(0..20_000);
    raw.call::<FetchRequest>(12, &crate::ledger::fetch("orders", offset)).expect("an answer");
    moved.note(&server.scrape());
}
