use super::{Fault, RequestInfo, Shared, State, path};
use crate::labels::Signal;
use crate::pipeline::Protocol;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Serves until dropped.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    shared: Arc<Shared>,
) {
    let service = Service(shared);
    macro_rules! grpc {
        ($server:ident) => {
            $server::new(service.clone())
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(64 << 20)
        };
    }
    let routes = Routes::new(grpc!(TraceServiceServer))
        .add_service(grpc!(LogsServiceServer))
        .add_service(grpc!(MetricsServiceServer));
    let mut router: Router = routes.into_axum_router();
    for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
        let service = service.clone();
        let take = move |request| async move { service.http(signal, request).await };
        router = router.route(path(signal), post(take));
    }
    let router = router.layer(DefaultBodyLimit::disable());
    let _ = match tls {
        None => axum::serve(listener, router).await,
        Some(tls) => axum::serve(TlsListener(listener, tls.into()), router).await,
    };
}

/// Accepts connections one after the other; one whose handshake fails is gone.
struct TlsListener(TcpListener, TlsAcceptor);

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[derive(Clone)]
struct Service(Arc<Shared>);

/// How one request is to be answered.
enum Answer {
    Take { rejected: u64 },
    Unavailable(Option<Duration>),
    Invalid,
    Rubbish(usize),
}

impl Service {
    /// Notes the request and lets the fault have its way.
    async fn answer(&self, signal: Signal, protocol: Protocol, headers: &HeaderMap) -> Answer {
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = headers.iter().map(|(key, value)| (key.to_string(), text(value))).collect();
        let info = RequestInfo { signal, protocol, headers };
        self.0.change(|state| state.received.requests.push(info));
        let fault = self.0.lock().fault;
        match fault {
            Fault::None => Answer::Take { rejected: 0 },
            Fault::Hang => std::future::pending().await,
            Fault::Slow(time) => {
                tokio::time::sleep(time).await;
                Answer::Take { rejected: 0 }
            }
            Fault::Unavailable(wait) => Answer::Unavailable(wait),
            Fault::Invalid => Answer::Invalid,
            Fault::Reject(rejected) => Answer::Take { rejected },
            Fault::Rubbish(bytes) => Answer::Rubbish(bytes),
        }
    }

    async fn grpc<T>(
        &self,
        signal: Signal,
        request: tonic::Request<T>,
        take: impl FnOnce(&mut State, T),
    ) -> Result<u64, Status> {
        let headers = request.metadata().clone().into_headers();
        match self.answer(signal, Protocol::Grpc, &headers).await {
            Answer::Take { rejected } => {
                self.0.change(|state| take(state, request.into_inner()));
                Ok(rejected)
            }
            Answer::Unavailable(wait) => {
                let details = ErrorDetails::with_retry_info(wait);
                Err(Status::with_error_details(Code::Unavailable, "a fault", details))
            }
            Answer::Invalid => Err(Status::invalid_argument("a fault")),
            Answer::Rubbish(bytes) => Err(Status::internal("x".repeat(bytes))),
        }
    }

    async fn http(&self, signal: Signal, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
            return status(StatusCode::BAD_REQUEST);
        };
        match self.answer(signal, Protocol::HttpProtobuf, &parts.headers).await {
            Answer::Take { rejected } => {
                let zipped = parts.headers.contains_key("content-encoding");
                match self.take(signal, if zipped { unzipped(&body) } else { body }, rejected) {
                    Ok(answer) => Response::new(Body::from(answer)),
                    Err(_) => status(StatusCode::BAD_REQUEST),
                }
            }
            Answer::Unavailable(wait) => {
                let mut response = status(StatusCode::SERVICE_UNAVAILABLE);
                if let Some(wait) = wait {
                    response.headers_mut().insert("retry-after", wait.as_secs().into());
                }
                response
            }
            Answer::Invalid => status(StatusCode::BAD_REQUEST),
            Answer::Rubbish(bytes) => Response::new(Body::from(vec![b'x'; bytes])),
        }
    }

    fn take(&self, signal: Signal, body: Bytes, n: u64) -> Result<Vec<u8>, prost::DecodeError> {
        match signal {
            Signal::Traces => {
                let request = ExportTraceServiceRequest::decode(body)?;
                self.0.change(|state| state.received.traces.push(request));
                Ok(traces_answer(n).encode_to_vec())
            }
            Signal::Logs => {
                let request = ExportLogsServiceRequest::decode(body)?;
                self.0.change(|state| state.received.logs.push(request));
                Ok(logs_answer(n).encode_to_vec())
            }
            Signal::Metrics => {
                let request = ExportMetricsServiceRequest::decode(body)?;
                self.0.change(|state| state.received.metrics.push(request));
                Ok(metrics_answer(n).encode_to_vec())
            }
        }
    }
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn unzipped(body: &Bytes) -> Bytes {
    let mut plain = Vec::new();
    let _ = flate2::read::GzDecoder::new(body.as_ref()).read_to_end(&mut plain);
    plain.into()
}

fn traces_answer(n: u64) -> ExportTraceServiceResponse {
    let partial = ExportTracePartialSuccess { rejected_spans: n as i64, ..Default::default() };
    ExportTraceServiceResponse { partial_success: (n > 0).then_some(partial) }
}

fn logs_answer(n: u64) -> ExportLogsServiceResponse {
    let partial = ExportLogsPartialSuccess { rejected_log_records: n as i64, ..Default::default() };
    ExportLogsServiceResponse { partial_success: (n > 0).then_some(partial) }
}

fn metrics_answer(n: u64) -> ExportMetricsServiceResponse {
    let partial =
        ExportMetricsPartialSuccess { rejected_data_points: n as i64, ..Default::default() };
    ExportMetricsServiceResponse { partial_success: (n > 0).then_some(partial) }
}

type Answered<T> = Result<tonic::Response<T>, Status>;

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Answered<ExportTraceServiceResponse> {
        let take = |state: &mut State, request| state.received.traces.push(request);
        let rejected = self.grpc(Signal::Traces, request, take).await?;
        Ok(tonic::Response::new(traces_answer(rejected)))
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Answered<ExportLogsServiceResponse> {
        let take = |state: &mut State, request| state.received.logs.push(request);
        let rejected = self.grpc(Signal::Logs, request, take).await?;
        Ok(tonic::Response::new(logs_answer(rejected)))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Answered<ExportMetricsServiceResponse> {
        let take = |state: &mut State, request| state.received.metrics.push(request);
        let rejected = self.grpc(Signal::Metrics, request, take).await?;
        Ok(tonic::Response::new(metrics_answer(rejected)))
    }
}
