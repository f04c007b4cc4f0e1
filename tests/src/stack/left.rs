//! Processes that outlive who started them: written down, found again, ended.

use super::{Daemon, until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a server may take to end by itself; StreamHouse promises 14 s.
const GRACE: Duration = Duration::from_secs(20);

/// A file with a line for each process that was started.
#[derive(Clone, Debug)]
pub struct Left {
    path: PathBuf,
}

/// One process of the file.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// When it was started, in ticks since boot: with the id it names one process for good.
    born: u64,
}

impl Left {
    /// The file at `path`, which need not be there.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    /// Writes down `daemon`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add(&self, daemon: &Daemon) -> Result<(), String> {
        let pid = daemon.pid().unwrap_or_default();
        let line = json!({"name": daemon.name(), "pid": pid, "born": born(pid)});
        let before = std::fs::read_to_string(&self.path).unwrap_or_default();
        std::fs::write(&self.path, format!("{before}{line}\n"))
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// The processes written down, in the order of their start.
    pub fn all(&self) -> Vec<Process> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter_map(|line| {
                let pid = u32::try_from(line["pid"].as_u64()?).ok()?;
                let name = line["name"].as_str()?.to_owned();
                Some(Process { name, pid, born: line["born"].as_u64()? })
            })
            .collect()
    }

    /// Ends all of them, the latest first, and forgets them. Returns how many were running.
    ///
    /// # Errors
    /// A process that does not end, and a file that cannot be removed.
    pub fn end(&self) -> Result<usize, String> {
        let mut ended = 0;
        for process in self.all().iter().rev().filter(|process| process.is_running()) {
            ended += 1;
            process.signal("-TERM");
            if until(&process.name, GRACE, || (!process.is_running()).then_some(())).is_err() {
                process.signal("-KILL");
                until(&process.name, GRACE, || (!process.is_running()).then_some(()))?;
            }
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", self.path.display()))
            }
            _ => Ok(ended),
        }
    }
}

impl Process {
    /// Whether this very process still runs.
    pub fn is_running(&self) -> bool {
        born(self.pid) == Some(self.born)
    }

    fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let _ = kill.args([signal, &self.pid.to_string()]).stderr(Stdio::null()).status();
    }
}

/// When a running process was started; `None` if there is none, or only its exit status.
fn born(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    fields.nth(18)?.parse().ok().filter(|_| state != "Z" && state != "X")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_no_later_one_with_its_id() {
        let pid = std::process::id();
        let own = Process { name: "own".into(), pid, born: born(pid).expect("running") };
        assert!(own.is_running());
        assert!(!Process { born: own.born + 1, ..own }.is_running());
    }
}
