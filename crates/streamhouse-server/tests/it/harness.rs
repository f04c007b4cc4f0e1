//! Starts the binary, watches it, stops it.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Standard output as one JSON value per line.
    pub fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Itself, if it ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// The binary without this process' configuration, in `folder`.
pub fn streamhouse(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamhouse"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["STREAMHOUSE_", "OTEL_", "RUST_LOG", "AWS_"].iter().any(|p| name.starts_with(p)) {
            command.env_remove(&*name);
        }
    }
    command.current_dir(folder).args(arguments);
    command
}

/// Runs the binary to its end in a folder of its own.
pub fn run(arguments: &[&str]) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    finish(streamhouse(folder.path(), arguments), "")
}

/// Runs `command` to its end with `input`.
pub fn finish(mut command: Command, input: &str) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its input may close it first.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Calls `look` until it finds something.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came true that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running server.
pub struct Server {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    pub kafka: String,
    pub admin: String,
    folder: TempDir,
}

impl Server {
    /// Starts `streamhouse serve` on free ports with further arguments.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut all = vec!["serve", "--kafka-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"];
        all.extend(["--log-format", "json"]);
        all.extend(arguments);
        Self::spawn(streamhouse(folder.path(), &all), folder)
    }

    /// Starts `command`, which logs JSON, and waits for its `ready`.
    pub fn spawn(mut command: Command, folder: TempDir) -> Self {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let (kafka, admin) = (String::new(), String::new());
        let mut server = Self { child, lines, seen: Vec::new(), kafka, admin, folder };
        let ready = server.event("ready");
        server.kafka = ready["fields"]["kafka_addr"]
            .as_str()
            .unwrap_or_else(|| ready["kafka_addr"].as_str().expect("the address of the Kafka port"))
            .to_owned();
        server.admin = ready["fields"]["admin_addr"]
            .as_str()
            .unwrap_or_else(|| ready["admin_addr"].as_str().expect("the address of the admin port"))
            .to_owned();
        server
    }

    /// Waits for the log line with this message.
    #[track_caller]
    pub fn event(&mut self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no event {message:?} among:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event["message"] == message {
                return event;
            }
        }
    }

    /// The log lines up to the last event that was waited for.
    pub fn seen(&self) -> &[String] {
        &self.seen
    }

    /// Where the server keeps its data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a client command against this server.
    pub fn client(&self, arguments: &[&str], input: &str) -> Finished {
        let mut command = streamhouse(self.folder.path(), arguments);
        command.args(["--brokers", &self.kafka]);
        finish(command, input)
    }

    /// Status and body of a GET on the admin port.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(&self.admin, path, "").unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the server has ended", || self.child.try_wait().unwrap())
    }

    /// All log lines; call it after [`wait`](Self::wait).
    pub fn log(&mut self) -> String {
        self.seen.extend(self.lines.iter());
        self.seen.join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP request: `extra` are further header lines, each with its line end.
pub fn get(address: &str, path: &str, extra: &str) -> std::io::Result<(u16, String)> {
    request(address, &format!("GET {path} HTTP/1.1\r\n{extra}"), "")
}

/// Sends a request head (without the end of it) and a body, returns status and body.
pub fn request(address: &str, head: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{head}Host: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Ok((status, body))
}

/// The sum of a metric's series on the text of `/metrics`.
pub fn total(metrics: &str, name: &str) -> f64 {
    let is_ours =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let value = |line: &str| line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok());
    metrics.lines().filter(is_ours).filter_map(value).sum()
}
