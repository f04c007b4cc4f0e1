//! Health: checks, a prober that caches their verdicts, and the report.
//!
//! Implement [`Check`] beside the component, hand all checks to [`Health::start`], and serve
//! [`Health::router`] from a runtime of its own, so that it answers when the main one is starved.
//!
//! Invariant: an answer waits for nothing, whatever its dependencies do.
//! Invariant: liveness depends on no check; a failing dependency restarts nobody.

mod heartbeat;
mod prober;
mod report;
mod router;
mod verdict;

pub use heartbeat::Heartbeat;
pub use report::{Alive, Report};

use crate::declare::Declare;
use crate::instruments::ServiceMetrics;
use crate::labels::Component;
use async_trait::async_trait;
use heartbeat::Heartbeats;
use prober::Probed;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A component that can be probed.
#[async_trait]
pub trait Check: Send + Sync + 'static {
    /// Which component.
    fn component(&self) -> Component;
    /// Whether the service is unready while this check fails; a soft check only degrades.
    fn required(&self) -> bool;
    /// Probes the component. The error names a cause class: no hosts, keys or statements.
    ///
    /// # Cancel safety
    /// The future is dropped after a second, which counts as a failure.
    async fn probe(&self) -> Result<(), String>;
}

/// The health of a service. Cheap to clone; probing ends with the last clone.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    begun: Instant,
    draining: AtomicBool,
    probed: Vec<Arc<Probed>>,
    heartbeats: Heartbeats,
    /// Dropped with the last clone, which ends the tasks.
    _tasks: Mutex<JoinSet<()>>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("report", &self.report()).finish()
    }
}

impl Health {
    /// Begins to probe `checks` on the current Tokio runtime, whose own heartbeat it watches too.
    ///
    /// Each check is probed every 5 s (± 10 %) for at most 1 s, never twice at the same time. It
    /// goes down after 3 failures and up after 2 successes; the first success of all counts at once.
    /// Recorded as `streamhouse_health_status` and `streamhouse_health_age_seconds` (`component`).
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn start(declare: &Declare, metrics: &ServiceMetrics, checks: Vec<Arc<dyn Check>>) -> Self {
        let mut tasks = JoinSet::new();
        let heartbeats = Heartbeats::default();
        let pulse = heartbeats.add("runtime");
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                pulse.beat();
            }
        });
        let probed: Vec<Arc<Probed>> =
            checks.into_iter().map(|check| Arc::new(Probed::new(metrics, check))).collect();
        for one in &probed {
            tasks.spawn(prober::run(one.clone()));
        }
        let inner = Arc::new(Inner {
            begun: Instant::now(),
            draining: AtomicBool::new(false),
            probed,
            heartbeats,
            _tasks: Mutex::new(tasks),
        });
        let weak = Arc::downgrade(&inner);
        declare.before_collect(move || {
            if let Some(inner) = weak.upgrade() {
                inner.probed.iter().for_each(|one| one.refresh());
            }
        });
        Self { inner }
    }

    /// Watches one more loop that must not stand still, such as a writer's: the service is no
    /// longer alive when the last beat is more than 30 s old. Dropping the handle ends the watch.
    pub fn heartbeat(&self, name: &'static str) -> Heartbeat {
        self.inner.heartbeats.add(name)
    }

    /// Makes the service unready at once and for good; it stays alive.
    pub fn draining(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Whether the service can take traffic, by the cached verdicts.
    pub fn report(&self) -> Report {
        let draining = self.inner.draining.load(Ordering::Acquire);
        Report::new(draining, self.inner.probed.iter().map(|one| one.standing()))
    }

    /// Whether a restart would help.
    pub fn alive(&self) -> Alive {
        Alive::new(self.inner.begun.elapsed(), self.inner.heartbeats.stalled())
    }

    /// `/health`, `/health/ready` and `/health/live`: JSON, never cached, GET and HEAD only.
    pub fn router(&self) -> axum::Router {
        router::router(self.clone())
    }
}
