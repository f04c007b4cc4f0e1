//! A record's `traceparent` joins the server's spans to the producer's trace.

use crate::server::{Server, eventually};
use crate::versions::fetch;
use bytes::{Bytes, BytesMut};
use indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use opentelemetry::trace::SpanId;
use std::time::Duration;
use streamhouse_kafka::BrokerConfig;
use streamhouse_observability::testing::{Traces, traces};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn batch(compression: Compression, flags: &str) -> Bytes {
    let traceparent = format!("00-{TRACE}-{SPAN}-{flags}");
    let records: Vec<_> = (0..50)
        .map(|place| {
            let mut headers = IndexMap::new();
            headers.insert(StrBytes::from_static_str("other"), Some(Bytes::from_static(b"x")));
            if place == 2 {
                let key = StrBytes::from_static_str("traceparent");
                headers.insert(key, Some(Bytes::from(traceparent.clone())));
            }
            Record {
                transactional: false,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: -1,
                producer_id: -1,
                producer_epoch: -1,
                timestamp_type: TimestampType::Creation,
                offset: place,
                sequence: place as i32,
                timestamp: 1_700_000_000_000 + place,
                key: None,
                value: Some(Bytes::from(format!("value {place}").repeat(20))),
                headers,
            }
        })
        .collect();
    let mut encoded = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression };
    RecordBatchEncoder::encode(&mut encoded, &records, &options).unwrap();
    encoded.freeze()
}

async fn traced(traces: &Traces) -> Server {
    Server::traced(BrokerConfig::default(), traces.requests()).await
}

#[tokio::test]
async fn a_sampled_traceparent_of_every_codec_joins_the_producers_trace() {
    let traces = traces(0.0);
    let server = traced(&traces).await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for (place, codec) in codecs.into_iter().enumerate() {
        let answer = wire.produce("orders", 0, batch(codec, "01")).await;
        assert_eq!(answer.error_code, 0, "{codec:?}");
        let requests = eventually("the span", || {
            let spans = traces.named("produce_request");
            (spans.len() > place).then_some(spans)
        })
        .await;
        let request = &requests[place];
        assert_eq!(request.span_context.trace_id().to_string(), TRACE, "{codec:?}");
        assert_eq!(request.parent_span_id.to_string(), SPAN, "{codec:?}");
        let write = &traces.named("partition_write")[place];
        assert_eq!(write.parent_span_id, request.span_context.span_id());
        assert_eq!(write.span_context.trace_id(), request.span_context.trace_id());
        let flushes = eventually("the flush", || {
            let spans = traces.named("segment_flush");
            (spans.len() > place).then_some(spans)
        })
        .await;
        let flush = &flushes[place];
        assert_ne!(flush.span_context.trace_id(), request.span_context.trace_id());
        assert_eq!(flush.parent_span_id, SpanId::INVALID);
        let links = |of: &opentelemetry_sdk::trace::SpanData| -> Vec<_> {
            of.links.iter().map(|link| link.span_context.span_id()).collect()
        };
        assert_eq!(links(flush), [write.span_context.span_id()], "{codec:?}");
        assert_eq!(links(write), [flush.span_context.span_id()], "{codec:?}");
    }
    let found = [("result", "found")];
    assert_eq!(server.count("streamhouse.kafka.trace_searches", &found), 5);
}

#[tokio::test]
async fn an_unsampled_traceparent_forces_nothing() {
    let traces = traces(0.0);
    let server = traced(&traces).await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    assert_eq!(wire.produce("orders", 0, batch(Compression::Lz4, "00")).await.error_code, 0);
    wire.ask(&fetch("orders", &[(0, 0)]), 12).await;
    assert!(traces.spans().is_empty());
}

#[tokio::test]
async fn a_failed_request_is_traced_afterwards() {
    let traces = traces(0.0);
    let server = traced(&traces).await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    assert_eq!(wire.produce("nowhere", 0, batch(Compression::None, "00")).await.error_code, 3);
    wire.ask(&fetch("orders", &[(0, 99)]), 12).await;
    let names: Vec<_> = traces.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["produce_request", "consume_request"]);
}

#[tokio::test]
async fn a_long_poll_whose_client_goes_away_took_no_longer_than_without_its_wait_and_is_not_slow() {
    let traces = traces(0.0);
    let server = traced(&traces).await;
    let mut wire = server.wire().await;
    wire.topic("orders").await;
    let mut request = fetch("orders", &[(0, 0)]);
    (request.min_bytes, request.max_wait_ms) = (1, 25_000);
    let mut polling = server.wire().await;
    polling.send(&request, 12).await;
    // Longer than what makes a request slow.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    drop(polling);
    let cancelled = [("outcome", "cancelled")];
    assert_eq!(server.counted("streamhouse.consumer.latency", &cancelled, 1).await, 1);
    let text = server.seen.text();
    let sum = "streamhouse_consumer_latency_seconds_sum{outcome=\"cancelled\"} ";
    let sum = text.lines().find_map(|line| line.strip_prefix(sum)).unwrap();
    assert!(sum.parse::<f64>().unwrap() < 1.0, "{sum} s");
    assert!(traces.spans().is_empty(), "{:?}", traces.spans());
}
