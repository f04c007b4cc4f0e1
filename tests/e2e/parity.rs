//! The same series by scrape and by OTLP, as Prometheus has them.

use crate::drive;
use crate::world::{Outcome, World};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use streamhouse_observability::declare::{Kind, Row};
use streamhouse_observability::instruments::registry;
use streamhouse_tests::stack::query::Prometheus;
use streamhouse_tests::stack::{PATIENCE, until};

type Series = BTreeMap<(String, BTreeMap<String, String>), f64>;

pub fn native(world: &mut World) -> Result<(), Outcome> {
    compare(world, "native")
}

pub fn bridge(world: &mut World) -> Result<(), Outcome> {
    world.restart(&[("STREAMHOUSE_METRICS_EXPOSITION", "bridge")])?;
    compare(world, "bridge")
}

fn compare(world: &mut World, mode: &str) -> Result<(), Outcome> {
    drive::work(world, mode, 1)?;
    let kafka = world.streamhouse()?.kafka;
    drive::consume(kafka, mode, "readers").map_err(|error| error.to_string())?;
    let rows = registry().map_err(|error| error.to_string())?;
    let stack = world.stack()?;
    let prometheus = stack.prometheus();
    let scraped = stack.places().of("streamhouse", 9464).to_string();
    // Health probes and leases write now and then: some moment between two of them is the same
    // on both ways.
    let (mut told, mut count, mut seen) = (Vec::new(), (0, 0), Vec::new());
    let equal = until("a moment at which both are equal", Duration::from_secs(90), || {
        let pushed = youngest(&prometheus)?;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
        let scrape = series(&prometheus, "streamhouse-scrape", &scraped, at, &rows).ok()?;
        let push = series(&prometheus, "streamhouse", &pushed, at, &rows).ok()?;
        told = differences(&scrape, &push);
        count = (scrape.len(), scrape.keys().filter(|(name, _)| is_at_rest(name)).count());
        let names_seen: BTreeSet<_> = scrape.keys().map(|(name, _)| name.as_str()).collect();
        let is_seen = |row: &&Arc<Row>| names(row).iter().any(|name| names_seen.contains(&**name));
        seen = rows.iter().filter(is_seen).cloned().collect();
        (told.is_empty() && count.1 > 100).then_some(())
    });
    equal.map_err(|error| {
        format!("{mode}: {error}: {count:?}: {:#?}", &told[..told.len().min(10)])
    })?;
    described(&prometheus, &seen)?;
    world.figures.note(
        &format!("series equal by scrape ({mode}) and by OTLP"),
        &format!(
            "{} of {}, of {} of {} metrics; the values of {} that are at rest included",
            count.0,
            count.0,
            seen.len(),
            rows.len(),
            count.1
        ),
    );
    Ok(())
}

/// The instance that pushed last: ids of earlier processes stay for five minutes.
fn youngest(prometheus: &Prometheus) -> Option<String> {
    let query = "timestamp(streamhouse_build_info{job=\"streamhouse\"})";
    let mut found = prometheus.query(query).ok()?;
    found.sort_by(|a, b| a.value.total_cmp(&b.value));
    found.pop()?.labels.remove("instance")
}

/// What moves although nobody uses the engine: of it names and labels are compared.
const RESTLESS: [&str; 5] = [
    "streamhouse_telemetry_",
    "streamhouse_health_",
    "streamhouse_group_commit_age_",
    "streamhouse_consumer_lag_",
    "streamhouse_consumer_retention_",
];

/// Whether the value of a series is compared, too.
fn is_at_rest(name: &str) -> bool {
    name.starts_with("streamhouse_") && !RESTLESS.iter().any(|prefix| name.starts_with(prefix))
}

/// The series of one process under one job, as they were at `at`. Bounds are numbers, however
/// they are written.
fn series(
    prometheus: &Prometheus,
    job: &str,
    instance: &str,
    at: f64,
    rows: &[Arc<Row>],
) -> Result<Series, String> {
    let query = format!("{{job={job:?},instance={instance:?}}}");
    let data = prometheus.query_at(&query, at)?;
    let families: BTreeSet<String> = rows.iter().flat_map(|row| names(row)).collect();
    let mut found = Series::new();
    for mut point in data {
        let name = point.labels.remove("__name__").unwrap_or_default();
        if !families.contains(&name) {
            continue;
        }
        point.labels.retain(|key, _| key != "job" && key != "instance");
        if let Some(le) = point.labels.get_mut("le") {
            let bound: f64 = le.replace("Inf", "inf").parse().map_err(|_| format!("le={le:?}"))?;
            *le = format!("{bound:?}");
        }
        if found.insert((name.clone(), point.labels), point.value).is_some() {
            return Err(format!("{job}: {name} twice"));
        }
    }
    Ok(found)
}

fn names(row: &Row) -> Vec<String> {
    let family = row.prometheus_name();
    match row.kind {
        Kind::Histogram => {
            ["_bucket", "_count", "_sum"].map(|part| format!("{family}{part}")).into()
        }
        _ => vec![family],
    }
}

fn differences(scrape: &Series, push: &Series) -> Vec<String> {
    let mut told = Vec::new();
    for (key, value) in scrape {
        match push.get(key) {
            None => told.push(format!("only by scrape: {key:?}")),
            Some(other) if is_at_rest(&key.0) && other != value => {
                told.push(format!("{key:?}: {value} by scrape, {other} by OTLP"));
            }
            Some(_) => {}
        }
    }
    let only = push.keys().filter(|key| !scrape.contains_key(*key));
    told.extend(only.map(|key| format!("only by OTLP: {key:?}")));
    told
}

/// Type and help of the metrics that have series, as Prometheus has read them, are those of the registry.
fn described(prometheus: &Prometheus, rows: &[Arc<Row>]) -> Result<(), Outcome> {
    let mut told = String::new();
    let described = until("type and help of every metric with series", PATIENCE, || {
        let known = prometheus.metadata().ok()?;
        told = rows.iter().find_map(|row| undescribed(&known, row)).unwrap_or_default();
        told.is_empty().then_some(())
    });
    Ok(described.map_err(|error| format!("{error}: {told}"))?)
}

/// What is wrong with what Prometheus knows of a metric.
fn undescribed(known: &Value, row: &Row) -> Option<String> {
    let name = row.prometheus_name();
    // OpenMetrics names a family without what its samples end with.
    let family = name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(&name);
    let Some(told) = [name.as_str(), family].iter().find_map(|name| known[*name].as_array()) else {
        return Some(format!("nothing is known of {name}"));
    };
    let types = [row.kind.as_str(), "info"];
    let fits =
        |one: &Value| types.iter().any(|kind| one["type"] == *kind) && one["help"] == row.help;
    let fit = told.iter().all(fits);
    (!fit).then(|| format!("{name}: {told:?}, and the registry says {:?}", row.help))
}
