//! The real binary as a child process.

use crate::http;
use crate::metrics::Scrape;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a start or a stop may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `streamhouse`, killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// Where Kafka clients connect.
    pub kafka: SocketAddr,
    /// Where `/metrics` and health are.
    pub admin: SocketAddr,
    token: Option<String>,
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Launch {
    binary: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    kafka: String,
    admin: String,
}

impl Launch {
    /// `serve` on free ports, with its data under `data`.
    pub fn serve(binary: &str, data: &Path) -> Self {
        let data = data.display().to_string();
        Self {
            binary: binary.into(),
            args: vec!["serve".into(), "--data-dir".into(), data],
            env: Vec::new(),
            kafka: "127.0.0.1:0".into(),
            admin: "127.0.0.1:0".into(),
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets a variable.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Sets the Kafka address, so that clients find a restarted server again.
    pub fn kafka(mut self, addr: SocketAddr) -> Self {
        self.kafka = addr.to_string();
        self
    }

    /// Sets the address of `/metrics` and health, so that who scrapes it finds it.
    pub fn admin(mut self, addr: SocketAddr) -> Self {
        self.admin = addr.to_string();
        self
    }

    /// Starts the server and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not become ready; its log is shown.
    pub fn start(&self) -> Server {
        let mut child = Command::new(&self.binary)
            .args(&self.args)
            .args(["--kafka-addr", &self.kafka, "--admin-addr", &self.admin])
            .env_clear()
            .env("STREAMHOUSE_LOG_FORMAT", "json")
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {:?}: {error}", self.binary));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let ready = follow(&mut child, lines.clone());
        match ready.recv_timeout(PATIENCE) {
            Ok((kafka, admin)) => {
                let token = self.env.iter().find(|(key, _)| key == "STREAMHOUSE_ADMIN_TOKEN");
                Server { child, lines, kafka, admin, token: token.map(|(_, value)| value.clone()) }
            }
            Err(reason) => {
                let _ = child.kill();
                let _ = child.wait();
                let log = lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
                let why = match reason {
                    RecvTimeoutError::Timeout => "was not ready in time",
                    RecvTimeoutError::Disconnected => "ended before it was ready",
                };
                panic!("the server {why}; its log:\n{log}");
            }
        }
    }
}

/// Collects the child's log and reports the addresses of its `ready` event.
fn follow(child: &mut Child, lines: Arc<Mutex<Vec<String>>>) -> Receiver<(SocketAddr, SocketAddr)> {
    let (sender, ready) = channel();
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(addresses) = ready_event(&line) {
                    let _ = sender.send(addresses);
                }
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
    }
    ready
}

fn ready_event(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let event: Value = serde_json::from_str(line).ok()?;
    if event["message"] != "ready" {
        return None;
    }
    let field = |name: &str| {
        let value = event.get(name).or_else(|| event["fields"].get(name))?;
        value.as_str()?.parse().ok()
    };
    Some((field("kafka_addr")?, field("admin_addr")?))
}

impl Server {
    /// The lines logged so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads `/metrics`.
    ///
    /// # Panics
    /// When it is not answered with 200.
    pub fn scrape(&self) -> Scrape {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let headers: Vec<_> =
            bearer.iter().map(|value| ("Authorization", value.as_str())).collect();
        let answer = http::get_with(self.admin, "/metrics", &headers).expect("/metrics answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Scrape::parse(&answer.body)
    }

    /// Reads `/metrics` until `enough` says so, and returns the last scrape.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub fn scrape_until(&self, what: &str, enough: impl Fn(&Scrape) -> bool) -> Scrape {
        let start = Instant::now();
        loop {
            let scrape = self.scrape();
            if enough(&scrape) {
                return scrape;
            }
            assert!(start.elapsed() < PATIENCE, "never seen on /metrics: {what}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(mut self) -> (ExitStatus, Vec<String>) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "cannot signal the server");
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return (status, self.log());
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
