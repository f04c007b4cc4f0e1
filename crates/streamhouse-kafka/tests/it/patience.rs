//! How long produce requests are waited for, and what those without an answer notice.

use crate::server::{Server, eventually};
use crate::wire::produce;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use streamhouse_observability::labels::Operation;
use streamhouse_storage::testing::{BatchSpec, Fault};

const REQUESTS: &str = "streamhouse.kafka.requests";
const ERRORS: &str = "streamhouse.producer.errors";
const RECORDS: &str = "streamhouse.producer.records";

/// A request that says how long to wait for it.
fn patient(acks: i16, timeout_ms: i32) -> ProduceRequest {
    produce("orders", 0, acks, BatchSpec::new(5).encode()).with_timeout_ms(timeout_ms)
}

/// A server whose next PUT waits to be released.
async fn holding() -> (Server, crate::wire::Wire) {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    server.faults.queue(Operation::Put, [Fault::Hold]);
    (server, wire)
}

async fn put(server: &Server) {
    eventually("the PUT", || (server.faults.calls(Operation::Put) >= 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_with_acks_0_that_become_part_of_the_log_are_no_timeout() {
    for timeout in [-1, 0, 1] {
        let (server, mut wire) = holding().await;
        wire.send(&patient(0, timeout), 9).await;
        put(&server).await;
        server.faults.release();
        let ok = [("api", "produce"), ("outcome", "ok")];
        assert_eq!(server.counted(REQUESTS, &ok, 1).await, 1, "timeout {timeout}");
        assert_eq!(server.count(RECORDS, &[("topic", "orders")]), 5, "timeout {timeout}");
        assert_eq!(server.count(ERRORS, &[]), 0, "timeout {timeout}");
        assert_eq!(server.count("streamhouse.producer.latency", &[("outcome", "ok")]), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_of_0_or_less_is_the_servers_own() {
    for (acks, timeout) in [(1, 0), (-1, 0), (1, -1), (-1, i32::MIN)] {
        let (server, mut wire) = holding().await;
        wire.send(&patient(acks, timeout), 9).await;
        put(&server).await;
        server.faults.release();
        let (_, answer): (i32, ProduceResponse) = wire.receive::<ProduceRequest>(9).await;
        let part = &answer.responses[0].partition_responses[0];
        assert_eq!((part.error_code, part.base_offset), (0, 0), "acks {acks}, timeout {timeout}");
        assert_eq!(server.count(RECORDS, &[("topic", "orders")]), 5);
        assert_eq!(server.count(ERRORS, &[]), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_with_acks_0_closes_the_connection_after_the_answers_before_it() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    wire.send(&patient(-1, 20_000), 9).await;
    wire.send(&produce("nowhere", 0, 0, BatchSpec::new(5).encode()), 9).await;
    let (_, answer) = wire.receive::<ProduceRequest>(9).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    assert!(wire.is_closed().await);
    let failed = [("api", "produce"), ("outcome", "error")];
    assert_eq!(server.counted(REQUESTS, &failed, 1).await, 1);
    let unknown = [("topic", "<unknown>"), ("error", "unknown_topic")];
    assert_eq!(server.count(ERRORS, &unknown), 1);
    // What fails only later is noticed as well.
    let mut wire = server.wire().await;
    server.faults.queue(Operation::Put, [Fault::Denied]);
    wire.send(&patient(0, 20_000), 9).await;
    assert!(wire.is_closed().await);
}
