//! What a person starts without containers.

use crate::world::{Outcome, World};
use std::net::SocketAddr;
use std::process::{Command, Output};
use streamhouse_tests::http;

/// The program behind `scripts/stack`.
const PROGRAM: &str = env!("CARGO_BIN_EXE_streamhouse-stack");

pub fn up_status_and_down_are_true(world: &mut World) -> Result<(), Outcome> {
    world.has_stack()?;
    let state = world.folder().join("state");
    let run = |arguments: &[&str]| -> Result<(bool, String), Outcome> {
        let mut command = Command::new(PROGRAM);
        let output = command.args(arguments).env("XDG_STATE_HOME", &state).output();
        let output: Output = output.map_err(|error| error.to_string())?;
        let all = [&output.stdout[..], &output.stderr[..]].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&all).into_owned()))
    };
    let (was_up, told) = run(&["status"])?;
    expect(!was_up && told.contains("it is down"), &told)?;

    let (is_up, addresses) = run(&["up", crate::world::STREAMHOUSE])?;
    let alive = run(&["status"])?;
    let again = run(&["up", crate::world::STREAMHOUSE])?;
    let ready = addresses.lines().find_map(|line| line.strip_prefix("Prometheus"));
    let ready = ready.and_then(|rest| {
        let addr: SocketAddr =
            rest.trim().strip_prefix("http://")?.strip_suffix('/')?.parse().ok()?;
        http::get(addr, "/-/ready").ok()
    });
    // Ends what it started whatever was told until here.
    let (is_down, last) = run(&["down"])?;

    expect(is_up, &addresses)?;
    expect(alive.0 && alive.1.matches("running").count() == 7, &alive.1)?;
    expect(!alive.1.contains("does not answer"), &alive.1)?;
    expect(!again.0 && again.1.contains("up already"), &again.1)?;
    expect(ready.is_some_and(|answer| answer.status == 200), &addresses)?;
    expect(is_down && last.starts_with("7 processes ended"), &last)?;
    for line in alive.1.lines().filter_map(|line| line.split("process ").nth(1)) {
        let is_there = std::path::Path::new("/proc").join(line).exists();
        let state = std::fs::read_to_string(format!("/proc/{line}/stat")).unwrap_or_default();
        expect(!is_there || state.contains(") Z "), &format!("process {line} is left behind"))?;
    }
    let (is_down, last) = run(&["down"])?;
    expect(is_down && last.starts_with("0 processes ended"), &last)
}

fn expect(holds: bool, told: &str) -> Result<(), Outcome> {
    if holds { Ok(()) } else { Err(Outcome::Failed(told.to_owned())) }
}
