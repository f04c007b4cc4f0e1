//! A raw Kafka connection: what clients hide can be said with it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection with requests in flight.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    next: i32,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Any error of the socket.
    pub fn open(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream, next: 0 })
    }

    /// Sends a request and returns its correlation id without waiting for the answer.
    ///
    /// # Errors
    /// Any error of the socket or the encoder.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> Result<i32> {
        self.next += 1;
        self.stream.write_all(&frame(version, self.next, request)?)?;
        Ok(self.next)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Any error of the socket.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)
    }

    /// Receives the next answer, which must be that of `R`.
    ///
    /// # Errors
    /// Any error of the socket or the decoder.
    pub fn receive<R: Request>(&mut self, version: i16) -> Result<(i32, R::Response)> {
        let mut body = self.receive_bytes()?;
        let correlation = body.get_i32();
        let key = ApiKey::try_from(R::KEY).map_err(|()| Error::other("unknown key"))?;
        if key.response_header_version(version) > 0 {
            body.advance(1);
        }
        let response = R::Response::decode(&mut body, version).map_err(Error::other)?;
        Ok((correlation, response))
    }

    /// Receives the next answer's bytes, length excluded.
    ///
    /// # Errors
    /// Any error of the socket; the end of the stream is one.
    pub fn receive_bytes(&mut self) -> Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut body)?;
        Ok(body.into())
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`receive`](Self::receive).
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.send(version, request)?;
        Ok(self.receive::<R>(version)?.1)
    }

    /// A second handle to the same socket, to send and receive from two threads.
    ///
    /// # Errors
    /// Any error of the socket.
    pub fn split(&self) -> Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, next: self.next })
    }
}

/// A whole frame, length included.
///
/// # Errors
/// A field that the version lacks.
pub fn frame<R: Request>(version: i16, correlation: i32, request: &R) -> Result<Bytes> {
    let key = ApiKey::try_from(R::KEY).map_err(|()| Error::other("unknown key"))?;
    let mut body = BytesMut::new();
    body.put_i32(0);
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("raw")))
        .encode(&mut body, key.request_header_version(version))
        .map_err(Error::other)?;
    request.encode(&mut body, version).map_err(Error::other)?;
    let length = (body.len() - 4) as u32;
    body[..4].copy_from_slice(&length.to_be_bytes());
    Ok(body.freeze())
}

/// An idempotent producer's claim.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// The first record's sequence.
    pub sequence: i32,
}

/// Encodes values as one record batch.
///
/// # Panics
/// When the encoder refuses, which well-formed records do not make it do.
pub fn batch(values: &[Vec<u8>], compression: Compression, claim: Option<Claim>) -> Bytes {
    let records: Vec<Record> = values
        .iter()
        .enumerate()
        .map(|(place, value)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 0,
            producer_id: claim.map_or(NO_PRODUCER_ID, |claim| claim.id),
            producer_epoch: claim.map_or(NO_PRODUCER_EPOCH, |claim| claim.epoch),
            timestamp_type: TimestampType::Creation,
            offset: place as i64,
            // The encoder begins a new batch where sequences do not follow each other.
            sequence: claim.map_or(NO_SEQUENCE, |claim| claim.sequence) + place as i32,
            timestamp: 1_700_000_000_000 + place as i64,
            key: None,
            value: Some(Bytes::copy_from_slice(value)),
            headers: Default::default(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("well-formed records");
    bytes.freeze()
}

/// A produce request for one partition.
pub fn produce(topic: &str, partition: i32, records: Bytes, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicName(StrBytes::from_string(topic.into()));
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![
        TopicProduceData::default().with_name(topic).with_partition_data(vec![data]),
    ])
}
