//! Everything that is shipped to be asked, asked for real.

use crate::drive;
use crate::world::{Outcome, World};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use streamhouse_tests::load::{self, Load};
use streamhouse_tests::stack::query::Prometheus;
use streamhouse_tests::stack::until;
use streamhouse_tests::{alerts, dashboards, promql};

/// Asks once; the number of series, or what is wrong.
fn ask(prometheus: &Prometheus, query: &str) -> Result<Vec<f64>, String> {
    let answer = prometheus.api("query", &[("query", query)])?;
    if !answer.warnings.is_empty() {
        return Err(format!("{query}: {:?}", answer.warnings));
    }
    Ok(prometheus.query(query)?.iter().map(|point| point.value).collect())
}

pub fn runbooks(world: &mut World) -> Result<(), Outcome> {
    world.streamhouse()?;
    let prometheus = world.stack()?.prometheus();
    let (mut asked, mut answered) = (0, 0);
    for (name, page) in alerts::pages()? {
        for query in alerts::queries(&page) {
            let found = ask(&prometheus, query).map_err(|error| format!("{name}: {error}"))?;
            asked += 1;
            answered += usize::from(!found.is_empty());
        }
    }
    let told = format!("{asked} without error or warning, {answered} of them with series");
    world.figures.note("queries of runbooks", &told);
    Ok(())
}

pub fn rules(world: &mut World) -> Result<(), Outcome> {
    drive::work(world, "rules", 1)?;
    let kafka = world.streamhouse()?.kafka;
    drive::consume(kafka, "rules", "readers").map_err(|error| error.to_string())?;
    let prometheus = world.stack()?.prometheus();
    let mut names = BTreeSet::new();
    let all = alerts::all()?;
    for alert in &all {
        let query = alert["expr"].as_str().unwrap_or_default();
        for selector in promql::selectors(query)? {
            names.insert(selector.name.unwrap_or_default());
        }
    }
    for name in &names {
        until(&format!("a series of {name}"), Duration::from_secs(30), || {
            let query = format!("{name}{{job=\"streamhouse-scrape\"}}");
            (!ask(&prometheus, &query).ok()?.is_empty()).then_some(())
        })?;
    }
    let loaded = prometheus.rules()?;
    let loaded: Vec<_> = loaded.iter().flat_map(|group| alerts::list(&group["rules"])).collect();
    let sick: Vec<_> = loaded.iter().filter(|rule| rule["health"] == "err").collect();
    if loaded.len() != all.len() || !sick.is_empty() {
        let told = format!("{} alerts shipped, {} loaded, sick: {sick:?}", all.len(), loaded.len());
        return Err(told.into());
    }
    let told = format!("{} alerts, {} metrics", all.len(), names.len());
    world.figures.note("alerts loaded, all of their metrics there", &told);
    Ok(())
}

/// Boards are asked while records move: written, read from memory, and read from the object store.
pub fn boards(world: &mut World) -> Result<(), Outcome> {
    drive::work(world, "cold", 2)?;
    // With an empty cache what is read next comes from the store.
    let server = world.restart(&[])?;
    let (kafka, started) = (server.kafka, SystemTime::now());
    load::create_topic(kafka, "boards", 1).map_err(|error| error.to_string())?;
    let prometheus = world.stack()?.prometheus();
    until("a scrape before anything has moved", Duration::from_secs(30), || {
        let query = "timestamp(up{job=\"streamhouse-scrape\"} == 1)";
        let at = prometheus.query(query).ok()?.first()?.value;
        let born = started.duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
        (at > born).then_some(())
    })?;
    let is_done = AtomicBool::new(false);
    let told = std::thread::scope(|scope| {
        let working = scope.spawn(|| -> std::io::Result<()> {
            load::read(kafka, "cold", 0)?;
            while !is_done.load(Ordering::Acquire) {
                let load = Load { time: Duration::from_secs(1), ..drive::gentle("boards") };
                load::run(kafka, &load)?;
                load::read(kafka, "boards", 0)?;
                // Each time a member joins, commits and leaves.
                drive::consume(kafka, "boards", "readers")?;
            }
            Ok(())
        });
        let told = ask_boards(&prometheus);
        is_done.store(true, Ordering::Release);
        match working.join() {
            Ok(Ok(())) => told,
            Ok(Err(error)) => Err(format!("the load: {error}").into()),
            Err(_) => Err("the load panicked".to_owned().into()),
        }
    })?;
    world.figures.note("queries of boards", &told);
    Ok(())
}

fn ask_boards(prometheus: &Prometheus) -> Result<String, Outcome> {
    let mut left = dashboards::queries("streamhouse-scrape", "2m")?;
    let all = left.len();
    // A query that only others' failures answer may stay without.
    let done = until("finite data of every query", Duration::from_secs(60), || {
        let mut failed = None;
        left.retain(|query| match ask(prometheus, &query.expr) {
            Ok(values) => !values.iter().any(|value| value.is_finite()),
            Err(error) => {
                failed = Some(format!("{query}: {error}"));
                true
            }
        });
        let is_done = left.iter().all(|query| query.may_be_empty);
        failed.map(Err).or_else(|| is_done.then_some(Ok(())))
    });
    if let Ok(Err(error)) = done {
        return Err(error.into());
    }
    if done.is_err() {
        let due = left.iter().filter(|query| !query.may_be_empty);
        let told: Vec<_> = due.map(ToString::to_string).collect();
        return Err(format!("{} of {all} have no finite data: {told:#?}", told.len()).into());
    }
    let whole = all - left.len();
    Ok(format!("{whole} with finite data of {all}, none with a warning"))
}
