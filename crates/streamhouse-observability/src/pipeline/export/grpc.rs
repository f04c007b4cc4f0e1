//! OTLP over gRPC.

use super::super::config::Compression;
use super::super::destination::Destination;
use super::tls::{TransportError, grpc_tls};
use super::{ANSWER_LIMIT, Failure};
use crate::labels::Signal;
use ::http::uri::PathAndQuery;
use bytes::{Buf, BufMut, Bytes};
use std::error::Error as _;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub(super) struct Grpc {
    client: tonic::client::Grpc<Channel>,
    path: PathAndQuery,
    headers: MetadataMap,
}

impl Grpc {
    pub(super) fn new(destination: &Destination) -> Result<Self, TransportError> {
        let mut endpoint = Endpoint::from(destination.url.clone())
            .connect_timeout(destination.timeout)
            .user_agent(super::http::USER_AGENT)
            .map_err(|error| TransportError::Client(error.to_string()))?;
        if destination.is_tls() {
            endpoint = endpoint
                .tls_config(grpc_tls(destination)?)
                .map_err(|error| TransportError::Client(causes(&error)))?;
        }
        let mut client = tonic::client::Grpc::new(endpoint.connect_lazy())
            .max_decoding_message_size(ANSWER_LIMIT);
        if destination.compression == Compression::Gzip {
            let gzip = CompressionEncoding::Gzip;
            client = client.send_compressed(gzip).accept_compressed(gzip);
        }
        let mut headers = MetadataMap::new();
        for (name, value) in destination.headers.reveal() {
            let name = AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes());
            let (Ok(name), Ok(value)) = (name, AsciiMetadataValue::try_from(value.as_str())) else {
                return Err(TransportError::Header);
            };
            headers.insert(name, value);
        }
        Ok(Self { client, path: path(destination.signal), headers })
    }

    pub(super) async fn send(&mut self, body: Bytes) -> Result<Bytes, Failure> {
        self.client.ready().await.map_err(|error| Failure::passing(causes(&error)))?;
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = self.headers.clone();
        let answer = self.client.unary(request, self.path.clone(), Raw).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failure(&status))
    }
}

fn path(signal: Signal) -> PathAndQuery {
    PathAndQuery::from_static(match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    })
}

/// Which statuses may be repeated is the OTLP specification's table.
fn failure(status: &Status) -> Failure {
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let retry = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => wait.is_some(),
        // A broken connection has no status of the peer's.
        Code::Unknown | Code::Internal => status.source().is_some(),
        _ => false,
    };
    let reason = match status.source() {
        Some(source) => causes(source),
        None => format!("gRPC status {:?}", status.code()),
    };
    Failure { reason, retry, wait }
}

/// An error of the transport with its causes, in one line.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Passes bytes through: the request is encoded once for all attempts and both transports.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, body: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(body);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
