//! What the endpoints say.

use super::verdict::Standing;
use crate::declare::ClosedLabel as _;
use crate::labels::Component;
use std::collections::BTreeMap;
use std::time::Duration;

/// The greatest length of a cause in a body.
const LONGEST_CAUSE: usize = 120;

/// Whether the service can take traffic, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it can.
    pub ready: bool,
    /// Whether it is about to stop.
    pub draining: bool,
    /// Every component: `ok`, `warn: cause`, `fail: cause` or `starting`.
    pub checks: BTreeMap<&'static str, String>,
}

impl Report {
    pub(super) fn new(
        draining: bool,
        standings: impl Iterator<Item = (Component, bool, Standing)>,
    ) -> Self {
        let mut report = Self { ready: !draining, draining, checks: BTreeMap::new() };
        for (component, required, standing) in standings {
            report.ready &= standing.is_well() || !required;
            report.checks.insert(component.as_str(), text(required, &standing));
        }
        report
    }
}

fn text(required: bool, standing: &Standing) -> String {
    let failing = if required { "fail" } else { "warn" };
    match standing {
        Standing::Up => "ok".into(),
        Standing::Starting => "starting".into(),
        Standing::Doubtful(cause) => format!("warn: {}", short(cause)),
        Standing::Down(cause) => format!("{failing}: {}", short(cause)),
        Standing::Stale(age) => format!("{failing}: no verdict for {} s", age.as_secs()),
    }
}

fn short(cause: &str) -> String {
    cause.chars().filter(|c| !c.is_control()).take(LONGEST_CAUSE).collect()
}

/// Whether a restart would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alive {
    /// Time since the start.
    pub uptime: Duration,
    /// The loops that stand still, with the age of their last beat; empty while all is well.
    pub stalled: Vec<(&'static str, Duration)>,
}

impl Alive {
    pub(super) fn new(uptime: Duration, stalled: Vec<(&'static str, Duration)>) -> Self {
        Self { uptime, stalled }
    }

    /// Whether every loop still runs.
    pub fn is_alive(&self) -> bool {
        self.stalled.is_empty()
    }
}
