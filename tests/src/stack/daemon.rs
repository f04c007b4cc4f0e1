//! A server as a child process: started, waited for, killed, started again.

use super::{PATIENCE, until};
use crate::http;
use crate::stack::plan::Plan;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running server, killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    binary: PathBuf,
    plan: Plan,
    folder: PathBuf,
    ready: (SocketAddr, &'static str),
    child: Option<Child>,
}

/// What a process has taken so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory, bytes.
    pub resident: u64,
    /// Processor time in user and kernel, seconds.
    pub cpu: f64,
}

impl Daemon {
    /// A server that is not started yet: `binary` in `folder`, ready when `ready` answers with 200.
    pub fn new(
        name: &'static str,
        binary: &Path,
        plan: Plan,
        folder: &Path,
        ready: (SocketAddr, &'static str),
    ) -> Self {
        let (binary, folder) = (binary.to_path_buf(), folder.to_path_buf());
        Self { name, binary, plan, folder, ready, child: None }
    }

    /// Starts it again with the same configuration, ports and data, and waits until it is ready.
    ///
    /// # Errors
    /// A server that ends or is not ready in time, with the end of its log.
    pub fn restart(&mut self) -> Result<(), String> {
        self.kill();
        self.spawn()?;
        self.wait()
    }

    /// Starts its process.
    ///
    /// # Errors
    /// A binary or a folder that cannot be used.
    pub fn spawn(&mut self) -> Result<(), String> {
        let log = std::fs::create_dir_all(&self.folder)
            .and_then(|()| File::options().create(true).append(true).open(self.log_path()))
            .and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_err(|error| format!("{}: log: {error}", self.name))?;
        let child = Command::new(&self.binary)
            .args(&self.plan.args)
            .env_clear()
            .envs(&self.plan.env)
            .current_dir(&self.folder)
            // A person's Ctrl-C is for whoever waits in the terminal, not for the servers.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|error| format!("{}: {}: {error}", self.name, self.binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// A server that ends or is not ready in time, with the end of its log.
    pub fn wait(&mut self) -> Result<(), String> {
        let (addr, path) = self.ready;
        let ready = until(&format!("{} to be ready", self.name), PATIENCE, || {
            if !self.is_running() {
                return Some(false);
            }
            http::get(addr, path).is_ok_and(|answer| answer.status == 200).then_some(true)
        });
        match ready {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("{} ended at once:\n{}", self.name, self.log_end())),
            Err(error) => Err(format!("{error}:\n{}", self.log_end())),
        }
    }

    /// Ends it at once, as a crash would; without effect when it is not running.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Leaves it running when this is dropped, and says its process id.
    pub fn leave(&mut self) -> Option<u32> {
        self.child.take().map(|child| child.id())
    }

    /// Its name in the compose file.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// All that it has written to standard output and error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// What it has taken so far; `None` when it does not run.
    pub fn usage(&self) -> Option<Usage> {
        usage(self.pid()?)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the process `pid` has taken so far, as `/proc` tells it.
pub fn usage(pid: u32) -> Option<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; fields are counted behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // Linux reports in hundredths of a second, whatever its own clock.
    Some(Usage { resident: kib * 1024, cpu: ticks as f64 / 100.0 })
}
