//! What is wrong is answered with the protocol's error or a closed connection, is counted with its
//! class, and hurts nobody else.

use crate::server::Server;
use crate::wire::{frame, metadata, produce};
use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, ProduceResponse,
    ResponseHeader, TransactionalId,
};
use kafka_protocol::protocol::{Decodable as _, StrBytes};
use std::time::Duration;
use streamhouse_kafka::BrokerConfig;
use streamhouse_observability::labels::Operation;
use streamhouse_storage::testing::{BatchSpec, Fault};

const REQUESTS: &str = "streamhouse.kafka.requests";
const ERRORS: &str = "streamhouse.producer.errors";

fn changed(at: usize, byte: u8) -> Bytes {
    let mut bytes = BatchSpec::new(3).encode().to_vec();
    bytes[at] = byte;
    bytes.into()
}

/// What is wrong, where it is sent, the code, and the class on the counter.
fn bad_batches() -> Vec<(&'static str, &'static str, i32, Bytes, Code, &'static str)> {
    let good = BatchSpec::new(3).encode();
    let crc = good[17];
    vec![
        (
            "an unknown topic",
            "nowhere",
            0,
            good.clone(),
            Code::UnknownTopicOrPartition,
            "unknown_topic",
        ),
        (
            "an unknown partition",
            "here",
            7,
            good.clone(),
            Code::UnknownTopicOrPartition,
            "unknown_topic",
        ),
        (
            "an oversize batch",
            "here",
            0,
            BatchSpec::new(1).value_bytes(2 << 20).encode(),
            Code::MessageTooLarge,
            "too_large",
        ),
        ("a wrong checksum", "here", 0, changed(17, !crc), Code::CorruptMessage, "corrupt"),
        ("magic 1", "here", 0, changed(16, 1), Code::UnsupportedForMessageFormat, "invalid"),
        ("an absurd length", "here", 0, changed(8, 0x70), Code::MessageTooLarge, "too_large"),
        ("a negative length", "here", 0, changed(8, 0xff), Code::InvalidRecord, "invalid"),
        ("a torn batch", "here", 0, good.slice(..good.len() - 1), Code::InvalidRecord, "invalid"),
        ("nothing", "here", 0, Bytes::new(), Code::InvalidRecord, "invalid"),
        (
            "a gap from an unknown producer",
            "here",
            0,
            BatchSpec::new(1).producer(4_000, 0, 5).encode(),
            Code::UnknownProducerId,
            "unknown_producer",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_batch_is_answered_with_its_code_and_counted_with_its_class() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("here").await;
    for (what, topic, partition, records, code, class) in bad_batches() {
        let label = if topic == "here" { "here" } else { "<unknown>" };
        let labels = [("topic", label), ("error", class)];
        let before = server.count(ERRORS, &labels);
        let answer = wire.produce(topic, partition, records).await;
        assert_eq!(answer.error_code, code.code(), "{what}: {:?}", answer.error_message);
        assert_eq!(answer.base_offset, -1, "{what}");
        assert!(answer.error_message.is_some(), "{what}");
        assert_eq!(server.count(ERRORS, &labels), before + 1, "{what}");
    }
    assert_eq!(server.count("streamhouse.producer.records", &[]), 0);
    let answer = wire.produce("here", 0, BatchSpec::new(3).encode()).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 0), "the server goes on");
    assert_eq!(server.count("streamhouse.producer.records", &[("topic", "here")]), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequence_errors_have_the_codes_that_clients_react_to() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let identity = wire.ask(&InitProducerIdRequest::default().with_transactional_id(None), 4).await;
    let id = identity.producer_id.0;
    let batch = |epoch, sequence| BatchSpec::new(2).producer(id, epoch, sequence).encode();
    let mut codes = Vec::new();
    for (epoch, sequence) in [(0, 0), (0, 2), (0, 0), (0, 9)] {
        let answer = wire.produce("orders", 0, batch(epoch, sequence)).await;
        codes.push((answer.error_code, answer.base_offset));
    }
    assert_eq!(codes, [(0, 0), (0, 2), (0, 0), (Code::OutOfOrderSequenceNumber.code(), -1)]);
    let raised = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(id.into())
        .with_producer_epoch(identity.producer_epoch);
    let raised = wire.ask(&raised, 4).await;
    assert_eq!((raised.error_code, raised.producer_epoch), (0, 1));
    let answer = wire.produce("orders", 0, batch(1, 0)).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 4));
    let answer = wire.produce("orders", 0, batch(0, 4)).await;
    assert_eq!(answer.error_code, Code::InvalidProducerEpoch.code());
    // The repeated batch is acknowledged again, but it is one batch of the log.
    assert_eq!(server.count("streamhouse.producer.records", &[("topic", "orders")]), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_of_the_object_store_is_retryable_and_keeps_its_class() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    for (fault, code, class) in [
        (Fault::Throttled, Code::KafkaStorageError, "throttling"),
        (Fault::ServerError, Code::KafkaStorageError, "storage"),
    ] {
        server.faults.always(Operation::Put, Some(fault));
        let mut request = produce("orders", 0, -1, BatchSpec::new(1).encode());
        request.timeout_ms = 20_000;
        let answer: ProduceResponse = wire.ask(&request, 9).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, code.code());
        server.faults.clear();
        assert_eq!(server.count(ERRORS, &[("topic", "orders"), ("error", class)]), 1);
    }
    let answer = wire.produce("orders", 0, BatchSpec::new(1).encode()).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_passes_is_7_and_records_that_come_later_are_counted() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    server.faults.queue(Operation::Put, [Fault::Hold]);
    let mut request = produce("orders", 0, -1, BatchSpec::new(4).encode());
    request.timeout_ms = 50;
    let answer: ProduceResponse = wire.ask(&request, 9).await;
    let part = &answer.responses[0].partition_responses[0];
    assert_eq!(part.error_code, Code::RequestTimedOut.code());
    assert_eq!(server.count(ERRORS, &[("topic", "orders"), ("error", "timeout")]), 1);
    server.faults.release();
    assert_eq!(server.counted("streamhouse.producer.records", &[("topic", "orders")], 4).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_beyond_the_protocol_and_transactions_are_refused() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let records = BatchSpec::new(1).encode();
    let odd: ProduceResponse = wire.ask(&produce("orders", 0, 2, records.clone()), 9).await;
    let code = odd.responses[0].partition_responses[0].error_code;
    assert_eq!(code, Code::InvalidRequiredAcks.code());
    let id = TransactionalId(StrBytes::from_static_str("mover"));
    let request = produce("orders", 0, -1, records).with_transactional_id(Some(id.clone()));
    let refused: ProduceResponse = wire.ask(&request, 9).await;
    let code = refused.responses[0].partition_responses[0].error_code;
    assert_eq!(code, Code::TransactionalIdAuthorizationFailed.code());
    let request = InitProducerIdRequest::default().with_transactional_id(Some(id));
    let refused = wire.ask(&request, 4).await;
    assert_eq!(refused.error_code, Code::TransactionalIdAuthorizationFailed.code());
    assert_eq!(server.count("streamhouse.producer.records", &[]), 0);
}

fn raw(key: i16, version: i16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(10 + body.len() as i32);
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_i16(-1);
    frame.put_slice(body);
    frame.freeze()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_cannot_be_requests_close_their_connection_and_are_counted() {
    let config =
        BrokerConfig { read_timeout: Duration::from_millis(200), ..BrokerConfig::default() };
    let server = Server::with(config).await;
    let whole = frame(&metadata(&["orders"]), 9, 1);
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("an absurd array", raw(3, 1, &[0x7f, 0xff, 0xff, 0xff]).to_vec(), "metadata", "malformed"),
        ("an absurd frame", i32::MAX.to_be_bytes().to_vec(), "unknown", "malformed"),
        ("a negative frame", (-1i32).to_be_bytes().to_vec(), "unknown", "malformed"),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "unknown", "malformed"),
        ("a body that never comes", whole[..whole.len() - 1].to_vec(), "unknown", "malformed"),
        (
            "a text that is no text",
            raw(3, 1, b"\0\0\0\x01\0\x02\xff\xfe").to_vec(),
            "metadata",
            "malformed",
        ),
        ("an unknown API", raw(999, 0, &[]).to_vec(), "unknown", "unsupported"),
        ("an API that is not offered", raw(24, 0, &[]).to_vec(), "unknown", "unsupported"),
        ("a version too high", raw(3, 13, &[]).to_vec(), "metadata", "unsupported"),
        ("a version too low", raw(0, 2, &[]).to_vec(), "produce", "unsupported"),
        ("a negative version", raw(3, -1, &[]).to_vec(), "metadata", "unsupported"),
    ];
    for (what, bytes, api, outcome) in cases {
        let labels = [("api", api), ("outcome", outcome)];
        let before = server.count(REQUESTS, &labels);
        let mut wire = server.wire().await;
        wire.send_raw(&bytes).await;
        assert!(wire.is_closed().await, "{what}");
        assert_eq!(server.count(REQUESTS, &labels), before + 1, "{what}");
    }
    server.wire().await.topic("orders").await;
    server.gauge("streamhouse.connections.active", 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_cut_off_by_its_client_is_counted() {
    let server = Server::start().await;
    let whole = frame(&metadata(&["orders"]), 9, 1);
    for length in 1..whole.len() {
        let mut wire = server.wire().await;
        wire.send_raw(&whole[..length]).await;
        drop(wire);
    }
    let labels = [("api", "unknown"), ("outcome", "malformed")];
    let cut = whole.len() as u64 - 1;
    assert_eq!(server.counted(REQUESTS, &labels, cut).await, cut);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_version_of_api_versions_is_answered_with_35_and_its_own_versions_alone() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.send_raw(&raw(18, 77, b"anything at all")).await;
    let mut answer = wire.receive_raw().await.unwrap();
    assert_eq!(ResponseHeader::decode(&mut answer, 0).unwrap().correlation_id, 1);
    let answer = ApiVersionsResponse::decode(&mut answer, 0).unwrap();
    assert_eq!(answer.error_code, Code::UnsupportedVersion.code());
    let offered = |api: &ApiVersion| (api.api_key, api.min_version, api.max_version);
    let own: Vec<_> = answer.api_keys.iter().map(offered).collect();
    assert_eq!(own, [(18, 0, 4)], "a client that is told of all APIs does not ask again");
    let again = wire.ask(&ApiVersionsRequest::default(), 4).await;
    assert_eq!(again.error_code, 0);
    assert!(again.api_keys.len() > 1);
    let labels = [("api", "api_versions"), ("outcome", "unsupported")];
    assert_eq!(server.counted(REQUESTS, &labels, 1).await, 1);
}
