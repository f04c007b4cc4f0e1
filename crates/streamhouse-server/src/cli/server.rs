//! The flags of what runs a server, and how flags become configuration.

use super::Environment;
use super::output::Failure;
use crate::config::{ConfigError, Loaded, Sources};
use clap::Args;
use std::path::PathBuf;

/// Flags that go before file and environment.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ServerFlags {
    /// Configuration file [default: streamhouse.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address that Kafka clients connect to; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    kafka_addr: Option<String>,
    /// Host and port that clients are told to connect to
    #[arg(long, value_name = "HOST:PORT")]
    advertised: Option<String>,
    /// Address of metrics and health; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    admin_addr: Option<String>,
    /// Folder of everything that is kept on this machine
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// local, file:///path, s3://bucket/prefix or memory:
    #[arg(long, value_name = "URL")]
    object_store: Option<String>,
    /// local or sqlite:///path
    #[arg(long, value_name = "URL")]
    metadata: Option<String>,
    /// Which log lines are written: error, warn, info, debug, or target=level,…
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// auto, text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Any setting; `streamhouse config` lists them
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ServerFlags {
    /// Defaults, file, variables and these flags, as one configuration.
    pub(super) fn load(&self, environment: &Environment) -> Result<Loaded, Failure> {
        let named = [
            ("--kafka-addr", "kafka.addr", &self.kafka_addr),
            ("--advertised", "kafka.advertised", &self.advertised),
            ("--admin-addr", "admin.addr", &self.admin_addr),
            ("--data-dir", "data_dir", &self.data_dir),
            ("--object-store", "object_store", &self.object_store),
            ("--metadata", "metadata", &self.metadata),
            ("--log-level", "log.level", &self.log_level),
            ("--log-format", "log.format", &self.log_format),
        ];
        let mut flags = Vec::new();
        for pair in &self.set {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::Usage(format!("--set {pair:?}: write --set key=value")))?;
            flags.push(("--set".to_owned(), key.trim().to_owned(), value.to_owned()));
        }
        for (flag, key, value) in named {
            if let Some(value) = value {
                flags.push((flag.to_owned(), key.to_owned(), value.clone()));
            }
        }
        Ok(load(environment, self.config.clone(), flags)?)
    }
}

/// Defaults, file and variables, for commands without the flags of a server.
pub(super) fn load(
    environment: &Environment,
    file: Option<PathBuf>,
    flags: Vec<(String, String, String)>,
) -> Result<Loaded, ConfigError> {
    let variables = environment.variables.iter();
    let variables = variables.map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    let folder = environment.folder.clone();
    Loaded::read(&Sources { file, folder, variables: variables.collect(), flags })
}
