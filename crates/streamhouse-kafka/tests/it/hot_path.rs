//! What moving records costs in telemetry: nothing is bound, and nothing is counted per record.

use crate::server::{Server, eventually};
use crate::versions::fetch;
use std::collections::BTreeMap;
use streamhouse_kafka::BrokerConfig;
use streamhouse_observability::testing::traces;
use streamhouse_storage::testing::BatchSpec;

#[tokio::test]
async fn no_handle_is_bound_while_records_move() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let declare = server.seen.metrics().declare();
    let before = declare.bound();
    assert!(before > 0, "handles are bound at wiring");

    for _ in 0..50 {
        assert_eq!(wire.produce("orders", 0, BatchSpec::new(10).encode()).await.error_code, 0);
        wire.ask(&fetch("orders", &[(0, 0)]), 12).await;
    }

    assert_eq!(declare.bound(), before);
}

/// The counts of all histograms, but for background work.
fn recordings(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter(|line| {
        let background = ["metadata", "telemetry", "retention"];
        line.contains("_count") && !background.iter().any(|area| line.contains(area))
    });
    lines
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        })
        .collect()
}

#[tokio::test]
async fn a_batch_of_a_thousand_records_leaves_as_many_measurements_as_one_of_one() {
    let mut left = Vec::new();
    for records in [1, 1000] {
        let traces = traces(1.0);
        let server = Server::traced(BrokerConfig::default(), traces.requests()).await;
        let mut wire = server.wire().await;
        wire.topic("orders").await;
        assert_eq!(wire.produce("orders", 0, BatchSpec::new(records).encode()).await.error_code, 0);
        wire.ask(&fetch("orders", &[(0, 0)]), 12).await;
        server.counted("streamhouse.consumer.records", &[("topic", "orders")], 1).await;
        let names = ["produce_request", "partition_write", "segment_flush", "consume_request"];
        let spans = eventually("all spans", || {
            let counts = names.map(|name| traces.named(name).len());
            counts.iter().all(|count| *count > 0).then_some(counts)
        })
        .await;
        left.push((recordings(&server.seen.text()), spans));
    }
    assert!(left[0].0.values().sum::<u64>() > 4, "{:?}", left[0]);
    assert_eq!(left[0], left[1]);
}
