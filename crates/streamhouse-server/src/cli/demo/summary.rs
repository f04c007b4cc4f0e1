//! The demo's live summary.

use super::groups::{FAST, SLOW};
use super::workload::Tally;
use crate::cli::output::{Failure, Output};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use streamhouse_kafka::{GroupLag, LagView, Lags};

/// What the summary is about.
#[derive(Debug)]
pub(super) struct Summary<'a> {
    pub(super) kafka: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) tally: &'a Tally,
    pub(super) injected: &'a AtomicU64,
    pub(super) lags: Lags,
    /// Whether the last line may be written over.
    pub(super) redraw: bool,
}

/// The tally at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot {
    at: Instant,
    produced: u64,
    consumed: u64,
    slowly: u64,
}

impl Summary<'_> {
    /// Says where to look.
    pub(super) fn open(&self, output: &mut Output) -> Result<(), Failure> {
        let (kafka, admin) = (self.kafka, self.admin);
        let text = format!(
            "StreamHouse demo. Records go in and out, and one object-store call in forty fails on \
             purpose.\nThe group {FAST} keeps up; {SLOW} falls behind and catches up again.\n\n  \
             Kafka     {kafka}\n  \
             metrics   http://{admin}/metrics\n  \
             health    http://{admin}/health/ready\n  \
             overview  http://{admin}/\n\n\
             Try: streamhouse group describe {SLOW} --admin {admin}\n     \
             streamhouse consume orders --brokers {kafka} --from latest --follow\n\
             Ctrl-C ends it.\n"
        );
        output.say(text, json!({"kafka_addr": kafka, "admin_addr": admin}))?;
        output.flush()
    }

    /// The tally now.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            at: Instant::now(),
            produced: self.tally.produced.load(Ordering::Relaxed),
            consumed: self.tally.consumed.load(Ordering::Relaxed),
            slowly: self.tally.consumed_slowly.load(Ordering::Relaxed),
        }
    }

    /// Says what happened since `before`, and returns what is now.
    pub(super) fn tick(&self, before: Snapshot, output: &mut Output) -> Result<Snapshot, Failure> {
        let now = self.snapshot();
        let elapsed = now.at - before.at;
        let [produced, consumed, slowly] = [
            rate(now.produced - before.produced, elapsed),
            rate(now.consumed - before.consumed, elapsed),
            rate(now.slowly - before.slowly, elapsed),
        ];
        let injected = self.injected.load(Ordering::Relaxed);
        let failed = self.tally.failed.load(Ordering::Relaxed);
        let view = self.lags.view();
        let line = format!(
            "{} records, {produced}/s | fast {consumed}/s, {} | slow {slowly}/s, {} | \
             {injected} faults, {failed} mistakes and failed calls",
            now.produced,
            lag(&view, FAST),
            lag(&view, SLOW),
        );
        if self.redraw && !output.is_json() {
            // Back to the line's start, then as much of the line as fits into one, then nothing of
            // the older one.
            output.bytes(format!("\r\x1b[?7l{line}\x1b[K\x1b[?7h").as_bytes())?;
        } else {
            output.say(
                line,
                json!({
                    "produced": now.produced,
                    "consumed": now.consumed,
                    "consumed_slowly": now.slowly,
                    "faults_injected": injected,
                    "failed": failed,
                    "groups": { FAST: lag_json(&view, FAST), SLOW: lag_json(&view, SLOW) },
                }),
            )?;
        }
        output.flush()?;
        Ok(now)
    }

    /// Leaves the line that was written over.
    pub(super) fn close(&self, output: &mut Output) -> Result<(), Failure> {
        if self.redraw && !output.is_json() {
            output.bytes(b"\n")?;
        }
        output.flush()
    }
}

/// How far `group` is behind, for people.
fn lag(view: &LagView, group: &str) -> String {
    match committed(view, group) {
        Some(group) => format!("lag {} ({:.1} s)", group.lag, group.seconds),
        None => "lag unknown".into(),
    }
}

/// The group, once it has committed: before that nothing is known of its lag.
fn committed<'v>(view: &'v LagView, group: &str) -> Option<&'v GroupLag> {
    view.group(group).filter(|group| !group.partitions.is_empty())
}

/// How far `group` is behind; null until it has committed.
fn lag_json(view: &LagView, group: &str) -> Value {
    committed(view, group).map_or(
        Value::Null,
        |group| json!({ "lag": group.lag, "lag_seconds": group.seconds, "members": group.members }),
    )
}

fn rate(count: u64, elapsed: Duration) -> u64 {
    (count as f64 / elapsed.as_secs_f64().max(0.001)).round() as u64
}
