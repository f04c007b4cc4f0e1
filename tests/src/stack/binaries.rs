//! The built servers, and why some are not there.

use crate::compose::root;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where each server's binary is.
#[derive(Clone, Debug, Default)]
pub struct Binaries {
    found: BTreeMap<String, PathBuf>,
    missing: String,
    failed: bool,
}

impl Binaries {
    /// Builds what is not built yet with `tests/stack/build.sh`: minutes the first time, nothing
    /// later. Its progress goes to this process's standard error.
    ///
    /// # Errors
    /// A script that cannot be run at all.
    pub fn build() -> Result<Self, String> {
        let script = root().join("tests/stack/build.sh");
        let output = Command::new(&script)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("{}: {error}", script.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        let found = pairs.map(|(name, path)| (name.to_owned(), path.into())).collect();
        let (missing, failed) = match output.status.code() {
            Some(0) => (String::new(), false),
            Some(3) => ("cannot be built here; see above for what is missing".into(), false),
            _ => (format!("was not built: build.sh ended with {}, see above", output.status), true),
        };
        Ok(Self { found, missing, failed })
    }

    /// The binary called `name`.
    ///
    /// # Errors
    /// Why it is not there.
    pub fn get(&self, name: &str) -> Result<&Path, String> {
        self.found.get(name).map(PathBuf::as_path).ok_or_else(|| format!("{name} {}", self.missing))
    }

    /// Whether a build failed, which is worse than a machine without Go.
    pub fn has_failed(&self) -> bool {
        self.failed
    }
}
