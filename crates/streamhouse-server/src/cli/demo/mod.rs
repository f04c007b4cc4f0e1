//! `streamhouse demo`: a server with a workload, so that every signal moves.

mod faults;
mod groups;
mod summary;
mod workload;

use super::Environment;
use super::format::positive_duration;
use super::output::{Failure, Output, OutputFlag};
use super::serve::{runtime, stop_requested};
use super::server::ServerFlags;
use crate::app::{App, telemetry};
use crate::config::{Bytes, Interval, Loaded, Origin};
use clap::Args;
use std::io::IsTerminal as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use streamhouse_observability::Observability;
use summary::Summary;
use tokio_util::sync::CancellationToken;
use workload::Tally;

const EXAMPLE: &str = "Example:
  streamhouse demo --duration 1m";

/// Starts a server with a workload: producers, two consumer groups, a few mistakes and injected
/// faults
///
/// The group demo-fast keeps up, and loses a member and gets it back; demo-slow falls behind and
/// catches up.
///
/// Records are kept in a temporary folder unless --data-dir names another. When a default port is
/// taken, a free one is used and announced.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(super) struct Demo {
    /// Ends by itself after this time, such as 30s or 5m
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    duration: Option<Duration>,
    /// Time in which the slow group falls behind and catches up once
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = positive_duration)]
    cycle: Duration,
    #[command(flatten)]
    server: ServerFlags,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

impl Demo {
    pub(super) fn run(self, environment: &Environment, output: &mut Output) -> Result<(), Failure> {
        let mut loaded = self.server.load(environment)?;
        let terminal = std::io::stdout().is_terminal() && !output.is_json();
        let folder = tempfile::Builder::new().prefix("streamhouse-demo-").tempdir();
        let folder = folder.map_err(|error| {
            Failure::Failed(format!("cannot make a temporary folder: {error}; free the disk"))
        })?;
        suit(&mut loaded, folder.path(), terminal);
        let pipeline = telemetry::pipeline(&loaded.config, environment)?;
        let runtime = runtime()?;
        let _inside = runtime.enter();
        let observability = Observability::start(pipeline).map_err(crate::app::StartError::from)?;
        let ended = runtime.block_on(self.play(&loaded, observability, terminal, output));
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    }

    async fn play(
        &self,
        loaded: &Loaded,
        observability: Observability,
        redraw: bool,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let stop_requested = stop_requested();
        let injected = Arc::new(AtomicU64::new(0));
        let faults = injected.clone();
        let mut app = App::start_with(observability, &loaded.config, move |metrics, store| {
            faults::open(metrics, store, faults)
        })
        .await?;
        let tally = Arc::new(Tally::default());
        let stop = CancellationToken::new();
        let (kafka, admin) = (app.kafka_addr(), app.admin_addr());
        let lags = app.lags();
        let summary = Summary { kafka, admin, tally: &tally, injected: &injected, lags, redraw };
        let played = async {
            summary.open(output)?;
            let brokers = kafka.to_string();
            let mut tasks =
                workload::start(&brokers, self.cycle, tally.clone(), stop.clone()).await?;
            let shown = self.show(&summary, stop_requested, output).await;
            stop.cancel();
            // A client that is stuck must not hold up the end.
            let all = async { while tasks.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(Duration::from_secs(2), all).await;
            tasks.abort_all();
            shown
        };
        let played = tokio::select! {
            played = played => played,
            error = app.broken() => Err(error.into()),
        };
        let ended = app.shutdown().await;
        played.and(ended.map_err(Failure::from))
    }

    /// Shows the summary each second until someone stops the demo or its time is over.
    async fn show(
        &self,
        summary: &Summary<'_>,
        stop_requested: impl Future<Output = Result<(), Failure>>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut before = summary.snapshot();
        ticks.tick().await;
        let end = async {
            match self.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end, stop_requested);
        loop {
            tokio::select! {
                () = &mut end => break,
                stopped = &mut stop_requested => { stopped?; break; }
                _ = ticks.tick() => before = summary.tick(before, output)?,
            }
        }
        summary.close(output)
    }
}

/// Fits what nobody has set to a demo.
fn suit(loaded: &mut Loaded, folder: &Path, terminal: bool) {
    let before = loaded.clone();
    let unset = |key: &str| before.origin(key) == Some(&Origin::Default);
    let config = &mut loaded.config;
    if unset("data_dir") {
        config.place.data_dir = folder.join("data");
    }
    if unset("kafka.addr") {
        config.kafka.addr = free(config.kafka.addr);
    }
    if unset("admin.addr") {
        config.admin.addr = free(config.admin.addr);
    }
    if unset("kafka.auto_create_topics") {
        config.kafka.auto_create_topics = false;
    }
    if unset("cache.size") {
        // So small that the slow group reads from the object store.
        config.cache.size = Bytes(256 << 10);
    }
    if unset("lag.interval") {
        // As often as the summary tells it.
        config.lag.interval = Interval(Duration::from_secs(1));
    }
    if unset("retention.interval") {
        config.retention.interval = Interval(Duration::from_secs(5));
    }
    if unset("garbage.grace") {
        // Objects go while a person watches.
        config.garbage.grace = Interval(Duration::from_secs(30));
    }
    if unset("garbage.interval") {
        config.garbage.interval = Interval(Duration::from_secs(5));
    }
    if unset("log.level") && terminal {
        // The summary tells what the lines would.
        config.log.level = "error".into();
    }
}

/// `addr`, or the same host with port 0 if somebody listens there already.
fn free(addr: SocketAddr) -> SocketAddr {
    match TcpListener::bind(addr) {
        Ok(_) => addr,
        Err(_) => SocketAddr::new(addr.ip(), 0),
    }
}
