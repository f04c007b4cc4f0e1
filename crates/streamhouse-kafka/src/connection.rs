//! One connection: requests come in, answers go out in the order asked.
//!
//! Requests are worked on at the same time, each in a task of its own. Only those that produce or
//! commit offsets wait for each other, and only until they are in the writer's queue or in the
//! groups' lane: that is the order of the log, and that in which offsets advance.

use crate::api::{Offered, offered};
use crate::attempt::Answering;
use crate::broker::Broker;
use crate::client_telemetry::Software;
use crate::error::KafkaError;
use crate::framing::{allowance, deadline};
use crate::handlers::{self, Context};
use crate::reply::{Delivery, Reply, Turn, encode};
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind};
use kafka_protocol::protocol::{Decodable as _, StrBytes};
use std::sync::Arc;
use std::time::Instant;
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::labels::{Api, Direction, RequestOutcome};
use streamhouse_observability::spans::{Arrival, RequestIds};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bytes of small frames that are taken from the socket at once.
const READ_AHEAD: usize = 8 * 1024;

/// An answer that is ready to be written.
struct Answer {
    frame: Result<Bytes, KafkaError>,
    outcome: RequestOutcome,
    answering: Answering,
    delivery: Delivery,
    _slot: OwnedSemaphorePermit,
}

/// How a request wants to be answered.
struct Wanted {
    offered: &'static Offered,
    version: i16,
    correlation: i32,
    /// Not at all: the client does not wait (`acks=0`).
    silent: bool,
}

/// How reading ends when nothing is wrong.
enum End {
    /// The client is gone, or idle for too long.
    Closed,
    /// No further request is taken; those under way are answered.
    Draining,
}

/// Serves one connection until it ends, `shutdown` and its last answer, or `abort`.
///
/// # Errors
/// What ended the connection, when that was not the client's wish.
pub(crate) async fn run<S: AsyncRead + AsyncWrite>(
    socket: S,
    peer: Arc<str>,
    broker: &Arc<Broker>,
    shutdown: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
) -> Result<(), KafkaError> {
    let (reading, writing) = tokio::io::split(socket);
    let (queue, answers) = mpsc::unbounded_channel();
    let gone = CancellationToken::new();
    let _gone = gone.clone().drop_guard();
    let requests = Requests {
        broker: broker.clone(),
        slots: Arc::new(Semaphore::new(broker.config.max_unanswered)),
        queue,
        shutdown,
        abort,
        gone,
        tasks,
        waiting: None,
        peer,
        client: None,
        software: Arc::default(),
    };
    let mut writing = std::pin::pin!(write(writing, broker, answers));
    tokio::select! {
        end = requests.read(BufReader::with_capacity(READ_AHEAD, reading)) => match end? {
            End::Closed => Ok(()),
            End::Draining => writing.await,
        },
        written = &mut writing => written,
    }
}

/// Writes answers in the order of their requests.
async fn write<W: AsyncWrite + Unpin>(
    mut socket: W,
    broker: &Broker,
    mut answers: mpsc::UnboundedReceiver<oneshot::Receiver<Answer>>,
) -> Result<(), KafkaError> {
    while let Some(answer) = answers.recv().await {
        // A request that ends without an answer was cut off: the client must not wait for it.
        let Ok(answer) = answer.await else { return Ok(()) };
        let frame = match answer.frame {
            Ok(frame) => frame,
            Err(error) => {
                answer.answering.settle(RequestOutcome::Error);
                return Err(error);
            }
        };
        let limit = allowance(broker.config.write_timeout, frame.len());
        deadline("read an answer", limit, socket.write_all(&frame)).await?;
        broker.connections.bytes.of(Direction::Out).add(frame.len() as u64);
        answer.delivery.sent();
        answer.answering.settle(answer.outcome);
    }
    Ok(())
}

/// The reading half.
struct Requests {
    broker: Arc<Broker>,
    slots: Arc<Semaphore>,
    queue: mpsc::UnboundedSender<oneshot::Receiver<Answer>>,
    shutdown: CancellationToken,
    abort: CancellationToken,
    gone: CancellationToken,
    tasks: TaskTracker,
    /// Ends when the latest request of this connection that may wait for long has.
    waiting: Option<oneshot::Receiver<()>>,
    /// The client's address.
    peer: Arc<str>,
    /// The client's name for itself, kept because it is the same in every request.
    client: Option<Arc<str>>,
    /// The client's library, as it presented itself.
    software: Arc<Software>,
}

impl Requests {
    async fn read<R: AsyncRead + Unpin>(
        mut self,
        mut socket: BufReader<R>,
    ) -> Result<End, KafkaError> {
        let shutdown = self.shutdown.clone();
        loop {
            let slots = self.slots.clone();
            let slot = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(End::Draining),
                slot = slots.acquire_owned() => match slot {
                    Ok(slot) => slot,
                    Err(_) => return Ok(End::Closed),
                },
            };
            let frame = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(End::Draining),
                frame = self.frame(&mut socket) => frame,
            };
            match frame {
                Ok(Some((frame, arrival))) => self.take(frame, arrival, slot).await?,
                Ok(None) => return Ok(End::Closed),
                Err(error) => {
                    self.refused(Api::Unknown, Instant::now(), RequestOutcome::Malformed);
                    return Err(error);
                }
            }
        }
    }

    /// Reads a frame; `None` at the end of the connection.
    async fn frame<R: AsyncRead + Unpin>(
        &self,
        socket: &mut BufReader<R>,
    ) -> Result<Option<(Bytes, Arrival)>, KafkaError> {
        let idle = self.broker.config.idle_timeout;
        loop {
            match tokio::time::timeout(idle, socket.fill_buf()).await {
                Ok(ready) if ready.as_ref().is_ok_and(|bytes| !bytes.is_empty()) => break,
                // The end, or the connection was reset between two requests.
                Ok(_) => return Ok(None),
                Err(_) if self.has_nothing_to_do() => return Ok(None),
                Err(_) => {}
            }
        }
        let Some(length) = self.broker.admission.length(socket).await? else { return Ok(None) };
        let frame = self.broker.admission.body(socket, length).await?;
        self.broker.connections.bytes.of(Direction::In).add(4 + length as u64);
        Ok(Some(frame))
    }

    /// Whether the only slot taken is that of the request being waited for.
    fn has_nothing_to_do(&self) -> bool {
        self.slots.available_permits() + 1 >= self.broker.config.max_unanswered
    }

    fn refused(&self, api: Api, arrival: Instant, outcome: RequestOutcome) {
        Answering::new(self.broker.clone(), api, arrival).settle(outcome);
    }

    /// Walks, decodes and starts a request.
    async fn take(
        &mut self,
        frame: Bytes,
        arrival: Arrival,
        slot: OwnedSemaphorePermit,
    ) -> Result<(), KafkaError> {
        let (key, version, correlation) = head(&frame)?;
        let Some(offered) = offered(key) else {
            self.refused(Api::Unknown, arrival.at, RequestOutcome::Unsupported);
            return Err(KafkaError::Unsupported { key, version });
        };
        if !offered.has(version) && offered.key != ApiKey::ApiVersions {
            self.refused(offered.label, arrival.at, RequestOutcome::Unsupported);
            return Err(KafkaError::Unsupported { key, version });
        }
        let answering = Answering::new(self.broker.clone(), offered.label, arrival.at);
        if !offered.has(version) {
            let reply = handlers::api_versions::unsupported();
            let wanted = Wanted { offered, version: 0, correlation, silent: false };
            self.answer(wanted, answering, slot, async { Some(reply) });
            return Ok(());
        }
        let request = match decode(offered, version, frame) {
            Ok((client, request)) => {
                self.remember(client.as_deref(), &request);
                request
            }
            Err(error) => {
                answering.settle(RequestOutcome::Malformed);
                return Err(error);
            }
        };
        let context = self.context(offered, version, correlation, arrival);
        let wanted = Wanted { offered, version, correlation, silent: false };
        self.start(request, context, wanted, answering, slot).await;
        Ok(())
    }

    fn context(
        &self,
        offered: &Offered,
        version: i16,
        correlation: i32,
        arrival: Arrival,
    ) -> Context {
        Context {
            broker: self.broker.clone(),
            version,
            arrival,
            ids: RequestIds {
                api: offered.label.as_str(),
                correlation_id: correlation,
                client_id: self.client.clone(),
            },
            peer: self.peer.clone(),
            software: self.software.clone(),
            draining: self.shutdown.clone(),
            gone: self.gone.clone(),
            abort: self.abort.clone(),
            tasks: self.tasks.clone(),
        }
    }

    /// Starts a request; one that produces or commits has its place in the order afterwards.
    async fn start(
        &mut self,
        request: RequestKind,
        context: Context,
        mut wanted: Wanted,
        answering: Answering,
        slot: OwnedSemaphorePermit,
    ) {
        match request {
            RequestKind::Produce(request) => {
                wanted.silent = request.acks == 0;
                let (queued, taken) = oneshot::channel();
                let reply = handlers::produce::handle(context, request, queued);
                self.answer(wanted, answering, slot, async { Some(reply.await) });
                let _ = taken.await; // the sender is dropped however the request ends
            }
            RequestKind::Fetch(request) => {
                let (done, over) = oneshot::channel();
                let turn = Turn { before: self.waiting.replace(over), done };
                let gone = self.gone.clone();
                let reply = async move {
                    gone.run_until_cancelled(handlers::fetch::handle(context, request, turn)).await
                };
                self.answer(wanted, answering, slot, reply);
            }
            RequestKind::OffsetCommit(request) => {
                let (queued, taken) = oneshot::channel();
                let gone = self.gone.clone();
                let reply = async move {
                    let reply = handlers::offset_commit::handle(context, request, queued);
                    gone.run_until_cancelled(reply).await
                };
                self.answer(wanted, answering, slot, reply);
                let _ = taken.await; // the sender is dropped however the request ends
            }
            request @ (RequestKind::JoinGroup(_) | RequestKind::SyncGroup(_)) => {
                let (done, over) = oneshot::channel();
                self.waiting = Some(over);
                let gone = self.gone.clone();
                let reply = async move {
                    let reply = handlers::parked::handle(context, request, done);
                    gone.run_until_cancelled(reply).await
                };
                self.answer(wanted, answering, slot, reply);
            }
            request @ RequestKind::PushTelemetry(_) => {
                // A client's last push comes just before it closes the connection.
                let reply = handlers::handle(context, request);
                self.answer(wanted, answering, slot, async { Some(reply.await) });
            }
            request => {
                let gone = self.gone.clone();
                let reply = async move {
                    gone.run_until_cancelled(handlers::handle(context, request)).await
                };
                self.answer(wanted, answering, slot, reply);
            }
        }
    }

    /// Works on a request in a task of its own. No reply means that the connection is over.
    fn answer(
        &self,
        wanted: Wanted,
        answering: Answering,
        slot: OwnedSemaphorePermit,
        reply: impl Future<Output = Option<Reply>> + Send + 'static,
    ) {
        let (ready, answer) = oneshot::channel();
        if !wanted.silent {
            // The connection may be ending: then nobody waits for the answer.
            let _ = self.queue.send(answer);
        }
        let (abort, queue) = (self.abort.clone(), self.queue.downgrade());
        self.tasks.spawn(async move {
            let Some(Some(reply)) = abort.run_until_cancelled(reply).await else { return };
            if wanted.silent {
                if reply.outcome == RequestOutcome::Error
                    && let Some(queue) = queue.upgrade()
                {
                    // The end of the connection is all that such a client can notice.
                    tracing::debug!("a connection is closed: a request with acks=0 failed");
                    let (_, never) = oneshot::channel();
                    let _ = queue.send(never);
                }
                return answering.settle(reply.outcome);
            }
            let _ = ready.send(Answer {
                frame: encode(wanted.offered, wanted.version, wanted.correlation, &reply.body),
                outcome: reply.outcome,
                answering,
                delivery: reply.delivery,
                _slot: slot,
            });
        });
    }

    fn remember(&mut self, client: Option<&str>, request: &RequestKind) {
        if let RequestKind::ApiVersions(asked) = request {
            let (name, version) = (&asked.client_software_name, &asked.client_software_version);
            self.software = Arc::new(Software::new(name, version));
        }
        if self.client.as_deref() != client {
            self.client = client.map(Into::into);
        }
    }
}

/// Key, version and correlation id.
fn head(frame: &[u8]) -> Result<(i16, i16, i32), KafkaError> {
    match frame {
        [k0, k1, v0, v1, c0, c1, c2, c3, ..] => Ok((
            i16::from_be_bytes([*k0, *k1]),
            i16::from_be_bytes([*v0, *v1]),
            i32::from_be_bytes([*c0, *c1, *c2, *c3]),
        )),
        _ => Err(KafkaError::Malformed("the frame has no header".into())),
    }
}

/// Walks and decodes a frame into the client's name and the request.
fn decode(
    offered: &Offered,
    version: i16,
    mut frame: Bytes,
) -> Result<(Option<StrBytes>, RequestKind), KafkaError> {
    // What is left after the request is no harm: decoding stops where walking did.
    let _left = offered.walk(&frame, version)?;
    let malformed = |error: String| KafkaError::Malformed(error);
    let header = RequestHeader::decode(&mut frame, offered.key.request_header_version(version))
        .map_err(|error| malformed(error.to_string()))?;
    let request = RequestKind::decode(offered.key, &mut frame, version)
        .map_err(|error| malformed(error.to_string()))?;
    Ok((header.client_id, request))
}
