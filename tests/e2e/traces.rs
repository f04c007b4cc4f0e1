//! One request from its arrival to the object store, as Jaeger and VictoriaLogs have it.

use crate::world::{Outcome, World};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use streamhouse_tests::load;
use streamhouse_tests::stack::{PATIENCE, until};

/// Sends one record with a trace context of its own; returns the trace's id.
fn produce(kafka: SocketAddr, topic: &str, timeout: &str) -> Result<(String, bool), Outcome> {
    let id = format!("{:032x}", rand::random::<u128>());
    let context = format!("00-{id}-00000000000000aa-01");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.to_string()).set("message.timeout.ms", timeout);
    let producer: BaseProducer = config.create().map_err(|error| error.to_string())?;
    let header = Header { key: "traceparent", value: Some(&context) };
    let headers = OwnedHeaders::new().insert(header);
    let record = BaseRecord::<(), _>::to(topic).payload("one").headers(headers);
    producer.send(record).map_err(|(error, _)| error.to_string())?;
    producer.flush(Duration::from_secs(60)).map_err(|error| error.to_string())?;
    Ok((id, true))
}

fn spans(trace: &Value) -> impl Iterator<Item = &Value> {
    trace["spans"].as_array().into_iter().flatten()
}

fn named<'a>(trace: &'a Value, name: &str) -> Option<&'a Value> {
    spans(trace).find(|span| span["operationName"] == name)
}

/// Whether `span` refers to the span `id` of trace `trace`, as a child or by a link.
fn refers(span: &Value, trace: &Value, id: &Value) -> bool {
    let mut all = span["references"].as_array().into_iter().flatten();
    all.any(|one| one["traceID"] == *trace && (id.is_null() || one["spanID"] == *id))
}

fn tag<'a>(span: &'a Value, key: &str) -> &'a Value {
    let mut all = span["tags"].as_array().into_iter().flatten();
    all.find(|tag| tag["key"] == key).map_or(&Value::Null, |tag| &tag["value"])
}

pub fn it_is_a_graph(world: &mut World) -> Result<(), Outcome> {
    let kafka = world.streamhouse()?.kafka;
    load::create_topic(kafka, "graph", 1).map_err(|error| error.to_string())?;
    let (id, _) = produce(kafka, "graph", "30000")?;
    let jaeger = world.stack()?.jaeger();

    let trace = until("the producer's trace, continued", PATIENCE, || {
        let trace = jaeger.trace(&id).ok().flatten()?;
        named(&trace, "partition_write")?;
        named(&trace, "produce_request").is_some().then_some(trace)
    })?;
    let request = named(&trace, "produce_request").unwrap_or(&Value::Null);
    let write = named(&trace, "partition_write").unwrap_or(&Value::Null);
    if !refers(request, &trace["traceID"], &"00000000000000aa".into()) {
        return Err(format!("the request is no child of its producer's span: {request}").into());
    }
    if !refers(write, &trace["traceID"], &request["spanID"]) {
        return Err(format!("the write is no child of its request: {write}").into());
    }
    for (span, key, value) in [
        (request, "messaging.system", "kafka"),
        (request, "messaging.operation.name", "produce"),
        (request, "span.kind", "server"),
        (write, "messaging.destination.name", "graph"),
    ] {
        if *tag(span, key) != *value {
            return Err(format!("{key} is not {value}: {span}").into());
        }
    }
    // A segment serves many requests: its trace is its own, and names those.
    let flush = until("the flush that is linked with the request", PATIENCE, || {
        let found = jaeger.find("streamhouse", "segment_flush", 200).ok()?;
        found
            .into_iter()
            .find(|flush| spans(flush).any(|span| refers(span, &trace["traceID"], &Value::Null)))
    })?;
    let own = named(&flush, "segment_flush").unwrap_or(&Value::Null);
    for name in ["object_store", "metadata"] {
        let child = named(&flush, name).ok_or_else(|| format!("the flush has no {name} span"))?;
        if !refers(child, &flush["traceID"], &own["spanID"]) {
            return Err(format!("{name} is no child of the flush: {child}").into());
        }
    }
    let names: BTreeSet<_> = spans(&trace)
        .chain(spans(&flush))
        .filter_map(|span| span["operationName"].as_str())
        .collect();
    let told = names.into_iter().collect::<Vec<_>>().join(", ");
    world.figures.note("spans of one produce request in Jaeger", &told);
    Ok(())
}

pub fn its_lines(world: &mut World) -> Result<(), Outcome> {
    let kafka = world.streamhouse()?.kafka;
    load::create_topic(kafka, "lines", 1).map_err(|error| error.to_string())?;
    let (id, _) = produce(kafka, "lines", "30000")?;
    let store = world.stack()?.victoria_logs();
    let lines = until("log records of the request by its trace", PATIENCE, || {
        let found = store.query(&format!("trace_id:={id}")).ok()?;
        (!found.is_empty()).then_some(found)
    })?;
    for line in &lines {
        let has = |key: &str| line[key].as_str().is_some_and(|text| !text.is_empty());
        if !has("span_id") || !has("severity") && !has("severity_text") || !has("_msg") {
            return Err(format!("a record lacks its span, severity or message: {line}").into());
        }
    }
    // The line on standard error names the same ids.
    let own: Vec<Value> = world
        .streamhouse()?
        .log()
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line.to_string().contains(&id))
        .collect();
    if own.len() != lines.len() {
        return Err(format!("{} lines and {} records of {id}", own.len(), lines.len()).into());
    }
    world
        .figures
        .note("log records of one request found by its trace's id", &lines.len().to_string());
    Ok(())
}

/// The store refuses every PUT for longer than its budget: the request fails, and says so.
pub fn errors(world: &mut World) -> Result<(), Outcome> {
    let (server, stack) = world.both()?;
    let kafka = server.kafka;
    load::create_topic(kafka, "errors", 1).map_err(|error| error.to_string())?;
    let store = stack.store().ok_or_else(|| "the stack has no store of its own".to_owned())?;
    store.refuse_puts(1);
    let sent = produce(kafka, "errors", "20000");
    store.refuse_puts(0);
    let (id, _) = sent?;
    let jaeger = stack.jaeger();
    until("the failed request's trace", PATIENCE, || {
        let trace = jaeger.trace(&id).ok().flatten()?;
        let is_failed = |span: &Value| *tag(span, "error") == Value::Bool(true);
        let request =
            spans(&trace).any(|s| s["operationName"] == "produce_request" && is_failed(s));
        let write = spans(&trace).any(|s| s["operationName"] == "partition_write" && is_failed(s));
        (request && write).then_some(())
    })?;
    until("a failed PUT's span", PATIENCE, || {
        let found = jaeger.find("streamhouse", "segment_flush", 200).ok()?;
        let mut all = found.iter().flat_map(spans);
        let is_failed = |span: &&Value| {
            span["operationName"] == "object_store" && *tag(span, "error") == Value::Bool(true)
        };
        all.any(|span| is_failed(&span)).then_some(())
    })?;
    Ok(())
}
