//! A client of raw frames.

use crate::server::PATIENCE;
use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiKey, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Wire {
    pub socket: TcpStream,
    next: i32,
}

/// A request as a whole frame.
pub fn frame<R: Request>(request: &R, version: i16, correlation: i32) -> Bytes {
    let key = ApiKey::try_from(R::KEY).unwrap();
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("raw")))
        .encode(&mut frame, key.request_header_version(version))
        .unwrap();
    request.encode(&mut frame, version).unwrap();
    let length = i32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

impl Wire {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self { socket: TcpStream::connect(addr).await.unwrap(), next: 0 }
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// Sends a request; its correlation id is returned.
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        self.next += 1;
        let frame = frame(request, version, self.next);
        self.send_raw(&frame).await;
        self.next
    }

    /// The next frame, `None` when the server has closed the connection.
    pub async fn receive_raw(&mut self) -> Option<Bytes> {
        let read = async {
            let length = self.socket.read_i32().await.ok()?;
            let mut body = vec![0; usize::try_from(length).unwrap()];
            self.socket.read_exact(&mut body).await.ok()?;
            Some(body.into())
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer or the end")
    }

    /// The next answer with its correlation id.
    pub async fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let mut frame = self.receive_raw().await.expect("an answer");
        let key = ApiKey::try_from(R::KEY).unwrap();
        let header =
            ResponseHeader::decode(&mut frame, key.response_header_version(version)).unwrap();
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert_eq!(frame.remaining(), 0, "bytes are left after the answer");
        (header.correlation_id, response)
    }

    /// Sends a request and waits for its answer.
    pub async fn ask<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let sent = self.send(request, version).await;
        let (correlation, response) = self.receive::<R>(version).await;
        assert_eq!(correlation, sent);
        response
    }

    /// Whether the server closes the connection without a further answer.
    pub async fn is_closed(&mut self) -> bool {
        self.receive_raw().await.is_none()
    }

    /// Makes sure that a topic with one partition exists.
    pub async fn topic(&mut self, topic: &str) {
        let response = self.ask(&metadata(&[topic]), 9).await;
        assert_eq!(error_codes(&response), [0]);
    }

    /// Produces to a partition and returns its part of the answer.
    pub async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let response: ProduceResponse = self.ask(&produce(topic, partition, -1, records), 9).await;
        response.responses[0].partition_responses[0].clone()
    }
}

pub fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub fn metadata(topics: &[&str]) -> MetadataRequest {
    let topics =
        topics.iter().map(|one| MetadataRequestTopic::default().with_name(Some(name(one))));
    MetadataRequest::default()
        .with_topics(Some(topics.collect()))
        .with_allow_auto_topic_creation(true)
}

pub fn error_codes(response: &MetadataResponse) -> Vec<i16> {
    response.topics.iter().map(|topic| topic.error_code).collect()
}

pub fn produce(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(20_000).with_topic_data(vec![topic])
}
