//! Accepts connections, keeps the agent registered, drains at the end.

use crate::broker::Broker;
use crate::connection;
use crate::error::KafkaError;
use crate::retention;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long the end of the registration may take; it runs out by itself.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves Kafka clients on `listener` until `shutdown` is cancelled and the requests under way are
/// answered, or the drain's time is over.
///
/// The agent is registered before the first connection is accepted, and its registration ends
/// while the drain begins.
///
/// # Errors
/// The agent cannot register, or the listener has no address. A failing connection ends alone.
/// # Cancel safety
/// Dropping the future closes the listener and all connections; appends under way go on.
pub async fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    shutdown: CancellationToken,
) -> Result<(), KafkaError> {
    let port = listener.local_addr()?.port();
    let agent = broker.register(port).await?;
    let _groups = broker.groups.start();
    broker.refresh().await?;
    tracing::info!(agent = agent.id, host = agent.host, port = agent.port, "serving Kafka clients");
    let abort = CancellationToken::new();
    let _abort = abort.clone().drop_guard();
    let tasks = TaskTracker::new();
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = accept(&listener, &broker, &shutdown, &abort, &tasks) => {}
        () = keep_fresh(&broker, port) => {}
        () = retention::keep_within(&broker) => {}
    }
    drop(listener);
    tokio::join!(deregister(&broker), drain(&broker, &abort, &tasks));
    Ok(())
}

/// Ends the agent's registration, so that clients stop being told of it.
async fn deregister(broker: &Broker) {
    let removing = broker.metadata.remove_agent(broker.config.incarnation);
    match tokio::time::timeout(FAREWELL, removing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the agent's registration could not be ended; it will run out");
        }
        Err(_) => tracing::warn!(
            within = ?FAREWELL,
            "the agent's registration was not ended in time; it will run out"
        ),
    }
}

/// Waits for the requests under way, no longer than the drain may take.
async fn drain(broker: &Broker, abort: &CancellationToken, tasks: &TaskTracker) {
    tasks.close();
    if tokio::time::timeout(broker.config.drain_timeout, tasks.wait()).await.is_err() {
        tracing::warn!(left = tasks.len(), "requests were cut off by the end of the drain");
        abort.cancel();
        tasks.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    broker: &Arc<Broker>,
    shutdown: &CancellationToken,
    abort: &CancellationToken,
    tasks: &TaskTracker,
) {
    let places = Arc::new(Semaphore::new(broker.config.max_connections));
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        broker.connections.accepted.add(1);
        let Ok(place) = places.clone().try_acquire_owned() else {
            let limit = broker.config.max_connections;
            tracing::warn!(limit, "a connection beyond the limit was closed");
            continue;
        };
        let (broker, shutdown) = (broker.clone(), shutdown.clone());
        let (abort, requests) = (abort.clone(), tasks.clone());
        tasks.spawn(async move {
            let _place = place;
            let ending = abort.clone();
            ending.run_until_cancelled(run(socket, broker, shutdown, abort, requests)).await;
        });
    }
}

async fn run(
    socket: TcpStream,
    broker: Arc<Broker>,
    shutdown: CancellationToken,
    abort: CancellationToken,
    requests: TaskTracker,
) {
    let _active = Active::new(broker.clone());
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "a connection failed");
        return;
    }
    let peer = match socket.peer_addr() {
        Ok(peer) => peer.ip().to_string().into(),
        Err(error) => return tracing::debug!(%error, "a connection failed"),
    };
    match connection::run(socket, peer, &broker, shutdown, abort, requests).await {
        Ok(()) => {}
        Err(error @ KafkaError::Io(_)) => tracing::debug!(%error, "a connection failed"),
        Err(error @ KafkaError::Encode { .. }) => {
            tracing::error!(%error, "an answer cannot be encoded; report this defect");
        }
        Err(error) => tracing::warn!(%error, "a connection was closed"),
    }
}

/// Renews the registration, reads topics and agents again, and forgets silent clients, for ever.
async fn keep_fresh(broker: &Broker, port: u16) {
    let mut ticks = tokio::time::interval(broker.config.refresh);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = broker.register(port).await {
            tracing::warn!(%error, "the agent's registration could not be renewed");
        }
        broker.client_telemetry.sweep();
        if let Err(error) = broker.refresh().await {
            tracing::warn!(%error, "topics and agents could not be read; the last reading stays");
        }
    }
}

/// A connection on the gauge.
struct Active(Arc<Broker>);

impl Active {
    fn new(broker: Arc<Broker>) -> Self {
        broker.connections.active.add(1);
        Self(broker)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.connections.active.add(-1);
    }
}
