//! The admin port: overview, metrics, health, consumer groups, log level.

mod access;
mod groups;
mod overview;
mod trace;

pub(crate) use groups::GroupPages;

use crate::app::StartError;
use crate::config::Admin;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::get;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use streamhouse_observability::Observability;
use streamhouse_observability::health::Health;
use streamhouse_observability::logging::LogControl;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The longest body of a request, in bytes.
const MAX_BODY: usize = 4 << 10;
/// How long requests under way may take once the server stops.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// The running admin server. It has a runtime of its own, so that it answers when the main one is
/// starved.
#[derive(Debug)]
pub(crate) struct AdminServer {
    addr: SocketAddr,
    stop: CancellationToken,
    stopped: oneshot::Receiver<()>,
}

impl AdminServer {
    /// Serves the admin port on `listener`.
    ///
    /// # Errors
    /// [`StartError::Admin`]: the system gives no thread or no address.
    pub(crate) fn start(
        listener: TcpListener,
        observability: &Observability,
        health: &Health,
        groups: GroupPages,
        config: &Admin,
    ) -> Result<Self, StartError> {
        let failed = |error: std::io::Error| StartError::Admin(error.to_string());
        let addr = listener.local_addr().map_err(failed)?;
        if config.token.is_none() && !addr.ip().is_loopback() {
            tracing::warn!(%addr, "the admin port is open to other machines; set admin.token");
        }
        let router = router(observability, health, groups, config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("streamhouse-admin")
            .enable_all()
            .build()
            .map_err(failed)?;
        let stop = CancellationToken::new();
        let until = stop.clone();
        let (ended, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(serve(listener, router, until));
            // A scrape that still gathers must not hold up the end.
            runtime.shutdown_background();
            let _ = ended.send(());
        };
        std::thread::Builder::new()
            .name("streamhouse-admin".into())
            .spawn(serve)
            .map_err(failed)?;
        Ok(Self { addr, stop, stopped })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers the requests under way, within a second, and closes the port.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.stopped.await;
    }
}

async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let served = async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let stopped = stop.clone().cancelled_owned();
        axum::serve(listener, router).with_graceful_shutdown(stopped).await
    };
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_REQUESTS).await;
    };
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::error!(%error, "the admin port is not served any more; restart the server");
        },
        () = late => {}
    }
}

fn router(
    observability: &Observability,
    health: &Health,
    groups: GroupPages,
    config: &Admin,
) -> Router {
    let log_level = Router::new()
        .route("/log-level", get(log_level).put(set_log_level))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(observability.log_control());
    let guarded = Router::new()
        .route("/", get(overview::page))
        .merge(observability.exposition().router())
        .merge(groups::router(groups))
        .merge(log_level);
    let guarded = access::guard(guarded, config.token.clone());
    trace::requests(guarded.merge(health.router()), observability.requests())
}

async fn log_level(State(control): State<LogControl>) -> String {
    format!("{}\n", control.get())
}

async fn set_log_level(
    State(control): State<LogControl>,
    wanted: String,
) -> Result<String, (StatusCode, String)> {
    let wanted = wanted.trim();
    match control.set(wanted) {
        Ok(()) => {
            tracing::info!(filter = wanted, "the log level was changed");
            Ok(format!("{}\n", control.get()))
        }
        Err(error) => Err((StatusCode::BAD_REQUEST, format!("{error}\n"))),
    }
}
