//! Order, limits and ends of connections.

use crate::server::{PATIENCE, Server};
use crate::versions::fetch;
use crate::wire::{frame, metadata, produce};
use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, ProduceRequest, ProduceResponse};
use std::time::{Duration, Instant};
use streamhouse_kafka::BrokerConfig;
use streamhouse_observability::labels::Operation;
use streamhouse_storage::testing::{BatchSpec, Fault};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const REQUESTS: &str = "streamhouse.kafka.requests";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_appended_and_answered_in_the_order_asked() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    for _ in 0..50 {
        wire.send(&produce("orders", 0, -1, BatchSpec::new(3).encode()), 9).await;
        wire.send(&ApiVersionsRequest::default(), 3).await;
    }
    for place in 0..50 {
        let (correlation, answer) = wire.receive::<ProduceRequest>(9).await;
        assert_eq!(correlation, 2 + 2 * place);
        let part = &answer.responses[0].partition_responses[0];
        assert_eq!((part.error_code, part.base_offset), (0, i64::from(place) * 3));
        let (correlation, _) = wire.receive::<ApiVersionsRequest>(3).await;
        assert_eq!(correlation, 3 + 2 * place);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_fetch_does_not_hold_up_the_produce_request_behind_it() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let waiting = fetch("orders", &[(0, 0)]).with_min_bytes(1).with_max_wait_ms(60_000);
    wire.send(&waiting, 12).await;
    wire.send(&produce("orders", 0, -1, BatchSpec::new(3).encode()), 9).await;
    // The fetch is woken by the very batch that was asked for behind it.
    let (_, fetched) = wire.receive::<FetchRequest>(12).await;
    assert_eq!(fetched.responses[0].partitions[0].high_watermark, 3);
    let (_, produced) = wire.receive::<ProduceRequest>(9).await;
    assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_waits_for_its_minimum_and_no_longer_than_it_says() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let batch = BatchSpec::new(3).encode();
    let both = i32::try_from(batch.len() * 2).unwrap();
    let waiting = fetch("orders", &[(0, 0)]).with_min_bytes(both).with_max_wait_ms(60_000);
    wire.send(&waiting, 12).await;
    let mut other = server.wire().await;
    for _ in 0..2 {
        assert_eq!(other.produce("orders", 0, batch.clone()).await.error_code, 0);
    }
    let (_, fetched) = wire.receive::<FetchRequest>(12).await;
    let records = fetched.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(records.len(), batch.len() * 2);

    let began = Instant::now();
    let waiting = fetch("orders", &[(0, 6)]).with_min_bytes(1).with_max_wait_ms(50);
    let fetched = wire.ask(&waiting, 12).await;
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert!(fetched.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
    // Waiting is not latency: all of these would lie beyond 50 ms otherwise.
    let waits = server.count("streamhouse.consumer.latency", &[("outcome", "ok")]);
    assert_eq!(waits, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_answer_keeps_its_limit_but_for_its_first_batch() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let batch = BatchSpec::new(1).value_bytes(10_000).encode();
    for _ in 0..5 {
        wire.produce("orders", 0, batch.clone()).await;
    }
    for (limit, batches) in [(1, 1), (25_000, 2), (1 << 20, 5)] {
        let request = fetch("orders", &[(0, 0), (0, 0)]).with_max_bytes(limit);
        let fetched = wire.ask(&request, 12).await;
        let parts = &fetched.responses[0].partitions;
        assert_eq!(parts[0].records.as_ref().unwrap().len(), batches * batch.len(), "{limit}");
        assert_eq!(parts[1].high_watermark, 5, "the ends are told in any case");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_64_requests_of_a_connection_are_under_way() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    server.faults.queue(Operation::Put, [Fault::Hold]);
    let request = produce("orders", 0, -1, BatchSpec::new(1).encode());
    let one = frame(&request, 9, 7);
    wire.send_raw(&one).await;
    crate::server::eventually("the PUT", || {
        (server.faults.calls(Operation::Put) == 1).then_some(())
    })
    .await;
    wire.send_raw(&one.repeat(199)).await;
    // The first is held: 64 have been taken from the socket, and what the read-ahead holds.
    let taken = |server: &Server| server.count("streamhouse.kafka.bytes", &[("direction", "in")]);
    let before = frame(&metadata(&["orders"]), 9, 1).len() as u64;
    let limit = before + 64 * one.len() as u64;
    crate::server::eventually("64 requests", || (taken(&server) == limit).then_some(())).await;
    assert_eq!(server.count(REQUESTS, &[("api", "produce")]), 0);
    // Others are served meanwhile, and nothing more is taken from this one.
    server.wire().await.ask(&metadata(&["orders"]), 9).await;
    assert_eq!(taken(&server), limit + before);
    server.faults.release();
    for _ in 0..200 {
        assert_eq!(wire.receive::<ProduceRequest>(9).await.0, 7);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_cut_off_and_its_records_count_as_not_sent() {
    let config = BrokerConfig {
        write_timeout: Duration::from_millis(300),
        max_fetch_bytes: 8 << 20,
        response_memory: 16 << 20,
        ..BrokerConfig::default()
    };
    let server = Server::with(config).await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let batch = BatchSpec::new(1).value_bytes(1_000_000).encode();
    for _ in 0..8 {
        assert_eq!(wire.produce("orders", 0, batch.clone()).await.error_code, 0);
    }
    let mut request = fetch("orders", &[(0, 0)]);
    request.topics[0].partitions[0].partition_max_bytes = 8 << 20;
    let mut slow = server.wire().await;
    slow.send_raw(&frame(&request, 12, 1).repeat(20)).await;
    let labels = [("api", "fetch"), ("outcome", "cancelled")];
    server.counted(REQUESTS, &labels, 1).await;
    server.gauge("streamhouse.connections.active", 1.0).await;
    drop(slow);
    // Its memory is free again: somebody else gets the same records.
    let fetched = wire.ask(&request, 12).await;
    assert_eq!(fetched.responses[0].partitions[0].error_code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_fetches_that_need_all_the_memory_are_answered_one_after_another() {
    let config = BrokerConfig {
        max_fetch_bytes: 1 << 20,
        response_memory: 1 << 20,
        ..BrokerConfig::default()
    };
    let server = Server::with(config).await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let batch = BatchSpec::new(1).value_bytes(900_000).encode();
    wire.produce("orders", 0, batch.clone()).await;
    let request = fetch("orders", &[(0, 0)]);
    for _ in 0..30 {
        wire.send(&request, 12).await;
    }
    for _ in 0..30 {
        let (_, fetched) = wire.receive::<FetchRequest>(12).await;
        let records = fetched.responses[0].partitions[0].records.clone().unwrap();
        assert_eq!(records.len(), batch.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let config = BrokerConfig { max_connections: 2, ..BrokerConfig::default() };
    let server = Server::with(config).await;
    let (mut first, mut second) = (server.wire().await, server.wire().await);
    first.topic("orders").await;
    second.topic("orders").await;
    assert!(server.wire().await.is_closed().await);
    drop(first);
    server.gauge("streamhouse.connections.active", 1.0).await;
    // A place is free as soon as its connection is gone.
    let again = async {
        loop {
            let mut wire = server.wire().await;
            wire.send(&metadata(&["orders"]), 9).await;
            if wire.receive_raw().await.is_some() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    assert!(server.count("streamhouse.connections.accepted", &[]) >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_closed_but_not_waiting_ones() {
    let config =
        BrokerConfig { idle_timeout: Duration::from_millis(100), ..BrokerConfig::default() };
    let server = Server::with(config).await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let waiting = fetch("orders", &[(0, 0)]).with_min_bytes(1).with_max_wait_ms(500);
    wire.ask(&waiting, 12).await;
    assert!(wire.is_closed().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_0_is_not_answered_and_takes_the_same_way() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    for _ in 0..3 {
        wire.send(&produce("orders", 0, 0, BatchSpec::new(5).encode()), 9).await;
    }
    let answer: ProduceResponse =
        wire.ask(&produce("orders", 0, 1, BatchSpec::new(5).encode()), 9).await;
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 15);
    assert_eq!(server.counted("streamhouse.producer.records", &[], 20).await, 20);
    let labels = [("api", "produce"), ("outcome", "ok")];
    assert_eq!(server.counted(REQUESTS, &labels, 4).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_producer_that_went_away_are_counted_and_its_request_is_cancelled() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    server.faults.queue(Operation::Put, [Fault::Hold]);
    wire.send(&produce("orders", 0, -1, BatchSpec::new(5).encode()), 9).await;
    crate::server::eventually("the PUT", || {
        (server.faults.calls(Operation::Put) == 1).then_some(())
    })
    .await;
    drop(wire);
    server.gauge("streamhouse.connections.active", 0.0).await;
    assert_eq!(server.count("streamhouse.producer.records", &[]), 0);
    server.faults.release();
    assert_eq!(server.counted("streamhouse.producer.records", &[], 5).await, 5);
    let cancelled = [("outcome", "cancelled")];
    assert_eq!(server.counted("streamhouse.producer.latency", &cancelled, 1).await, 1);
    assert_eq!(server.counted(REQUESTS, &cancelled, 1).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_answers_what_was_asked_and_ends() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    server.faults.queue(Operation::Put, [Fault::Hold]);
    wire.send(&produce("orders", 0, -1, BatchSpec::new(5).encode()), 9).await;
    crate::server::eventually("the PUT", || {
        (server.faults.calls(Operation::Put) == 1).then_some(())
    })
    .await;
    let mut other = server.wire().await;
    let waiting = fetch("orders", &[(0, 0)]).with_min_bytes(1).with_max_wait_ms(60_000);
    let direction = [("direction", "in")];
    let taken = server.count("streamhouse.kafka.bytes", &direction);
    other.send(&waiting, 12).await;
    server.counted("streamhouse.kafka.bytes", &direction, taken + 1).await;
    server.shutdown.cancel();
    let (_, fetched) = other.receive::<FetchRequest>(12).await;
    assert_eq!(fetched.responses[0].partitions[0].error_code, 0, "a long poll ends at once");
    server.faults.release();
    let (_, produced) = wire.receive::<ProduceRequest>(9).await;
    assert_eq!(produced.responses[0].partition_responses[0].base_offset, 0);
    assert!(wire.is_closed().await);
    tokio::time::timeout(PATIENCE, server.serving).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(server.addr).await.is_err());
    assert!(server.metadata.agents().await.unwrap().is_empty(), "the agent is not registered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_wait_in_their_sockets_while_there_is_no_memory_for_them() {
    let config = BrokerConfig {
        max_frame_bytes: 1 << 20,
        request_memory: 1 << 20,
        ..BrokerConfig::default()
    };
    let server = Server::with(config).await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    server.faults.queue(Operation::Put, [Fault::Hold]);
    let big = produce("orders", 0, -1, BatchSpec::new(1).value_bytes(700_000).encode());
    wire.send(&big, 9).await;
    crate::server::eventually("the PUT", || {
        (server.faults.calls(Operation::Put) == 1).then_some(())
    })
    .await;
    let taken = server.count("streamhouse.kafka.bytes", &[("direction", "in")]);
    let mut other = server.wire().await;
    other.send(&big, 9).await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(200), other.socket.read(&mut byte));
    assert!(early.await.is_err());
    assert_eq!(server.count("streamhouse.kafka.bytes", &[("direction", "in")]), taken);
    server.faults.release();
    for wire in [&mut wire, &mut other] {
        let (_, produced) = wire.receive::<ProduceRequest>(9).await;
        assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
    }
}
