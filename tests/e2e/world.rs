//! What the checks share: the binaries, one stack, one StreamHouse on it.

use crate::figures::Figures;
use std::path::Path;
use streamhouse_tests::process::Server;
use streamhouse_tests::stack::{Binaries, Stack};

/// The binary under test: `streamhouse`'s own `main`.
pub const STREAMHOUSE: &str = env!("CARGO_BIN_EXE_streamhouse-under-test");

/// Why a check did not pass.
#[derive(Debug)]
pub enum Outcome {
    /// It could not run here.
    Skipped(String),
    /// It ran, and what it proves does not hold.
    Failed(String),
}

impl From<String> for Outcome {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// What the checks share.
pub struct World {
    binaries: Binaries,
    server: Option<Server>,
    /// What the run has measured, for whoever reads its report.
    pub figures: Figures,
    /// How many lines the S3 server had logged when the running StreamHouse was started.
    seen_before: usize,
    stack: Option<Stack>,
    folder: tempfile::TempDir,
}

impl World {
    /// Builds the servers, if need be, and nothing else.
    pub fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        Ok(Self {
            binaries: Binaries::build()?,
            server: None,
            figures: Figures::default(),
            seen_before: 0,
            stack: None,
            folder,
        })
    }

    /// A built server or tool; without it the check is skipped, or failed if its build failed.
    pub fn binary(&self, name: &str) -> Result<&Path, Outcome> {
        self.binaries.get(name).map_err(|why| self.missing(why))
    }

    /// Whether every server of the stack is built.
    pub fn has_stack(&self) -> Result<(), Outcome> {
        Stack::binaries().try_for_each(|name| self.binary(name).map(|_| ()))
    }

    fn missing(&self, why: String) -> Outcome {
        if self.binaries.has_failed() { Outcome::Failed(why) } else { Outcome::Skipped(why) }
    }

    /// A folder of the checks' own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The stack, started by the first check that asks for it.
    pub fn stack(&mut self) -> Result<&mut Stack, Outcome> {
        if self.stack.is_none() {
            self.has_stack()?;
            let folder = self.folder.path().join("stack");
            self.stack = Some(Stack::start(&self.binaries, &folder)?);
        }
        Ok(self.stack.as_mut().expect("started above"))
    }

    /// StreamHouse on the stack, started by the first check that asks for it.
    pub fn streamhouse(&mut self) -> Result<&Server, Outcome> {
        if self.server.is_none() {
            return self.restart(&[]);
        }
        Ok(self.server.as_ref().expect("looked at above"))
    }

    /// StreamHouse, ended as a person would and started again with its data and these variables.
    pub fn restart(&mut self, variables: &[(&str, &str)]) -> Result<&Server, Outcome> {
        self.stop();
        // Of a request that goes well only a debug line tells.
        let mut launch =
            self.stack()?.streamhouse(STREAMHOUSE)?.env("RUST_LOG", "info,streamhouse_kafka=debug");
        for (key, value) in variables {
            launch = launch.env(key, value);
        }
        self.seen_before = self.seen()?.len();
        Ok(self.server.insert(launch.start()))
    }

    /// Ends StreamHouse as a person would.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// StreamHouse if it runs, and the stack.
    pub fn both(&mut self) -> Result<(&Server, &mut Stack), Outcome> {
        self.streamhouse()?;
        let stack = self.stack.as_mut().expect("StreamHouse is on it");
        Ok((self.server.as_ref().expect("started above"), stack))
    }

    /// The requests that the S3 server has logged since StreamHouse was started.
    pub fn requests_seen(&mut self) -> Result<Vec<String>, Outcome> {
        let mut lines = self.seen()?;
        Ok(lines.split_off(self.seen_before.min(lines.len())))
    }

    fn seen(&mut self) -> Result<Vec<String>, Outcome> {
        let log = self.stack()?.access_log();
        let text = std::fs::read_to_string(log).unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Notes what each process has taken until now.
    pub fn weigh(&mut self) {
        let mut taken = Vec::new();
        if let Some(server) = &self.server {
            taken.extend(streamhouse_tests::stack::usage(server.pid()).map(|u| ("streamhouse", u)));
        }
        for daemon in self.stack.iter_mut().flat_map(Stack::servers) {
            taken.extend(daemon.usage().map(|usage| (daemon.name(), usage)));
        }
        for (name, usage) in taken {
            let mib = usage.resident as f64 / f64::from(1 << 20);
            let told = format!("{mib:.0} MiB resident, {:.1} s of processor time", usage.cpu);
            self.figures.note(&format!("process {name}"), &told);
        }
    }

    /// Ends all processes.
    pub fn end(&mut self) {
        self.server = None;
        self.stack = None;
    }
}
