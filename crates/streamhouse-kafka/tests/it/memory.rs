//! Limits of a fetch answer, and the memory that fetches share.

use crate::server::{Server, eventually};
use crate::versions::fetch;
use crate::wire::Wire;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::FetchRequest;
use streamhouse_kafka::BrokerConfig;
use streamhouse_observability::labels::Operation;
use streamhouse_storage::testing::{BatchSpec, Fault};

/// A cache for the small batches of a test; the big ones are always read from the store.
const SMALL_CACHE: u64 = 64 << 10;

fn big() -> bytes::Bytes {
    BatchSpec::new(1).value_bytes(40_000).encode()
}

async fn with_big_batches(server: &Server, partitions: i32) -> Wire {
    let mut wire = server.wire().await;
    wire.topic("big").await;
    for partition in 0..partitions {
        assert_eq!(wire.produce("big", partition, big()).await.error_code, 0);
    }
    wire
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_beyond_the_limit_of_the_answer_are_not_read() {
    let config = BrokerConfig { default_partitions: 4, ..BrokerConfig::default() };
    let server = Server::cached(SMALL_CACHE, config).await;
    let mut wire = with_big_batches(&server, 4).await;
    let whole = i32::try_from(big().len()).unwrap();
    let all = [(0, 0), (1, 0), (2, 0), (3, 0)];
    // What does not fit is read once, and nothing after it.
    for (limit, gets) in [(1, 1), (whole, 1), (whole + 1, 2), (16 << 20, 4)] {
        let before = server.faults.calls(Operation::Get);
        let fetched = wire.ask(&fetch("big", &all).with_max_bytes(limit), 12).await;
        assert_eq!(server.faults.calls(Operation::Get) - before, gets, "limit {limit}");
        for part in &fetched.responses[0].partitions {
            let ends = (part.error_code, part.high_watermark, part.log_start_offset);
            assert_eq!(ends, (0, 1, 0), "limit {limit}");
        }
    }
    // Where there is nothing to read it is told in any case.
    let request = fetch("big", &[(0, 0), (1, 99)]).with_max_bytes(1);
    let fetched = wire.ask(&request, 12).await;
    let codes: Vec<_> = fetched.responses[0].partitions.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [0, Code::OffsetOutOfRange.code()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_the_tail_is_answered_while_many_fetches_hang_in_the_object_store() {
    let config = BrokerConfig {
        default_partitions: 8,
        max_fetch_bytes: 16 << 20,
        response_memory: 32 << 20,
        ..BrokerConfig::default()
    };
    let server = Server::cached(SMALL_CACHE, config).await;
    let mut tail = with_big_batches(&server, 8).await;
    tail.topic("tail").await;
    assert_eq!(tail.produce("tail", 0, BatchSpec::new(3).encode()).await.error_code, 0);
    server.faults.always(Operation::Get, Some(Fault::Hang));
    let mut stuck = Vec::new();
    for partition in 0..8 {
        let mut wire = server.wire().await;
        wire.send(&fetch("big", &[(partition, 0)]).with_max_wait_ms(60_000), 12).await;
        stuck.push(wire);
    }
    // Two whole answers are all the memory there is.
    let gets = |least| (server.faults.calls(Operation::Get) >= least).then_some(());
    eventually("two GETs", || gets(2)).await;
    let request = fetch("tail", &[(0, 0)]).with_min_bytes(1).with_max_wait_ms(60_000);
    let fetched = tail.ask(&request, 12).await;
    let part = &fetched.responses[0].partitions[0];
    assert_eq!(part.records.as_ref().unwrap().len(), BatchSpec::new(3).encode().len());
    eventually("a GET of each", || gets(8)).await;
    tail.ask(&request, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_without_memory_is_answered_at_its_deadline_and_by_the_drain() {
    let config = BrokerConfig {
        max_fetch_bytes: 1 << 20,
        response_memory: 1 << 20,
        ..BrokerConfig::default()
    };
    let server = Server::cached(SMALL_CACHE, config).await;
    let mut wire = with_big_batches(&server, 1).await;
    server.faults.always(Operation::Get, Some(Fault::Hang));
    let mut stuck = server.wire().await;
    stuck.send(&fetch("big", &[(0, 0)]), 12).await;
    eventually("the GET", || (server.faults.calls(Operation::Get) == 1).then_some(())).await;

    let request = fetch("big", &[(0, 0)]).with_min_bytes(1);
    let fetched = wire.ask(&request.clone().with_max_wait_ms(50), 12).await;
    let empty = |fetched: &kafka_protocol::messages::FetchResponse| {
        let part = &fetched.responses[0].partitions[0];
        assert_eq!((part.error_code, part.high_watermark), (0, 1));
        assert!(part.records.as_ref().unwrap().is_empty());
    };
    empty(&fetched);

    let direction = [("direction", "in")];
    let taken = server.count("streamhouse.kafka.bytes", &direction);
    wire.send(&request.with_max_wait_ms(60_000), 12).await;
    server.counted("streamhouse.kafka.bytes", &direction, taken + 1).await;
    server.shutdown.cancel();
    empty(&wire.receive::<FetchRequest>(12).await.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_waits_for_more_holds_no_memory() {
    let config = BrokerConfig {
        max_fetch_bytes: 1 << 20,
        response_memory: 1 << 20,
        ..BrokerConfig::default()
    };
    let server = Server::cached(SMALL_CACHE, config).await;
    let mut wire = with_big_batches(&server, 1).await;
    let mut waiting = server.wire().await;
    let more = fetch("big", &[(0, 0)]).with_min_bytes(1 << 20).with_max_wait_ms(60_000);
    waiting.send(&more, 12).await;
    eventually("its GET", || (server.faults.calls(Operation::Get) == 1).then_some(())).await;
    let request = fetch("big", &[(0, 0)]).with_min_bytes(1).with_max_wait_ms(20_000);
    let fetched = wire.ask(&request, 12).await;
    let part = &fetched.responses[0].partitions[0];
    assert_eq!(part.records.as_ref().unwrap().len(), big().len());
}
