//! Where data goes, and how a command fails.

use crate::app::StartError;
use crate::config::ConfigError;
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::{BufWriter, ErrorKind, Stdout, Write};
use std::time::{Duration, Instant};
use streamhouse_client::ClientError;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The command makes no sense as it was written.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server could not start or did not end well.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The client failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Something else failed; the text says what to do.
    #[error("{0}")]
    Failed(String),
    /// Whoever read standard output went away: nothing is left to do.
    #[error("nobody reads the output")]
    ReaderGone,
}

impl Failure {
    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) | Self::Start(StartError::TelemetryConfig(_)) => 2,
            _ => 1,
        }
    }
}

/// What a command's data looks like; flattened into the commands that have any.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct OutputFlag {
    /// What data on standard output looks like
    #[arg(long = "output", value_enum, default_value_t = Form::Text, value_name = "FORM")]
    form: Form,
}

impl OutputFlag {
    /// Whether JSON was asked for.
    pub(super) fn is_json(self) -> bool {
        self.form == Form::Json
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// Standard output: lines for people, or JSON objects.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    out: BufWriter<Stdout>,
    has_warned: bool,
    last_error: Option<Instant>,
}

/// How often it is told at most that something is tried again.
const SELDOM: Duration = Duration::from_secs(10);

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, out: BufWriter::new(std::io::stdout()), has_warned: false, last_error: None }
    }

    /// Whether JSON was asked for.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes one fact: `text` for people, or `json` as one line.
    pub(super) fn say(&mut self, text: impl AsRef<str>, json: Value) -> Result<(), Failure> {
        let written = if self.json {
            writeln!(self.out, "{json}")
        } else {
            writeln!(self.out, "{}", text.as_ref())
        };
        check(written)
    }

    /// Writes bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        check(self.out.write_all(bytes))
    }

    /// Writes one line to standard error, at the first call only: what is wrong with one record may be
    /// wrong with all of them.
    pub(super) fn warn_once(&mut self, text: impl FnOnce() -> String) {
        if !std::mem::replace(&mut self.has_warned, true) {
            warn(&text());
        }
    }

    /// Warns of `error`, after which the same is tried again: at most every ten seconds.
    pub(super) fn warn_of(&mut self, error: &ClientError) {
        if self.last_error.is_none_or(|at| at.elapsed() >= SELDOM) {
            self.last_error = Some(Instant::now());
            warn(&format!("{error}; trying again"));
        }
    }

    /// Hands everything written to whoever reads.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        check(self.out.flush())
    }
}

fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

fn check(written: std::io::Result<()>) -> Result<(), Failure> {
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::Failed(format!("cannot write to standard output: {error}")),
    })
}
