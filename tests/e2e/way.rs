//! Signals on their way through the collector.

use crate::world::{Outcome, World};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use streamhouse_tests::http;
use streamhouse_tests::load::{self, Load};
use streamhouse_tests::stack::{PATIENCE, until};

type Done = Result<(), Outcome>;

const CANARY: &str = "c4n4ryc4n4ryc4n4ry";

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

pub fn everything_arrives(world: &mut World) -> Done {
    let kafka = world.streamhouse()?.kafka;
    load::create_topic(kafka, "way", 1).map_err(|error| error.to_string())?;
    let load = Load {
        topic: "way".into(),
        partition: 0,
        records: 10,
        value_bytes: 100,
        in_flight: 1,
        rate: Some(200.0),
        time: Duration::from_secs(1),
    };
    let start = now().as_secs_f64();
    load::run(kafka, &load).map_err(|error| error.to_string())?;
    let stack = world.stack()?;
    let (prometheus, jaeger, logs) = (stack.prometheus(), stack.jaeger(), stack.victoria_logs());

    until("a trace of produce_request in Jaeger", PATIENCE, || {
        let found = jaeger.find("streamhouse", "produce_request", 1).ok()?;
        (!found.is_empty()).then_some(())
    })?;
    until("log records of streamhouse in VictoriaLogs", PATIENCE, || {
        let found = logs.query("service.name:=streamhouse").ok()?;
        (!found.is_empty()).then_some(())
    })?;
    let buckets = "streamhouse_producer_latency_seconds_bucket{job=\"streamhouse-scrape\"}";
    let id = until("an exemplar of the latency histogram", PATIENCE, || {
        let found = prometheus.exemplars(buckets, start - 60.0, now().as_secs_f64()).ok()?;
        let label = &found.first()?["exemplars"][0]["labels"]["trace_id"];
        label.as_str().map(str::to_owned)
    })?;
    until("the exemplar's trace in Jaeger", PATIENCE, || jaeger.trace(&id).ok().flatten())?;
    Ok(())
}

/// An OTLP trace of one span.
fn span(id: u128, attributes: &[(&str, &str)]) -> Value {
    let (start, end) = (now().as_nanos().to_string(), (now().as_nanos() + 1_000_000).to_string());
    json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", "canary")]},
        "scopeSpans": [{"spans": [{
            "traceId": format!("{id:032x}"), "spanId": "00000000000000aa", "name": "sing",
            "kind": 2, "startTimeUnixNano": start, "endTimeUnixNano": end,
            "attributes": attributes.iter().map(|(key, value)| text(key, value)).collect::<Vec<_>>(),
        }]}],
    }]})
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn send(collector: SocketAddr, path: &str, body: &Value) -> Done {
    let answer =
        http::post(collector, path, &body.to_string()).map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("the collector: {}: {}", answer.status, answer.body).into());
    }
    Ok(())
}

pub fn secrets_reach_no_store(world: &mut World) -> Done {
    let stack = world.stack()?;
    let collector = stack.places().of("collector", 4318);
    let id = rand::random::<u128>();
    let bearer = format!("sent with Bearer {CANARY}");
    let secrets = [
        ("password", CANARY),
        ("http.request.header.authorization", CANARY),
        ("s3.secret_access_key", CANARY),
        ("note", bearer.as_str()),
        ("kept", "as it was"),
        ("messaging.kafka.offset.token_count", "as it was"),
    ];
    send(collector, "/v1/traces", &span(id, &secrets))?;
    let attributes: Vec<_> = secrets.iter().map(|(key, value)| text(key, value)).collect();
    let record = json!({"timeUnixNano": now().as_nanos().to_string(), "traceId": format!("{id:032x}"),
        "spanId": "00000000000000aa", "severityText": "INFO",
        "body": {"stringValue": bearer}, "attributes": attributes});
    let resource = json!({"attributes": [text("service.name", "canary")]});
    let logs = json!({"resourceLogs": [{"resource": resource,
        "scopeLogs": [{"logRecords": [record]}]}]});
    send(collector, "/v1/logs", &logs)?;

    let (jaeger, store) = (stack.jaeger(), stack.victoria_logs());
    let trace = until("the canary's trace", PATIENCE, || {
        jaeger.trace(&format!("{id:032x}")).ok().flatten()
    })?;
    let lines = until("the canary's log record", PATIENCE, || {
        let found = store.query(&format!("trace_id:={id:032x}")).ok()?;
        (!found.is_empty()).then_some(found)
    })?;
    for (place, told) in [("Jaeger", trace.to_string()), ("VictoriaLogs", json!(lines).to_string())]
    {
        if told.contains(CANARY) {
            return Err(format!("{place} has the secret: {told}").into());
        }
        if told.matches("as it was").count() != 2 || !told.contains("Bearer ****") {
            return Err(format!("{place} lacks what is no secret: {told}").into());
        }
    }
    let prometheus = stack.prometheus();
    until("span metrics of the canary", PATIENCE, || {
        let query = "traces_span_metrics_calls_total{service_name=\"canary\"}";
        (!prometheus.query(query).ok()?.is_empty()).then_some(())
    })?;
    Ok(())
}

pub fn the_queue_survives(world: &mut World) -> Done {
    let stack = world.stack()?;
    let collector = stack.places().of("collector", 4318);
    let id = rand::random::<u128>();
    stack.server("jaeger").kill();
    send(collector, "/v1/traces", &span(id, &[]))?;
    // Accepted means queued on disk, before the store was ever asked.
    stack.server("collector").restart()?;
    stack.server("jaeger").restart()?;

    let jaeger = stack.jaeger();
    until("the trace that Jaeger could not take", PATIENCE, || {
        jaeger.trace(&format!("{id:032x}")).ok().flatten()
    })?;
    Ok(())
}

pub fn alerts_reach_the_webhook(world: &mut World) -> Done {
    let stack = world.stack()?;
    let alert = json!([{"labels": {"alertname": "Canary", "severity": "critical", "job": "canary"},
        "annotations": {"summary": "the canary has stopped"}}]);
    send(stack.places().of("alertmanager", 9093), "/api/v2/alerts", &alert)?;

    let manager = stack.alertmanager();
    until("the alert in the Alertmanager", PATIENCE, || {
        let alerts = manager.alerts().ok()?;
        alerts.iter().any(|alert| alert["labels"]["alertname"] == "Canary").then_some(())
    })?;
    let sink = stack.sink().ok_or_else(|| "the stack has no webhook".to_owned())?;
    until("the alert at the webhook, with its text", PATIENCE, || {
        let received = sink.received();
        let mut alerts = received.iter().flat_map(|body| body["alerts"].as_array()).flatten();
        let summary = |alert: &&Value| alert["annotations"]["summary"] == "the canary has stopped";
        alerts.any(|alert| summary(&alert)).then_some(())
    })?;
    let logs = stack.victoria_logs();
    until("the alert in VictoriaLogs", PATIENCE, || {
        let found = logs.query("\"the canary has stopped\"").ok()?;
        (!found.is_empty()).then_some(())
    })?;
    Ok(())
}

pub fn a_dead_agent_inhibits(world: &mut World) -> Done {
    let alert = |name: &str, instance: &str| {
        json!({"labels": {"alertname": name, "job": "inhibited", "instance": instance},
            "annotations": {"summary": "one of a few"}})
    };
    let all =
        json!([alert("AgentDown", "a"), alert("S3Throttling", "a"), alert("S3Throttling", "b")]);
    let stack = world.stack()?;
    send(stack.places().of("alertmanager", 9093), "/api/v2/alerts", &all)?;

    let manager = stack.alertmanager();
    let own = until("the verdict on three alerts", PATIENCE, || {
        let mut alerts = manager.alerts().ok()?;
        alerts.retain(|alert| alert["labels"]["job"] == "inhibited");
        let is_decided = |alert: &Value| alert["status"]["state"] != "unprocessed";
        (alerts.len() == 3 && alerts.iter().all(is_decided)).then_some(alerts)
    })?;
    for alert in own {
        let labels = &alert["labels"];
        let is_due = labels["alertname"] == "S3Throttling" && labels["instance"] == "a";
        if is_due != (alert["status"]["state"] == "suppressed") {
            return Err(format!("{labels} is {}", alert["status"]).into());
        }
    }
    Ok(())
}
