//! What `/metrics` says about the engine's work equals the test's own ledger.

use crate::clients::{create_topic, delete_topic};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::Compression;
use std::collections::BTreeMap;
use streamhouse_tests::metrics::Scrape;
use streamhouse_tests::process::{Launch, Server};
use streamhouse_tests::raw::{Connection, batch, produce};

const TOPIC: &str = "orders";
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;

pub fn fetch(topic: &str, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let name = TopicName(StrBytes::from_string(topic.into()));
    let topic = FetchTopic::default().with_topic(name).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(100)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic])
}

fn values(n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|place| format!("value {place}").into_bytes()).collect()
}

/// Flips one bit of a batch at `place`.
fn broken(batch: &Bytes, place: usize) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    bytes[place] ^= 1;
    bytes.freeze()
}

/// Sends one produce request and returns its error code.
fn send(connection: &mut Connection, topic: &str, partition: i32, records: Bytes) -> i16 {
    let request = produce(topic, partition, records, -1);
    let answer = connection.call::<ProduceRequest>(PRODUCE, &request).expect("an answer");
    answer.responses[0].partition_responses[0].error_code
}

type Labels = &'static [(&'static str, &'static str)];

/// What the test did, by the series that must show it.
#[derive(Default)]
struct Ledger(BTreeMap<(&'static str, Labels), f64>);

const REQUESTS: &str = "streamhouse_kafka_requests_total";
const LATENCY: &str = "streamhouse_producer_latency_seconds_count";
const ERRORS: &str = "streamhouse_producer_errors_total";

impl Ledger {
    fn add(&mut self, name: &'static str, labels: Labels, n: f64) {
        *self.0.entry((name, labels)).or_default() += n;
    }

    /// Thirty batches that are accepted, in turn to both partitions.
    fn produce(&mut self, connection: &mut Connection) {
        let codecs = [Compression::None, Compression::Gzip, Compression::Snappy];
        for (round, codec) in codecs.into_iter().cycle().take(30).enumerate() {
            let records = batch(&values(round + 1), codec, None);
            let topic: Labels = &[("topic", TOPIC)];
            self.add("streamhouse_producer_records_total", topic, (round + 1) as f64);
            self.add("streamhouse_producer_bytes_total", topic, records.len() as f64);
            self.add(LATENCY, &[("outcome", "ok")], 1.0);
            self.add("streamhouse_producer_batch_size_count", &[("outcome", "ok")], 1.0);
            self.add(REQUESTS, &[("api", "produce"), ("outcome", "ok")], 1.0);
            assert_eq!(send(connection, TOPIC, (round % 2) as i32, records), 0);
        }
    }

    /// Batches that are refused, each for another reason.
    fn produce_badly(&mut self, connection: &mut Connection) {
        let good = batch(&values(5), Compression::None, None);
        let bad: [(Labels, &str, i32, Bytes, i16); 4] = [
            (&[("topic", TOPIC), ("error", "corrupt")], TOPIC, 0, broken(&good, 40), 2),
            (&[("topic", TOPIC), ("error", "invalid")], TOPIC, 0, broken(&good, 16), 43),
            (&[("topic", TOPIC), ("error", "unknown_topic")], TOPIC, 9, good.clone(), 3),
            (&[("topic", "<unknown>"), ("error", "unknown_topic")], "no/topic", 0, good, 3),
        ];
        for (labels, topic, partition, records, code) in bad {
            self.add(ERRORS, labels, 1.0);
            self.add(LATENCY, &[("outcome", "error")], 1.0);
            self.add(REQUESTS, &[("api", "produce"), ("outcome", "error")], 1.0);
            assert_eq!(send(connection, topic, partition, records), code, "{labels:?}");
        }
    }

    /// One fetch from the middle of a batch, and one beyond the log.
    fn fetch(&mut self, connection: &mut Connection) {
        // 15 batches of 1, 3, 5 … 29 records stand in partition 0, 225 in all. Offset 3 is the
        // last of the second: whole batches are sent, what lies before the offset is not counted.
        let mut ask = |offset| {
            let answer = connection.call::<FetchRequest>(FETCH, &fetch(TOPIC, offset));
            let partition = &answer.expect("an answer").responses[0].partitions[0];
            (partition.error_code, partition.high_watermark)
        };
        assert_eq!(ask(3), (0, 225));
        assert_eq!(ask(999).0, 1);
        self.add("streamhouse_consumer_records_total", &[("topic", TOPIC)], 222.0);
        let labels: Labels = &[("topic", TOPIC), ("error", "offset_out_of_range")];
        self.add("streamhouse_consumer_errors_total", labels, 1.0);
        self.add(REQUESTS, &[("api", "fetch"), ("outcome", "ok")], 1.0);
        self.add(REQUESTS, &[("api", "fetch"), ("outcome", "error")], 1.0);
    }

    /// A frame that cannot be decoded, on a connection of its own.
    fn send_rubbish(&mut self, server: &Server) {
        let mut torn = Connection::open(server.kafka).expect("a connection");
        torn.send_bytes(&[0, 0, 0, 14, 0, 3, 0, 9, 0, 0, 0, 1, 255, 255, 127, 255, 255, 255])
            .expect("sent");
        assert!(torn.receive_bytes().is_err(), "the connection is closed");
        self.add(REQUESTS, &[("api", "metadata"), ("outcome", "malformed")], 1.0);
    }
}

#[test]
fn every_count_on_metrics_equals_the_ledger_after_a_mixed_load_with_failures() {
    for mode in ["native", "bridge"] {
        let data = tempfile::tempdir().expect("a directory");
        let launch = Launch::serve(crate::BINARY, data.path());
        let server = launch.env("STREAMHOUSE_METRICS_EXPOSITION", mode).start();
        create_topic(server.kafka, TOPIC, 2);
        let mut connection = Connection::open(server.kafka).expect("a connection");
        let mut ledger = Ledger::default();
        for _ in 0..3 {
            ledger.produce_badly(&mut connection);
        }
        ledger.produce(&mut connection);
        ledger.fetch(&mut connection);
        ledger.send_rubbish(&server);
        ledger.add("streamhouse_connections_active", &[], 1.0);
        ledger.add("streamhouse_topics_total", &[], 1.0);
        ledger.add("streamhouse_partitions_total", &[], 2.0);
        ledger.add("streamhouse_agents_active", &[], 1.0);

        let scrape = server.scrape_until("the last count", |scrape| {
            scrape.sum(REQUESTS, &[("outcome", "malformed")]) == Some(1.0)
                && scrape.sum("streamhouse_connections_active", &[]) == Some(1.0)
                // What is stored is read every few seconds.
                && scrape.sum("streamhouse_storage_objects", &[])
                    == scrape.sum("streamhouse_segment_writes_total", &[])
        });
        for ((name, labels), expected) in &ledger.0 {
            let found = scrape.sum(name, labels);
            assert_eq!(found, Some(*expected), "{mode}: {name}{labels:?}");
        }
        writes_equal_commits(&scrape);
    }
}

/// The store's own counts agree with one another: nothing failed here.
fn writes_equal_commits(scrape: &Scrape) {
    let writes = scrape.sum("streamhouse_segment_writes_total", &[]);
    assert_eq!(writes, scrape.sum("streamhouse_segment_flushes_total", &[("outcome", "ok")]));
    assert_eq!(scrape.sum("streamhouse_segment_flushes_total", &[("outcome", "error")]), Some(0.0));
    assert_eq!(writes, scrape.sum("streamhouse_segment_size_bytes_count", &[]));
    assert_eq!(scrape.sum("streamhouse_segment_unflushed_bytes", &[]), Some(0.0));
}

#[test]
fn a_topic_deleted_and_created_again_under_load_neither_doubles_a_series_nor_lowers_a_counter() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Launch::serve(crate::BINARY, data.path()).start();
    let records = batch(&values(10), Compression::None, None);
    let mut connection = Connection::open(server.kafka).expect("a connection");
    let mut highest: BTreeMap<String, f64> = BTreeMap::new();
    for _ in 0..20 {
        create_topic(server.kafka, "again", 1);
        for _ in 0..5 {
            connection
                .send::<ProduceRequest>(PRODUCE, &produce("again", 0, records.clone(), -1))
                .expect("sent");
        }
        delete_topic(server.kafka, "again");
        for _ in 0..5 {
            let (_, answer) = connection.receive::<ProduceRequest>(PRODUCE).expect("an answer");
            let code = answer.responses[0].partition_responses[0].error_code;
            assert!(code == 0 || code == 3, "{code}");
        }
        let scrape = server.scrape();
        let mut seen = BTreeMap::new();
        for sample in &scrape.0 {
            let series = format!("{}{:?}", sample.name, sample.labels);
            assert_eq!(seen.insert(series.clone(), ()), None, "twice: {series}");
            if sample.name.ends_with("_total")
                && !["streamhouse_topics_total", "streamhouse_partitions_total"]
                    .contains(&sample.name.as_str())
                && sample.labels.get("topic").is_some_and(|topic| topic == "again")
            {
                let before = highest.insert(series.clone(), sample.value).unwrap_or(0.0);
                assert!(sample.value >= before, "{series} fell from {before} to {}", sample.value);
            }
        }
    }
    server.scrape_until("the end of the deleted topic's series", |scrape| {
        !scrape.0.iter().any(|one| one.labels.get("topic").is_some_and(|topic| topic == "again"))
    });
}
