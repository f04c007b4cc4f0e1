//! The exporters at work: their runtime, their tasks, and the bounded shutdown.
//!
//! Invariant: nothing here waits on a thread of the exporters' runtime, and the shutdown ends at
//! its deadline whatever the receiver does.

use super::ledger::{Ledger, SignalReport};
use crate::labels::Signal;
use opentelemetry::Context;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

/// The exporters' runtime and the tasks on it.
#[derive(Debug)]
pub(crate) struct Running {
    runtime: Runtime,
    closing: watch::Sender<bool>,
    finished: (mpsc::Sender<()>, mpsc::Receiver<()>),
    ledgers: Vec<Arc<Ledger>>,
    tasks: usize,
}

impl Running {
    /// Starts the runtime: one thread, on which the SDK records nothing, so that exports cause no
    /// telemetry.
    pub(crate) fn new() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4)
            .thread_name("otlp-export")
            .on_thread_start(|| std::mem::forget(Context::enter_telemetry_suppressed_scope()))
            .enable_all()
            .build()?;
        let closing = watch::Sender::new(false);
        Ok(Self { runtime, closing, finished: mpsc::channel(), ledgers: Vec::new(), tasks: 0 })
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Turns true when the shutdown begins.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Runs `task`, which exports the items of `ledger` and returns once the shutdown has begun
    /// and all is sent.
    pub(crate) fn spawn(
        &mut self,
        ledger: Arc<Ledger>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.ledgers.push(ledger);
        self.relay(task);
    }

    /// Runs `task`, which passes on what others made and returns once the shutdown has begun and
    /// all is sent.
    pub(crate) fn relay(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks += 1;
        let finished = self.finished.0.clone();
        self.runtime.spawn(async move {
            task.await;
            let _ = finished.send(());
        });
    }

    /// The totals of `signal` so far.
    pub(crate) fn report(&self, signal: Signal) -> SignalReport {
        let ledger = self.ledgers.iter().find(|ledger| ledger.signal == signal);
        ledger.map(|ledger| ledger.report()).unwrap_or_default()
    }

    /// Sends what waits, all signals at once, and returns when that is done or `deadline` has
    /// passed; what is left then is counted as dropped.
    pub(crate) fn shutdown(self, deadline: Duration) -> ShutdownReport {
        let start = Instant::now();
        // Metrics are collected once more; the other signals take nothing new.
        for ledger in self.ledgers.iter().filter(|ledger| ledger.signal != Signal::Metrics) {
            ledger.close();
        }
        self.closing.send_replace(true);
        let in_time = (0..self.tasks).all(|_| {
            let left = deadline.saturating_sub(start.elapsed());
            self.finished.1.recv_timeout(left).is_ok()
        });
        for ledger in &self.ledgers {
            ledger.finish();
        }
        let report = ShutdownReport {
            traces: self.report(Signal::Traces),
            logs: self.report(Signal::Logs),
            metrics: self.report(Signal::Metrics),
            in_time,
            took: start.elapsed(),
        };
        self.runtime.shutdown_background();
        report
    }
}

/// How the shutdown of the pipeline went.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShutdownReport {
    /// Where the spans went.
    pub traces: SignalReport,
    /// Where the log records went.
    pub logs: SignalReport,
    /// Where the data points went.
    pub metrics: SignalReport,
    /// Whether everything was sent, or given up, before the deadline.
    pub in_time: bool,
    /// How long it took.
    pub took: Duration,
}
