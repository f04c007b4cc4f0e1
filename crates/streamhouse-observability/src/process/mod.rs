//! The process and its Tokio runtime, under the names of the semantic conventions.
//!
//! Call [`watch`] once. What a system does not tell is absent: never a zero that means nothing.
//!
//! Invariant: odd contents of procfs make a value stand still; they never panic.

mod procfs;
mod system;

use crate::declare::{Declare, FloatCounterCell, GaugeCell};
use crate::instruments::{ProcessMetrics, RuntimeMetrics};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};
use system::Process;
use tokio::runtime::Handle;

/// How old a sample may be before a collect takes a new one.
const FRESH: Duration = Duration::from_secs(1);

/// Samples the process and `handle`'s runtime before each collect, at most once per second.
///
/// Recorded as the rows of [`ProcessMetrics`] and [`RuntimeMetrics`].
pub fn watch(
    declare: &Declare,
    process: &ProcessMetrics,
    runtime: &RuntimeMetrics,
    handle: Handle,
) {
    let mut process = Process::new("/proc".into(), process);
    let mut runtime = Runtime::new(runtime, handle);
    process.sample();
    runtime.sample();
    let sampled = Mutex::new((Instant::now(), process, runtime));
    declare.before_collect(move || {
        // Another collect that is sampling just now does so for this one too.
        let mut sampled = match sampled.try_lock() {
            Ok(sampled) => sampled,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let (at, process, runtime) = &mut *sampled;
        if at.elapsed() >= FRESH {
            *at = Instant::now();
            process.sample();
            runtime.sample();
        }
    });
}

struct Runtime {
    handle: Handle,
    workers: GaugeCell,
    alive_tasks: GaugeCell,
    global_queue: GaugeCell,
    busy: FloatCounterCell,
}

impl Runtime {
    fn new(metrics: &RuntimeMetrics, handle: Handle) -> Self {
        Self {
            handle,
            workers: metrics.workers.bind(&()),
            alive_tasks: metrics.alive_tasks.bind(&()),
            global_queue: metrics.global_queue.bind(&()),
            busy: metrics.busy.bind(&()),
        }
    }

    fn sample(&mut self) {
        let now = self.handle.metrics();
        self.workers.set(whole(now.num_workers()));
        self.alive_tasks.set(whole(now.num_alive_tasks()));
        self.global_queue.set(whole(now.global_queue_depth()));
        let busy: Duration =
            (0..now.num_workers()).map(|worker| now.worker_total_busy_duration(worker)).sum();
        self.busy.advance_to(busy.as_secs_f64());
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
