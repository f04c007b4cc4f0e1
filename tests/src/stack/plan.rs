//! How a service of the compose file is started without a container: its own command, variables
//! and mounted files, with hosts, ports and folders replaced.

use super::Places;
use crate::compose::Compose;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What a process is started with.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Its arguments.
    pub args: Vec<String>,
    /// Its variables.
    pub env: BTreeMap<String, String>,
}

/// Prepares the folders of `service`, copies what it has mounted, and says how to start it.
/// Variables that the compose file asks for come from `given`.
///
/// # Errors
/// A service or variable that is not there, and files that cannot be copied.
pub fn prepare(
    compose: &Compose,
    places: &Places,
    service: &str,
    given: &BTreeMap<&str, String>,
) -> Result<Plan, String> {
    let mounts = compose.mounted(service)?;
    let mut inside: Vec<&str> = mounts.iter().map(|mount| mount.inside.as_str()).collect();
    inside.push("/run/secrets");
    let local = |text: &str| places.localise(service, &inside, text);
    for mount in &mounts {
        let place = places.path(service, &mount.inside);
        let done = match &mount.source {
            Some(source) => copy(source, &place, &local),
            None => std::fs::create_dir_all(&place),
        };
        done.map_err(|error| format!("{service}: {}: {error}", place.display()))?;
    }
    let secrets = places.path(service, "/run/secrets");
    for secret in compose.secrets(service)? {
        let value = given.get(secret.as_str());
        let value = value.ok_or_else(|| format!("{service}: no value for the secret {secret}"))?;
        std::fs::create_dir_all(&secrets)
            .and_then(|()| std::fs::write(secrets.join(&secret), value))
            .and_then(|()| {
                let private = std::fs::Permissions::from_mode(0o600);
                std::fs::set_permissions(secrets.join(&secret), private)
            })
            .map_err(|error| format!("{service}: secret {secret}: {error}"))?;
    }
    let args = compose.command(service)?.iter().map(|arg| local(arg)).collect();
    let mut env = BTreeMap::new();
    for (key, value) in compose.environment(service)? {
        env.insert(key, local(&interpolate(&value, given)?));
    }
    Ok(Plan { args, env })
}

/// The value of a variable as compose would give it: `${NAME:?…}` or `${NAME:-default}`.
fn interpolate(value: &str, given: &BTreeMap<&str, String>) -> Result<String, String> {
    let Some(inner) = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return Ok(value.to_owned());
    };
    let name = inner.split(':').next().unwrap_or_default();
    let default = inner.split_once(":-").map(|(_, default)| default.to_owned());
    given.get(name).cloned().or(default).ok_or_else(|| format!("no value for ${{{inner}}}"))
}

/// Copies a file, or a folder with all that is in it; texts are translated.
fn copy(from: &Path, to: &Path, local: &impl Fn(&str) -> String) -> std::io::Result<()> {
    if from.is_dir() {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()), local)?;
        }
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let bytes = std::fs::read(from)?;
    match String::from_utf8(bytes) {
        Ok(text) => std::fs::write(to, local(&text)),
        Err(other) => std::fs::write(to, other.into_bytes()),
    }
}
