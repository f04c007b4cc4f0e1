//! From defaults, file, variables and flags to one configuration.

use super::error::ConfigError;
use super::table::{Config, SETTINGS, Setting};
use std::path::{Path, PathBuf};

/// The file that is read when it exists and nobody names another.
pub const DEFAULT_FILE: &str = "streamhouse.toml";
/// Names the file to read.
pub const FILE_VARIABLE: &str = "STREAMHOUSE_CONFIG";

/// What the configuration is made of; each part goes before the ones above it.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if one is named; it must then exist.
    pub file: Option<PathBuf>,
    /// The folder in which [`DEFAULT_FILE`] is looked for.
    pub folder: PathBuf,
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// Flags: how it was written, the setting's key, its value.
    pub flags: Vec<(String, String, String)>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// This file.
    File(PathBuf),
    /// This variable.
    Variable(String),
    /// This flag.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A configuration, and where each of its values comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The origin of each setting, in the order of [`SETTINGS`].
    pub origins: Vec<Origin>,
}

impl Loaded {
    /// Reads all sources.
    ///
    /// # Errors
    /// Any [`ConfigError`]; it names file, variable or flag, the key, the value and the fix.
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let origins = vec![Origin::Default; SETTINGS.len()];
        let mut loaded = Self { config: Config::default(), origins };
        if let Some(file) = named_file(sources) {
            loaded.file(&file)?;
        }
        loaded.conventional_variables(&sources.variables)?;
        loaded.variables(&sources.variables)?;
        for (flag, key, value) in &sources.flags {
            loaded.set(Origin::Flag(flag.clone()), key, value)?;
        }
        Ok(loaded)
    }

    /// The origin of the setting `key`.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        let index = SETTINGS.iter().position(|setting| setting.key == key)?;
        self.origins.get(index)
    }

    fn file(&mut self, file: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Unreadable {
            file: file.to_owned(),
            reason: error.to_string(),
        })?;
        let table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
                file: file.to_owned(),
                line: line_of(&text, error.span().map_or(0, |span| span.start)),
                reason: error.message().replace('\n', " "),
            })?;
        self.table(file, "", &table)
    }

    fn table(&mut self, file: &Path, prefix: &str, table: &toml::Table) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            match value {
                toml::Value::Table(inner) if is_section(&key) => {
                    self.table(file, &format!("{key}."), inner)?;
                }
                toml::Value::String(text) => self.set(Origin::File(file.into()), &key, text)?,
                other => {
                    let set = self.set(Origin::File(file.into()), &key, &other.to_string());
                    set.map_err(|error| as_written(error, other))?;
                }
            }
        }
        Ok(())
    }

    /// Variables that other programs honour too; ours go before them.
    fn conventional_variables(
        &mut self,
        variables: &[(String, String)],
    ) -> Result<(), ConfigError> {
        let conventional = [
            ("RUST_LOG", "log.level"),
            ("AWS_REGION", "s3.region"),
            ("AWS_ENDPOINT_URL", "s3.endpoint"),
            ("AWS_ACCESS_KEY_ID", "s3.access_key_id"),
            ("AWS_SECRET_ACCESS_KEY", "s3.secret_access_key"),
            ("AWS_SESSION_TOKEN", "s3.session_token"),
        ];
        for (name, key) in conventional {
            let found = variables.iter().find(|(found, value)| found == name && !value.is_empty());
            if let Some((_, value)) = found {
                self.set(Origin::Variable(name.into()), key, value)?;
            }
        }
        Ok(())
    }

    fn variables(&mut self, variables: &[(String, String)]) -> Result<(), ConfigError> {
        let ours = variables.iter().filter(|(name, _)| name.starts_with("STREAMHOUSE_"));
        for (name, value) in ours {
            if name == FILE_VARIABLE || is_service_link(name) {
                continue;
            }
            let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == *name) else {
                let known: Vec<_> = SETTINGS.iter().map(Setting::variable).collect();
                let fix = suggestion(name, known.iter().map(String::as_str));
                let origin = "environment".into();
                return Err(ConfigError::UnknownKey { origin, key: name.clone(), fix });
            };
            self.set(Origin::Variable(name.clone()), setting.key, value)?;
        }
        Ok(())
    }

    fn set(&mut self, origin: Origin, key: &str, value: &str) -> Result<(), ConfigError> {
        let Some(index) = SETTINGS.iter().position(|setting| setting.key == key) else {
            let fix = suggestion(key, SETTINGS.iter().map(|setting| setting.key));
            return Err(ConfigError::UnknownKey {
                origin: origin.to_string(),
                key: key.into(),
                fix,
            });
        };
        let setting = &SETTINGS[index];
        (setting.set)(&mut self.config, value).map_err(|fix| ConfigError::Value {
            origin: origin.to_string(),
            key: key.into(),
            value: if setting.secret { "<redacted>".into() } else { format!("{value:?}") },
            fix,
        })?;
        self.origins[index] = origin;
        Ok(())
    }
}

/// `error` with the value as the file has it, and with the type that it should have had: the text of
/// a value that is no text is not what was written.
fn as_written(error: ConfigError, written: &toml::Value) -> ConfigError {
    match error {
        ConfigError::Value { origin, key, value, fix } => {
            let setting = SETTINGS.iter().find(|setting| setting.key == key);
            let form = setting.map_or("text", |setting| setting.form);
            let is_secret = setting.is_some_and(|setting| setting.secret);
            let value = if is_secret { value } else { written.to_string() };
            let quotes = if form.starts_with("number") || form == "true or false" {
                ""
            } else {
                " in quotes"
            };
            ConfigError::Value { origin, key, value, fix: format!("it is {form}{quotes}; {fix}") }
        }
        error => error,
    }
}

fn named_file(sources: &Sources) -> Option<PathBuf> {
    let variable = || {
        let mut variables = sources.variables.iter();
        variables.find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())
    };
    let default = || Some(sources.folder.join(DEFAULT_FILE)).filter(|file| file.exists());
    let named = sources.file.clone();
    named.or_else(|| variable().map(|(_, value)| value.into())).or_else(default)
}

fn is_section(key: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.key.strip_prefix(key).is_some_and(|r| r.starts_with('.')))
}

/// Whether Kubernetes puts a variable of this name into the pods beside a service that is called
/// `streamhouse`, or begins so: they are not meant for us.
fn is_service_link(name: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_")
}

fn line_of(text: &str, position: usize) -> usize {
    text.bytes().take(position).filter(|byte| *byte == b'\n').count() + 1
}

/// What to write instead of an unknown name: the known one that is closest to it.
fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let closest = known.map(|known| (distance(name, known), known)).min();
    match closest {
        Some((distance, known)) if distance <= 4 && distance * 2 < name.len() => {
            format!("did you mean {known:?}?")
        }
        _ => "`streamhouse config` lists all".into(),
    }
}

/// How many letters must be added, removed or changed to turn one name into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
