//! Alerts that fire for a reason, reach the webhook with their text, and end with the reason.

use crate::drive;
use crate::world::{Outcome, World};
use serde_json::Value;
use std::time::{Duration, Instant};
use streamhouse_tests::load;
use streamhouse_tests::stack::{PATIENCE, Stack, until};

/// Longer than any wait of an alert with the quicker clock: window, `for`, `keep_firing_for`, and
/// the groups of the Alertmanager.
const LONG: Duration = Duration::from_secs(180);

/// Whether this is `alert` of the StreamHouse of the stack; other checks send some of their own.
fn is(one: &Value, alert: &str) -> bool {
    one["labels"]["alertname"] == alert && one["labels"]["job"] == "streamhouse-scrape"
}

/// Waits until `alert` has come through Prometheus and Alertmanager to the webhook, rendered.
fn fires(stack: &Stack, alert: &str) -> Result<(), Outcome> {
    let prometheus = stack.prometheus();
    until(&format!("{alert} to fire in Prometheus"), LONG, || {
        let all = prometheus.alerts().ok()?;
        all.iter().any(|one| is(one, alert) && one["state"] == "firing").then_some(())
    })?;
    let manager = stack.alertmanager();
    until(&format!("{alert} in the Alertmanager"), PATIENCE, || {
        let all = manager.alerts().ok()?;
        all.iter().any(|one| is(one, alert)).then_some(())
    })?;
    let told =
        until(&format!("{alert} at the webhook"), PATIENCE, || last(stack, alert, "firing"))?;
    let notes = &told["annotations"];
    let page = format!("/docs/runbooks/{alert}.md");
    let instance = told["labels"]["instance"].as_str().unwrap_or("no instance");
    let text = notes.to_string();
    if !text.contains(instance) || text.contains("{{") || text.contains("<no value>") {
        return Err(format!("the text is not rendered: {told}").into());
    }
    if !notes["runbook_url"].as_str().is_some_and(|url| url.ends_with(&page)) {
        return Err(format!("the alert names no page: {told}").into());
    }
    Ok(())
}

/// Waits until the webhook was told that `alert` has ended.
fn ends(stack: &Stack, alert: &str) -> Result<(), Outcome> {
    until(&format!("{alert} to end"), LONG, || last(stack, alert, "resolved"))?;
    Ok(())
}

/// The last that the webhook was told of `alert`, if it is in `state`.
fn last(stack: &Stack, alert: &str, state: &str) -> Option<Value> {
    let received = stack.sink()?.received();
    let alerts = received.iter().flat_map(|body| body["alerts"].as_array()).flatten();
    let last = alerts.rev().find(|one| is(one, alert))?;
    (last["status"] == state).then(|| last.clone())
}

/// One of five PUTs is refused, and the collector is gone. Records are acknowledged all the time,
/// what is lost is counted, and both alerts fire and end.
pub fn throttling_and_loss(world: &mut World) -> Result<(), Outcome> {
    let (server, stack) = world.both()?;
    let kafka = server.kafka;
    load::create_topic(kafka, "alarms", 1).map_err(|error| error.to_string())?;
    let store = stack.store().ok_or_else(|| "the stack has no store of its own".to_owned())?;
    store.refuse_puts(5);
    stack.server("collector").kill();

    let start = Instant::now();
    let load = load::Load { time: Duration::from_secs(60), ..drive::gentle("alarms") };
    let (fired, report) = std::thread::scope(|scope| {
        let loading = scope.spawn(|| load::run(kafka, &load));
        let fired = ["S3Throttling", "TelemetryLoss"].iter().try_for_each(|alert| {
            let fired = fires(stack, alert);
            println!("{alert} after {:.0} s", start.elapsed().as_secs_f64());
            fired
        });
        (fired, loading.join())
    });
    let refused = stack.store().map_or(0, |store| store.refused());
    if let Some(store) = stack.store() {
        store.refuse_puts(0);
    }
    stack.server("collector").restart()?;
    fired?;
    let report = report.map_err(|_| "the load panicked".to_owned())?;
    let report = report.map_err(|error| format!("a record was refused: {error}"))?;
    let told = format!(
        "{} records acknowledged, none refused; 99 of 100 requests within {:.0} ms of when they were \
         due; {refused} PUTs refused",
        report.records,
        report.quantile(0.99) * 1e3
    );
    world.figures.note("a minute without collector, one of five PUTs throttled", &told);

    let (server, stack) = world.both()?;
    let lost = server.scrape();
    let lost = lost.sum("streamhouse_telemetry_failed_total", &[("signal", "traces")]);
    if !lost.is_some_and(|lost| lost > 0.0) {
        return Err(format!("spans lost without the collector: {lost:?}").into());
    }
    ends(stack, "S3Throttling")?;
    ends(stack, "TelemetryLoss")?;
    // What is made now arrives, and the queue is empty again.
    server.scrape_until("an empty queue", |scrape| {
        let pending = |signal| scrape.sum("streamhouse_telemetry_pending", &[("signal", signal)]);
        pending("traces").is_some_and(|n| n < 512.0) && pending("logs").is_some_and(|n| n < 512.0)
    });
    for alert in ["S3Throttling", "TelemetryLoss"] {
        world.figures.note(&format!("alert {alert}"), "fired, reached the webhook, ended");
    }
    Ok(())
}

pub fn agent_down(world: &mut World) -> Result<(), Outcome> {
    world.streamhouse()?;
    world.stop();
    let fired = fires(world.stack()?, "AgentDown");
    world.restart(&[])?;
    fired?;
    ends(world.stack()?, "AgentDown")?;
    world.figures.note("alert AgentDown", "fired, reached the webhook, ended");
    Ok(())
}
