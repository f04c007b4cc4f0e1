//! The prober: one task per check, which keeps its verdict fresh.

use super::Check;
use super::verdict::{Standing, Verdict};
use crate::declare::{FloatGaugeCell, GaugeCell};
use crate::instruments::ServiceMetrics;
use crate::labels::Component;
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often a component is probed.
const PERIOD: Duration = Duration::from_secs(5);
/// How much the period varies, so that many agents do not probe a shared store in step.
const JITTER: f64 = 0.1;
/// How long a probe may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A check with its cached verdict and its metrics.
pub(super) struct Probed {
    check: Arc<dyn Check>,
    begun: Instant,
    verdict: Mutex<Verdict>,
    status: GaugeCell,
    age: FloatGaugeCell,
}

impl Probed {
    pub(super) fn new(metrics: &ServiceMetrics, check: Arc<dyn Check>) -> Self {
        let component = check.component();
        Self {
            check,
            begun: Instant::now(),
            verdict: Mutex::default(),
            status: metrics.health.bind(&component),
            age: metrics.health_age.bind(&component),
        }
    }

    /// The component, whether it is required, and where it stands now.
    pub(super) fn standing(&self) -> (Component, bool, Standing) {
        let standing = self.lock().standing(Instant::now());
        (self.check.component(), self.check.required(), standing)
    }

    /// Brings the metrics up to date.
    pub(super) fn refresh(&self) {
        let now = Instant::now();
        let verdict = self.lock();
        let age = verdict.age(now).unwrap_or_else(|| now.saturating_duration_since(self.begun));
        self.age.set(age.as_secs_f64());
        self.status.set(i64::from(verdict.standing(now).is_well()));
    }

    fn lock(&self) -> MutexGuard<'_, Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Probes for ever. Single flight: the next probe begins after the last has ended.
pub(super) async fn run(probed: Arc<Probed>) {
    loop {
        let probe = AssertUnwindSafe(probed.check.probe()).catch_unwind();
        let result = match tokio::time::timeout(TIMEOUT, probe).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("the probe panicked".to_owned()),
            Err(_) => Err("timeout".to_owned()),
        };
        if let Err(cause) = &result {
            let component = crate::declare::ClosedLabel::as_str(probed.check.component());
            tracing::debug!(component, cause, "health probe failed");
        }
        let before = probed.lock().standing(Instant::now()).is_well();
        probed.lock().take(Instant::now(), result);
        probed.refresh();
        let (component, required, standing) = probed.standing();
        announce(component, required, before, &standing);
        tokio::time::sleep(PERIOD.mul_f64(rand::random_range(1.0 - JITTER..=1.0 + JITTER))).await;
    }
}

/// Logs a change of the verdict, once.
fn announce(component: Component, required: bool, before: bool, standing: &Standing) {
    let component = crate::declare::ClosedLabel::as_str(component);
    match standing {
        Standing::Down(cause) if before => {
            tracing::warn!(component, required, cause, "component is down");
        }
        Standing::Up if !before => tracing::info!(component, "component is up"),
        _ => {}
    }
}
