//! What can be said about the compose stack without an engine: each check returns what is wrong,
//! in sentences that name the place and what to do.
//!
//! To add a service: its limits and hardening are the anchors at the top of the file; an image of
//! a new family needs a line in [`service`].

mod collector; // a collector configuration by itself
mod endpoints; // who listens where, and who is asked
mod service; //   each service by itself

pub use collector::check as collector;
pub use endpoints::{check as endpoints, open_ports};
pub use service::{bases, hardening, health, images, mounts, passwords, ports};

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A compose file and the folder that its paths start from.
#[derive(Clone, Debug)]
pub struct Compose {
    root: PathBuf,
    model: Value,
}

/// Something mounted into a service.
#[derive(Clone, Debug)]
pub struct Mount {
    /// The file or folder of the repository; `None` for a volume.
    pub source: Option<PathBuf>,
    /// Where it appears.
    pub inside: String,
}

/// The repository's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent").to_path_buf()
}

impl Compose {
    /// The stack that is shipped.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and a file that cannot be read.
    pub fn shipped() -> Result<Self, String> {
        let root = root();
        let text = read(&root.join("docker-compose.yml"))?;
        Self::parse(&root, &text)
    }

    /// Takes `text` for a compose file in `root`; anchors and merges are resolved.
    ///
    /// # Errors
    /// Text that is not YAML, or has no services.
    pub fn parse(root: &Path, text: &str) -> Result<Self, String> {
        let model = yaml(text).map_err(|error| format!("docker-compose.yml: {error}"))?;
        if !model["services"].is_object() {
            return Err("docker-compose.yml has no services".into());
        }
        Ok(Self { root: root.to_path_buf(), model })
    }

    /// What is mounted into `service`.
    ///
    /// # Errors
    /// A service that is not there.
    pub fn mounted(&self, service: &str) -> Result<Vec<Mount>, String> {
        let mounts = self.mounts(self.service(service)?).into_iter();
        Ok(mounts
            .map(|(source, inside)| Mount {
                source: source.strip_prefix("./").map(|path| self.root.join(path)),
                inside: inside.to_owned(),
            })
            .collect())
    }

    /// The arguments of `service`.
    ///
    /// # Errors
    /// A service that is not there.
    pub fn command(&self, service: &str) -> Result<Vec<String>, String> {
        Ok(list(&self.service(service)?["command"]).filter_map(text).collect())
    }

    /// The variables of `service`, as they are written.
    ///
    /// # Errors
    /// A service that is not there.
    pub fn environment(&self, service: &str) -> Result<BTreeMap<String, String>, String> {
        let all = self.service(service)?["environment"].as_object().into_iter().flatten();
        Ok(all.filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect())
    }

    /// The names of the secrets of `service`.
    ///
    /// # Errors
    /// A service that is not there.
    pub fn secrets(&self, service: &str) -> Result<Vec<String>, String> {
        Ok(list(&self.service(service)?["secrets"]).filter_map(text).collect())
    }

    fn service(&self, name: &str) -> Result<&Value, String> {
        let found = self.model["services"].get(name);
        found.ok_or_else(|| format!("docker-compose.yml has no service {name}"))
    }

    fn services(&self) -> impl Iterator<Item = (&str, &Value)> {
        let services = self.model["services"].as_object().into_iter().flat_map(Map::iter);
        services.map(|(name, service)| (name.as_str(), service))
    }

    /// The mounts of a service: what is on this machine, and where it appears.
    fn mounts<'a>(&self, service: &'a Value) -> Vec<(&'a str, &'a str)> {
        let short = |mount: &'a Value| {
            let mut parts = mount.as_str()?.split(':');
            Some((parts.next()?, parts.next()?))
        };
        let long = |mount: &'a Value| Some((mount["source"].as_str()?, mount["target"].as_str()?));
        list(&service["volumes"]).filter_map(|mount| short(mount).or_else(|| long(mount))).collect()
    }

    /// The YAML files that a service has mounted: path from the root, and content.
    fn configs(&self, service: &Value) -> Vec<(String, Result<Value, String>)> {
        let mut found = Vec::new();
        for (source, _) in self.mounts(service) {
            if let Some(path) = source.strip_prefix("./") {
                collect(&self.root, Path::new(path), &mut found);
            }
        }
        found
    }
}

/// Folders inside mounted ones that no service reads.
const NO_CONFIG: [&str; 4] = ["tests", "src", "preview", "node_modules"];

fn collect(root: &Path, path: &Path, found: &mut Vec<(String, Result<Value, String>)>) {
    let whole = root.join(path);
    if let Ok(entries) = std::fs::read_dir(&whole) {
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names.iter().filter(|name| !NO_CONFIG.iter().any(|no| *name == *no)) {
            collect(root, &path.join(name), found);
        }
    } else if path.extension().is_some_and(|end| end == "yml" || end == "yaml") {
        found.push((path.display().to_string(), read(&whole).and_then(|text| yaml(&text))));
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Parses YAML with anchors and merge keys resolved.
///
/// # Errors
/// Text that is not YAML, or has keys that are no strings.
pub fn yaml(text: &str) -> Result<Value, String> {
    let mut value: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    value.apply_merge().map_err(|error| error.to_string())?;
    serde_json::to_value(value).map_err(|error| error.to_string())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A scalar as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
