//! `streamhouse config`: the effective configuration.

use super::Environment;
use super::output::{Failure, Output, OutputFlag};
use super::server::ServerFlags;
use crate::config::{Config as Values, Loaded, Origin, SETTINGS, Setting};
use clap::Args;
use serde_json::{Value, json};

const EXAMPLE: &str = "Example:
  streamhouse config > streamhouse.toml
      writes every setting with its meaning, to be edited";

/// Prints the effective configuration as a configuration file; secrets are redacted
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(super) struct Config {
    #[command(flatten)]
    server: ServerFlags,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

impl Config {
    pub(super) fn run(self, environment: &Environment, output: &mut Output) -> Result<(), Failure> {
        let loaded = self.server.load(environment)?;
        let defaults = Values::default();
        let mut section = "";
        for (setting, origin) in SETTINGS.iter().zip(&loaded.origins) {
            let name = setting.key.split_once('.').map_or("", |(section, _)| section);
            if !output.is_json() && name != section {
                output.say(format!("[{name}]\n"), Value::Null)?;
            }
            section = name;
            let text = as_toml(setting, origin, &loaded, &defaults);
            output.say(text, as_json(setting, origin, &loaded, &defaults))?;
        }
        Ok(())
    }
}

fn as_toml(setting: &Setting, origin: &Origin, loaded: &Loaded, defaults: &Values) -> String {
    let name = setting.key.split_once('.').map_or(setting.key, |(_, name)| name);
    let value = setting.value(&loaded.config);
    let default = setting.value(defaults);
    let default = if default.is_empty() { "none".into() } else { default };
    let help = setting.help.trim();
    let (form, variable) = (setting.form, setting.variable());
    let line = toml::Value::from(value.as_str());
    // What is not set, or must not be shown, cannot be a line of a file that is read again.
    let comment = if value.is_empty() || setting.secret { "# " } else { "" };
    format!(
        "# {help}\n# {form}; default {default}; {variable}; set by {origin}\n\
         {comment}{name} = {line}\n"
    )
}

fn as_json(setting: &Setting, origin: &Origin, loaded: &Loaded, defaults: &Values) -> Value {
    json!({
        "key": setting.key,
        "value": setting.value(&loaded.config),
        "default": setting.value(defaults),
        "origin": origin.to_string(),
        "variable": setting.variable(),
        "form": setting.form,
        "help": setting.help.trim(),
        "secret": setting.secret,
    })
}
