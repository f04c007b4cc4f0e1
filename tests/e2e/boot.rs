//! Each configuration holds before its own server, and all servers start with it.

use crate::world::{Outcome, World};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use streamhouse_tests::compose::root;
use streamhouse_tests::stack::until;

type Done = Result<(), Outcome>;

/// Long enough for a push interval and a scrape interval of 15 s, twice.
const TWO_INTERVALS: Duration = Duration::from_secs(60);

pub fn accepts(command: &mut Command) -> Done {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let told = [&output.stdout[..], &output.stderr[..]].concat();
    Err(Outcome::Failed(format!("{}: {}", output.status, String::from_utf8_lossy(&told).trim())))
}

pub fn write(path: PathBuf, text: &str) -> Result<PathBuf, Outcome> {
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

fn read(path: &str) -> Result<String, Outcome> {
    Ok(std::fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"))?)
}

pub fn validate(world: &World, config: &Path) -> Done {
    let mut command = Command::new(world.binary("otelcol")?);
    command.arg("validate").arg(format!("--config={}", config.display()));
    // What gateway.yaml asks for.
    command.envs([
        ("GATEWAY_TLS_CERT", "/etc/otelcol/cert.pem"),
        ("GATEWAY_TLS_KEY", "/etc/otelcol/key.pem"),
        ("GATEWAY_TOKEN_FILE", "/etc/otelcol/agents"),
        ("BACKEND_TOKEN_FILE", "/etc/otelcol/backends"),
        ("TRACES_ENDPOINT", "traces.example.com:4317"),
        ("METRICS_ENDPOINT", "https://metrics.example.com/api/v1/otlp"),
        ("LOGS_ENDPOINT", "https://logs.example.com/v1/logs"),
    ]);
    accepts(&mut command)
}

pub fn the_collector_accepts(world: &mut World) -> Done {
    validate(world, &root().join("otel-collector/config.yaml"))?;
    validate(world, &root().join("otel-collector/gateway.yaml"))?;
    let text = read("otel-collector/config.yaml")?.replace("span_metrics", "spanmetricks");
    let wrong = write(world.folder().join("wrong.yaml"), &text)?;
    match validate(world, &wrong) {
        Err(Outcome::Failed(told)) if told.contains("spanmetricks") => Ok(()),
        other => Err(format!("a component that does not exist was accepted: {other:?}").into()),
    }
}

pub fn the_collector_accepts_the_agent(world: &mut World) -> Done {
    let text = read("otel-collector/README.md")?;
    let blocks = text.split("```yaml\n").filter_map(|rest| rest.split("```").next());
    let mut agents = blocks.filter(|block| block.starts_with("receivers:"));
    let agent = agents.next();
    let agent = agent.ok_or_else(|| "the README shows no agent".to_owned())?;
    let path = write(world.folder().join("agent.yaml"), agent)?;
    validate(world, &path)
}

pub fn promtool_accepts(world: &mut World) -> Done {
    let promtool = world.binary("promtool")?;
    // The token's file is there in the container only.
    let token = write(world.folder().join("token"), "token")?;
    let text = read("alerts/prometheus.yml")?;
    let text = text.replace("/run/secrets/admin-token", &token.display().to_string());
    let rules = root().join("alerts/rules");
    let text = text.replace("- rules/", &format!("- {}/", rules.display()));
    let config = write(world.folder().join("prometheus.yml"), &text)?;
    accepts(
        Command::new(promtool).args(["check", "config", "--lint=all", "--lint-fatal"]).arg(config),
    )
}

pub fn the_alerts_fire_as_their_cases_say(world: &mut World) -> Done {
    let promtool = world.binary("promtool")?;
    let cases = std::fs::read_dir(root().join("alerts/tests")).map_err(|e| e.to_string())?;
    let cases: Vec<PathBuf> = cases.filter_map(|case| Some(case.ok()?.path())).collect();
    accepts(Command::new(promtool).args(["test", "rules"]).args(cases))?;
    let alerts = streamhouse_tests::alerts::all()?.len();
    let told = format!("{alerts} of {alerts}: when each fires, when it does not, and just before");
    world.figures.note("alerts proven by promtool", &told);
    Ok(())
}

pub fn amtool_accepts(world: &mut World) -> Done {
    let amtool = world.binary("amtool")?;
    accepts(Command::new(amtool).arg("check-config").arg(root().join("alerts/alertmanager.yml")))
}

pub fn the_compose_loader_accepts(world: &mut World) -> Done {
    let loader = world.binary("compose-go")?;
    let load = |path: &Path| {
        let mut command = Command::new(loader);
        accepts(command.arg("-no-interpolation").arg(path).current_dir(root()))
    };
    load(&root().join("docker-compose.yml"))?;
    let text = read("docker-compose.yml")?.replace("mem_limit:", "memory_limit:");
    let wrong = write(world.folder().join("docker-compose.yml"), &text)?;
    match load(&wrong) {
        Err(Outcome::Failed(told)) if told.contains("memory_limit") => Ok(()),
        other => Err(format!("a key that does not exist was accepted: {other:?}").into()),
    }
}

pub fn everything_starts(world: &mut World) -> Done {
    let stack = world.stack()?;
    for daemon in stack.servers() {
        if !daemon.is_running() {
            return Err(format!("{} has ended:\n{}", daemon.name(), daemon.log()).into());
        }
    }
    Ok(())
}

pub fn streamhouse_is_ready(world: &mut World) -> Done {
    world.streamhouse()?;
    let log = world.stack()?.access_log();
    let seen = std::fs::read_to_string(&log).unwrap_or_default();
    if !seen.contains("/streamhouse/log") {
        return Err(format!("the S3 server saw nothing of it: {seen}").into());
    }
    Ok(())
}

pub fn both_jobs_are_there(world: &mut World) -> Done {
    world.streamhouse()?;
    let prometheus = world.stack()?.prometheus();
    for job in ["streamhouse-scrape", "streamhouse"] {
        let query = format!("streamhouse_build_info{{job=\"{job}\"}}");
        until(&query, TWO_INTERVALS, || {
            let found = prometheus.query(&query).unwrap_or_default();
            (found.len() == 1 && found[0].value == 1.0).then_some(())
        })?;
    }
    Ok(())
}
