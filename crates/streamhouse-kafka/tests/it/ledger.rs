//! The counters equal what the test did, after a mixed load with failures.

use crate::server::Server;
use crate::versions::fetch;
use bytes::Bytes;
use std::collections::BTreeMap;
use streamhouse_observability::labels::Operation;
use streamhouse_storage::testing::{BatchSpec, Fault};

/// What a client did, by its own count.
#[derive(Debug, Default, PartialEq)]
struct Ledger {
    records: BTreeMap<String, u64>,
    bytes: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
    batches: u64,
}

async fn load(server: &Server, client: i32) -> Ledger {
    let mut wire = server.wire().await;
    let mut ledger = Ledger::default();
    for round in 0..60 {
        let topic = format!("topic-{}", (client + round) % 3);
        wire.topic(&topic).await;
        let records = 1 + (client * 7 + round) % 9;
        let good = BatchSpec::new(records).encode();
        let mut bad = good.to_vec();
        bad[40] ^= 1;
        let (sent, valid) = if round % 10 == 3 { (Bytes::from(bad), false) } else { (good, true) };
        let length = sent.len() as u64;
        let answer = wire.produce(&topic, 0, sent).await;
        ledger.batches += u64::from(valid);
        if answer.error_code == 0 {
            *ledger.records.entry(topic.clone()).or_default() += u64::from(records.unsigned_abs());
            *ledger.bytes.entry(topic).or_default() += length;
        } else {
            *ledger.failed.entry(topic).or_default() += 1;
        }
    }
    ledger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_mixed_load_with_failures_every_counter_equals_the_clients_ledgers() {
    let server = Server::start().await;
    for place in 0..40 {
        let fault = if place % 4 == 1 { Some(Fault::ServerError) } else { None };
        server.faults.queue(Operation::Put, [fault]);
    }
    let ledgers = {
        let server = &server;
        let loads = (0..4).map(|client| load(server, client));
        futures_util::future::join_all(loads).await
    };
    let sum = |pick: fn(&Ledger) -> &BTreeMap<String, u64>, topic: &str| -> u64 {
        ledgers.iter().filter_map(|ledger| pick(ledger).get(topic)).sum()
    };
    let mut failures = 0;
    for topic in ["topic-0", "topic-1", "topic-2"] {
        let labels = [("topic", topic)];
        let records = sum(|it| &it.records, topic);
        assert_eq!(server.count("streamhouse.producer.records", &labels), records, "{topic}");
        assert_eq!(server.count("streamhouse.producer.bytes", &labels), sum(|it| &it.bytes, topic));
        let failed = sum(|it| &it.failed, topic);
        assert_eq!(server.count("streamhouse.producer.errors", &labels), failed, "{topic}");
        failures += failed;
        consumed(&server, topic, records).await;
    }
    assert!(failures >= 4 * 6, "the load has failures");
    let batches: u64 = ledgers.iter().map(|ledger| ledger.batches).sum();
    assert_eq!(server.count("streamhouse.producer.batch_size", &[]), batches);
    assert_eq!(server.count("streamhouse.producer.latency", &[]), 240);
    assert_eq!(server.count("streamhouse.producer.latency", &[("outcome", "error")]), failures);
    let produce = [("api", "produce")];
    assert_eq!(server.counted("streamhouse.kafka.requests", &produce, 240).await, 240);
}

/// Reads a topic from the middle of its first batch on and compares the counter.
async fn consumed(server: &Server, topic: &str, records: u64) {
    let mut wire = server.wire().await;
    let answer = wire.ask(&fetch(topic, &[(0, 0)]), 12).await;
    let part = &answer.responses[0].partitions[0];
    assert_eq!(part.high_watermark, i64::try_from(records).unwrap(), "{topic}");
    let labels = [("topic", topic)];
    let counted = server.counted("streamhouse.consumer.records", &labels, records).await;
    assert_eq!(counted, records, "{topic}");
    let bytes = part.records.as_ref().unwrap().len() as u64;
    assert_eq!(server.count("streamhouse.consumer.bytes", &labels), bytes);
    let last = i64::try_from(records).unwrap() - 1;
    wire.ask(&fetch(topic, &[(0, last)]), 12).await;
    let counted = server.counted("streamhouse.consumer.records", &labels, records + 1).await;
    assert_eq!(counted, records + 1, "only what was asked for counts");
    wire.ask(&fetch(topic, &[(0, last + 2)]), 12).await;
    let range = [("topic", topic), ("error", "offset_out_of_range")];
    assert_eq!(server.count("streamhouse.consumer.errors", &range), 1);
}
