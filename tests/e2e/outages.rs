//! The stack fails; StreamHouse does not.

use crate::drive;
use crate::world::{Outcome, World};
use std::process::Command;
use std::time::Duration;
use streamhouse_tests::load::{self, Load, Report};

/// What a person would notice: no request takes as long, whatever the machine does beside it.
const CLIFF: f64 = 5.0;

fn signal(pid: Option<u32>, signal: &str) -> Result<(), Outcome> {
    let pid = pid.ok_or_else(|| "the collector does not run".to_owned())?.to_string();
    let done = Command::new("kill").args([signal, &pid]).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("kill {signal} {pid}: {other:?}").into()),
    }
}

fn run(world: &mut World) -> Result<Report, Outcome> {
    let kafka = world.streamhouse()?.kafka;
    let load = Load { time: Duration::from_secs(8), ..drive::gentle("outages") };
    Ok(load::run(kafka, &load).map_err(|error| format!("a record was refused: {error}"))?)
}

pub fn nothing_slows(world: &mut World) -> Result<(), Outcome> {
    let kafka = world.streamhouse()?.kafka;
    load::create_topic(kafka, "outages", 1).map_err(|error| error.to_string())?;
    let whole = run(world)?;

    world.stack()?.server("prometheus").kill();
    let blind = run(world);
    world.stack()?.server("prometheus").restart()?;
    let blind = blind?;

    // A collector that takes connections and never answers is worse than none.
    let collector = world.stack()?.server("collector").pid();
    signal(collector, "-STOP")?;
    let hung = run(world);
    signal(collector, "-CONT")?;
    let hung = hung?;

    let mut told = Vec::new();
    for (name, report) in
        [("all well", &whole), ("no Prometheus", &blind), ("a hung collector", &hung)]
    {
        let p99 = report.quantile(0.99);
        told.push(format!("{name} {:.0} ms", p99 * 1e3));
        if report.records == 0 || p99 > CLIFF {
            return Err(format!("{name}: {} records, p99 {p99:.3} s", report.records).into());
        }
    }
    world.figures.note("99 of 100 produce requests within", &told.join(", "));

    let (server, _) = world.both()?;
    server.scrape_until("spans to arrive again", |scrape| {
        let of = |name: &str| scrape.sum(name, &[("signal", "traces")]).unwrap_or_default();
        of("streamhouse_telemetry_pending") < 512.0
    });
    let scrape = server.scrape();
    for signal in ["traces", "logs", "metrics"] {
        let of = |name: &str| {
            let name = format!("streamhouse_telemetry_{name}");
            scrape.sum(&name, &[("signal", signal)]).unwrap_or_default()
        };
        let parts = ["exported_total", "rejected_total", "failed_total", "dropped_total"];
        let settled: f64 = parts.iter().map(|part| of(part)).sum();
        let (created, left) = (of("created_total"), of("pending") + of("unsampled_total"));
        // Items between two of their steps while the page is made.
        if (created - settled - left).abs() > 64.0 {
            return Err(format!("{signal}: {created} made, {settled} settled, {left} left").into());
        }
    }
    Ok(())
}
