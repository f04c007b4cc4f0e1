//! `streamhouse serve`: runs the server until it is told to stop.

use super::Environment;
use super::output::Failure;
use super::server::ServerFlags;
use crate::app::{App, StartError, telemetry};
use clap::Args;
use std::time::Duration;
use streamhouse_observability::Observability;
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLE: &str = "Example:
  streamhouse serve --data-dir /var/lib/streamhouse
  streamhouse serve --object-store s3://bucket/prefix --set s3.endpoint=http://127.0.0.1:9000";

/// Runs the server until SIGTERM or SIGINT; a second signal ends it at once
///
/// It is ready when the log line `ready` appears, which carries the real addresses.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(super) struct Serve {
    #[command(flatten)]
    server: ServerFlags,
}

impl Serve {
    pub(super) fn run(self, environment: &Environment) -> Result<(), Failure> {
        let loaded = self.server.load(environment)?;
        let pipeline = telemetry::pipeline(&loaded.config, environment)?;
        let runtime = runtime()?;
        let _inside = runtime.enter();
        let observability = Observability::start(pipeline).map_err(StartError::from)?;
        let ended = runtime.block_on(async {
            let stop = stop_requested();
            let mut app = App::start(observability, &loaded.config).await?;
            let stopped = tokio::select! {
                stopped = stop => stopped,
                error = app.broken() => Err(error.into()),
            };
            stopped.and(app.shutdown().await.map_err(Failure::from))
        });
        // A call that is stuck in a library must not keep the process alive.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    }
}

/// The runtime of a server.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("streamhouse").build();
    runtime.map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))
}

/// Ends at the first SIGTERM or SIGINT; from then on, a second one ends the process at once.
pub(super) fn stop_requested() -> impl Future<Output = Result<(), Failure>> {
    let signals = signal(SignalKind::terminate())
        .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    async move {
        let (mut terminate, mut interrupt) = signals
            .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping; a second signal ends the process at once");
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::warn!("ended by a second signal; what was not acknowledged is lost");
            std::process::exit(1);
        });
        Ok(())
    }
}
