//! One signal's exporter: sends batches, repeats what may be repeated, settles the ledger, and
//! says at most every 30 seconds that something is wrong.
//!
//! Both transports are our own: the ledger counts what the peer refused, that number stands in the
//! answer's partial success and nowhere else, and the exporters of `opentelemetry-otlp` keep the
//! answer to themselves. Requests and headers are those that they would send, over gRPC and HTTP;
//! the test `what_is_sent_is_what_opentelemetry_otlp_sends` holds us to that. Meant to differ are
//! the user agent and a push with more data points than one request should have: it is split.

mod encode;
mod grpc;
mod http;
mod retry;
mod tls;
mod warning;

pub(crate) use encode::{Request, logs, metrics, points, spans};
pub(crate) use tls::TransportError;
pub(crate) use warning::Warning;

use super::config::Protocol;
use super::destination::Destination;
use super::ledger::{Ledger, Settled};
use crate::declare::ClosedLabel as _;
use bytes::Bytes;
use prost::Message;
use retry::Backoff;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The largest answer that is read.
const ANSWER_LIMIT: usize = 4 << 20;

/// Sends the batches of one signal, one at a time, and settles them in its ledger.
pub(crate) struct Exporter {
    sender: Sender,
    ledger: Arc<Ledger>,
    warning: Warning,
}

/// Sends requests, one at a time, and repeats what may be repeated.
pub(crate) struct Sender {
    transport: Transport,
    timeout: Duration,
    backoff: Backoff,
    closing: watch::Receiver<bool>,
}

enum Transport {
    Grpc(grpc::Grpc),
    Http(http::Http),
}

/// Why one attempt failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What happened, in words that hold nothing the peer or a header said.
    pub(crate) reason: String,
    /// Whether another attempt may help.
    retry: bool,
    /// How long the peer asks us to wait.
    wait: Option<Duration>,
}

impl Failure {
    fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: true, wait: None }
    }
}

impl Exporter {
    /// Builds the transport; connects later. To be called inside the exporters' runtime.
    pub(crate) fn new(
        destination: &Destination,
        ledger: Arc<Ledger>,
        closing: watch::Receiver<bool>,
    ) -> Result<Self, TransportError> {
        let warning = Warning::new(destination.signal.as_str(), destination.shown());
        Ok(Self { sender: Sender::new(destination, closing)?, ledger, warning })
    }

    /// Sends `request`, which holds `items` admitted items, and settles them.
    pub(crate) async fn export(&mut self, request: Request, items: u64) {
        match self.sender.deliver(request.body).await {
            Ok(rejected) => {
                self.ledger.settle(items, Settled::Delivered { rejected });
                self.warning.delivered(self.ledger.queue_full(), rejected);
            }
            Err(failure) => {
                self.ledger.settle(items, Settled::Failed);
                self.warning.failed(self.ledger.queue_full(), items, &failure.reason);
            }
        }
    }
}

impl Sender {
    /// Builds the transport; connects later. To be called inside the exporters' runtime.
    pub(crate) fn new(
        destination: &Destination,
        closing: watch::Receiver<bool>,
    ) -> Result<Self, TransportError> {
        let transport = match destination.protocol {
            Protocol::Grpc => Transport::Grpc(grpc::Grpc::new(destination)?),
            Protocol::HttpProtobuf => Transport::Http(http::Http::new(destination)?),
        };
        let (timeout, backoff) = (destination.timeout, Backoff::default());
        Ok(Self { transport, timeout, backoff, closing })
    }

    /// Attempts until one succeeds, none may help, or time is up; tells how many items the peer
    /// refused. During the shutdown every request has one attempt.
    pub(crate) async fn deliver(&mut self, body: Bytes) -> Result<u64, Failure> {
        let deadline = Instant::now() + self.timeout;
        loop {
            self.backoff.pause(deadline, &mut self.closing).await?;
            let last = *self.closing.borrow();
            let failure = match tokio::time::timeout_at(deadline, self.attempt(body.clone())).await
            {
                Ok(Ok(rejected)) => {
                    self.backoff.succeeded();
                    return Ok(rejected);
                }
                Ok(Err(failure)) => failure,
                Err(_) => return Err(Failure::passing("no answer in time")),
            };
            if !failure.retry {
                return Err(failure);
            }
            self.backoff.failed(failure.wait);
            if last || !self.backoff.fits(deadline) {
                return Err(failure);
            }
        }
    }

    async fn attempt(&mut self, body: Bytes) -> Result<u64, Failure> {
        let answer = match &mut self.transport {
            Transport::Grpc(grpc) => grpc.send(body).await?,
            Transport::Http(http) => http.send(body).await?,
        };
        Ok(rejected(answer))
    }
}

/// How many items the peer refused. The answers of the three signals are alike on the wire; one
/// that cannot be read is a success, as the status said.
fn rejected(answer: Bytes) -> u64 {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
    ExportTraceServiceResponse::decode(answer)
        .ok()
        .and_then(|answer| answer.partial_success)
        .map_or(0, |partial| partial.rejected_spans.max(0) as u64)
}
