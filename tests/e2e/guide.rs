//! The setup guide, run as it is written.

use crate::boot::{accepts, validate, write};
use crate::world::{Outcome, STREAMHOUSE, World};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use streamhouse_tests::compose::{root, yaml};
use streamhouse_tests::stack::{free_port, until};

const GUIDE: &str = "docs/guides/setup.md";
/// Long enough for a first push and for the store to show it.
const PUSHED: Duration = Duration::from_secs(60);

/// A fenced block: what it says it is, and its text.
struct Block<'a> {
    kind: &'a str,
    text: &'a str,
}

pub fn its_commands_and_configurations_work(world: &mut World) -> Result<(), Outcome> {
    world.streamhouse()?;
    let guide = std::fs::read_to_string(root().join(GUIDE)).map_err(|error| error.to_string())?;
    let mut script = String::from("set -euo pipefail\n");
    for block in blocks(&guide) {
        match block.kind {
            "sh" if block.text.starts_with("scripts/stack") => is_proven_elsewhere(block.text)?,
            "sh" => script.extend([block.text, "\n"]),
            // Nothing here can run it.
            "sh docker" => {}
            "yaml prometheus" => prometheus_accepts(world, block.text)?,
            "yaml collector" => {
                let path = write(world.folder().join("guide-collector.yaml"), block.text)?;
                validate(world, &path)?;
            }
            "yaml grafana" => drop(yaml(block.text)?),
            other => {
                let known = "sh, sh docker, yaml prometheus, yaml collector, yaml grafana";
                return Err(format!("{GUIDE}: a block is {other:?}; it can be {known}").into());
            }
        }
    }
    script.push_str("\nfor job in $(jobs -p); do kill -0 \"$job\"; done\necho done\nwait\n");
    run(world, &script)
}

/// The blocks between fences.
fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let fenced = text.split("\n```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).map(|(kind, text)| Block { kind, text })
}

/// `scripts/stack` has a check of its own, on ports of its own.
fn is_proven_elsewhere(text: &str) -> Result<(), Outcome> {
    let commands = text.lines().map(|line| line.split('#').next().unwrap_or(line).trim());
    let known = ["scripts/stack up", "scripts/stack status", "scripts/stack down"];
    for command in commands.filter(|command| !command.is_empty()) {
        if !known.contains(&command) {
            return Err(format!("{GUIDE}: no check runs {command:?}").into());
        }
    }
    Ok(())
}

fn prometheus_accepts(world: &World, text: &str) -> Result<(), Outcome> {
    let rules = root().join("alerts/rules");
    let text = text.replace("- rules/", &format!("- {}/", rules.display()));
    let config = write(world.folder().join("guide-prometheus.yml"), &text)?;
    let promtool = world.binary("promtool")?;
    accepts(
        Command::new(promtool).args(["check", "config", "--lint=all", "--lint-fatal"]).arg(config),
    )
}

/// Runs the commands beside the stack, and waits until what they send has arrived.
fn run(world: &mut World, script: &str) -> Result<(), Outcome> {
    let (kafka, admin) = (free_port()?, free_port()?);
    let folder = world.folder().join("guide");
    let told = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(folder.join("bin")).map_err(told)?;
    // Where the guide leaves out the default port, another is told here.
    let program = format!(
        "#!/bin/sh\ncase $1 in topic|produce|consume) set -- \"$@\" --brokers {kafka};; esac\n\
         exec {STREAMHOUSE} \"$@\"\n"
    );
    let shim = write(folder.join("bin/streamhouse"), &program)?;
    std::fs::set_permissions(shim, std::fs::Permissions::from_mode(0o755)).map_err(told)?;
    let stack = world.stack()?;
    let script = [
        ("127.0.0.1:9464", admin),
        ("127.0.0.1:9090", stack.places().of("prometheus", 9090)),
        ("127.0.0.1:4318", stack.places().of("collector", 4318)),
    ]
    .iter()
    .fold(script.to_owned(), |text, (from, to)| text.replace(from, &to.to_string()));
    let prometheus = stack.prometheus();
    let pushed = || {
        let found = prometheus.query("streamhouse_build_info{job=\"streamhouse\"}").ok()?;
        let instances = found.into_iter().filter_map(|mut one| one.labels.remove("instance"));
        Some(instances.collect::<BTreeSet<_>>()).filter(|instances| !instances.is_empty())
    };
    // An earlier check may have restarted it, and the guide asks whether it is scraped.
    until("a scrape of the stack's server", PUSHED, || {
        let found = prometheus.query("up{job=\"streamhouse-scrape\"}").ok()?;
        (!found.is_empty() && found.iter().all(|sample| sample.value == 1.0)).then_some(())
    })?;
    // The stack's own server pushes, too, and those that ran before it are remembered for minutes.
    let before = until("the metrics of the stack's server", PUSHED, pushed)?;
    let shell = Shell::start(&folder, &script, &kafka.to_string(), &admin.to_string())?;
    let ended = until("the end of the guide's commands", PUSHED, || {
        let output = shell.output();
        let ended = output.lines().any(|line| line == "done");
        (ended || !shell.is_running()).then_some(if ended { Ok(()) } else { Err(output) })
    })?;
    ended.map_err(|output| format!("{GUIDE}: a command failed:\n{output}"))?;
    // The server that pushes to Prometheus, and the one that pushes to the collector.
    let arrived = until("the metrics that the guide's servers push", PUSHED, || {
        (pushed()?.difference(&before).count() >= 2).then_some(())
    });
    arrived.map_err(|why| Outcome::Failed(format!("{why}:\n{}", shell.output())))
}

/// A shell with all that it started, ended when dropped.
struct Shell<'a> {
    child: std::cell::RefCell<Child>,
    folder: &'a Path,
}

impl<'a> Shell<'a> {
    fn start(folder: &'a Path, script: &str, kafka: &str, admin: &str) -> Result<Self, Outcome> {
        let told = |error: std::io::Error| error.to_string();
        let output = std::fs::File::create(folder.join("output")).map_err(told)?;
        let errors = output.try_clone().map_err(told)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let child = Command::new("bash")
            .args(["-c", script])
            .current_dir(folder)
            .env("PATH", format!("{}:{path}", folder.join("bin").display()))
            .env("STREAMHOUSE_KAFKA_ADDR", kafka)
            .env("STREAMHOUSE_ADMIN_ADDR", admin)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(told)?;
        Ok(Self { child: child.into(), folder })
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.folder.join("output")).unwrap_or_default()
    }

    fn is_running(&self) -> bool {
        matches!(self.child.borrow_mut().try_wait(), Ok(None))
    }
}

impl Drop for Shell<'_> {
    fn drop(&mut self) {
        let mut child = self.child.borrow_mut();
        // The group: the shell and the servers that it left in the background.
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = child.wait();
    }
}
