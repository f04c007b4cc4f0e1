//! The observability stack on this machine, without containers: `up`, `status`, `down`.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use streamhouse_tests::stack::{Binaries, Left, Places, Stack};

const USAGE: &str = "usage: scripts/stack up|status|down

  up       builds the servers if need be (this needs Go), starts them and StreamHouse, and says
           where they are
  status   says what runs, and where
  down     stops what `up` has started; data stays in the folder that is named";

/// What a person may want to open or connect to.
const SHOWN: &[(&str, &str, u16, &str)] = &[
    ("Kafka", "streamhouse", 9092, ""),
    ("StreamHouse", "streamhouse", 9464, "/"),
    ("OTLP over HTTP", "collector", 4318, ""),
    ("OTLP over gRPC", "collector", 4317, ""),
    ("Prometheus", "prometheus", 9090, "/"),
    ("Alertmanager", "alertmanager", 9093, "/"),
    ("Jaeger's API", "jaeger", 16686, "/api/services"),
    ("VictoriaLogs", "victorialogs", 9428, "/select/vmui/"),
    ("S3", "s3", 7070, ""),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = match folder() {
        Ok(folder) => folder,
        Err(error) => return fail(&error),
    };
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["up", binary] => up(&folder, Path::new(binary)),
        ["status"] => status(&folder),
        ["down"] => down(&folder),
        _ => {
            tell(std::io::stderr(), USAGE);
            return ExitCode::from(2);
        }
    };
    done.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

/// Where processes and data are written down.
fn folder() -> Result<PathBuf, String> {
    let given = std::env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    let state = given.map(PathBuf::from).or_else(home).ok_or("set HOME or XDG_STATE_HOME")?;
    Ok(state.join("streamhouse/stack"))
}

fn left(folder: &Path) -> Left {
    Left::at(&folder.join("processes"))
}

fn up(folder: &Path, binary: &Path) -> Result<(), String> {
    let left = left(folder);
    if left.all().iter().any(|process| process.is_running()) {
        return Err("it is up already; `scripts/stack status` says where".into());
    }
    left.end()?;
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(told)?;
    let binaries = Binaries::build()?;
    let mut started = |daemon: &_| left.add(daemon);
    let mut stack = Stack::start_usual(&binaries, folder, &mut started)?;
    stack.add_streamhouse(binary, &mut started)?;
    let token = stack.places().path("streamhouse", "/run/secrets/admin-token");
    let text = addresses(stack.places(), &token);
    std::fs::write(folder.join("addresses"), &text).map_err(told)?;
    for daemon in stack.servers() {
        daemon.leave();
    }
    tell(std::io::stdout(), &text);
    Ok(())
}

fn addresses(places: &Places, token: &Path) -> String {
    let mut text = String::new();
    for (what, service, port, path) in SHOWN {
        let addr = places.of(service, *port);
        let scheme = if *port == 9092 { "" } else { "http://" };
        text.push_str(&format!("{what:<16} {scheme}{addr}{path}\n"));
    }
    text + &format!("{:<16} {} (Authorization: Bearer …)", "admin token", token.display())
}

fn status(folder: &Path) -> Result<(), String> {
    let processes = left(folder).all();
    if processes.is_empty() {
        return Err("it is down; `scripts/stack up` starts it".into());
    }
    for process in &processes {
        let state = if process.is_running() { "running" } else { "ended" };
        let line = format!("{:<16} {state}, process {}", process.name, process.pid);
        tell(std::io::stdout(), &line);
    }
    let text = std::fs::read_to_string(folder.join("addresses")).unwrap_or_default();
    for line in text.lines() {
        tell(std::io::stdout(), &format!("{line}{}", answer(line)));
    }
    match processes.iter().find(|process| !process.is_running()) {
        Some(process) => Err(format!("{} has ended; see {}", process.name, folder.display())),
        None => Ok(()),
    }
}

/// Whether the address in a line can be connected to.
fn answer(line: &str) -> &'static str {
    let word = line.split_whitespace().last().unwrap_or_default();
    let word = word.trim_start_matches("http://");
    let addr = word.split('/').next().and_then(|addr| addr.parse::<SocketAddr>().ok());
    match addr.map(|addr| TcpStream::connect_timeout(&addr, Duration::from_secs(1))) {
        Some(Err(_)) => "   (does not answer)",
        _ => "",
    }
}

fn down(folder: &Path) -> Result<(), String> {
    let ended = left(folder).end()?;
    tell(std::io::stdout(), &format!("{ended} processes ended; data is in {}", folder.display()));
    Ok(())
}

fn fail(error: &str) -> ExitCode {
    tell(std::io::stderr(), error);
    ExitCode::FAILURE
}

fn tell(mut to: impl std::io::Write, text: &str) {
    // Whoever reads this may have gone; nothing is lost but the line.
    let _ = writeln!(to, "{text}");
}
