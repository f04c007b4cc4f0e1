//! From configuration to telemetry.

use super::error::StartError;
use crate::cli::Environment;
use crate::config::{ClientTelemetry, Config, Exposition, LogFormat, Value as _};
use streamhouse_kafka::{ClientTelemetryConfig, Pattern};
use streamhouse_observability::Observability;
use streamhouse_observability::exposition::Mode;
use streamhouse_observability::logging::Format;
use streamhouse_observability::pipeline;
use streamhouse_observability::relay::{Relay, RelayLimits};

/// The pipeline that `config` and the standard OTEL_ variables of `environment` ask for; the
/// variables go before.
///
/// # Errors
/// [`StartError::TelemetryConfig`]: names the variable or setting, its value and the fix.
pub fn pipeline(
    config: &Config,
    environment: &Environment,
) -> Result<pipeline::Config, StartError> {
    let mut defaults = pipeline::Config::new("streamhouse", env!("CARGO_PKG_VERSION"));
    defaults.metrics.exposition = match config.metrics.exposition {
        Exposition::Native => Mode::Native,
        Exposition::Bridge => Mode::Bridge,
    };
    defaults.log.filter = config.log.level.clone();
    defaults.log.format = match config.log.format {
        LogFormat::Auto => Format::Auto,
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let from_environment = |name: &str| {
        let mut variables = environment.variables.iter();
        let found = variables.find(|(found, _)| found == name).map(|(_, value)| value.reveal());
        found.filter(|value| !value.trim().is_empty()).map(str::to_owned)
    };
    // RUST_LOG has been weighed against our own variable and flag already.
    let is_settled = |name: &str| name == "RUST_LOG";
    let get = |name: &str| match is_settled(name) {
        true => None,
        false => from_environment(name).or_else(|| setting(config, name)),
    };
    pipeline::Config::from_env(defaults, get).map_err(|mut error| {
        let written = WRITTEN_AS.iter().find(|(name, _)| *name == error.variable);
        let variable = from_environment(&error.variable).filter(|_| !is_settled(&error.variable));
        if let (None, Some((_, key))) = (variable, written) {
            error.variable = (*key).to_owned();
        }
        error.into()
    })
}

/// What clients are asked for.
pub(super) fn of_clients(config: &ClientTelemetry) -> ClientTelemetryConfig {
    let patterns = |names: &[String]| names.iter().map(Pattern::new).collect();
    let prefix = |name: &String| name.trim_end_matches('*').to_owned();
    ClientTelemetryConfig {
        metrics: config.metrics.0.iter().map(prefix).collect(),
        interval: config.interval.0,
        client_ids: patterns(&config.client_ids.0),
        software: patterns(&config.software.0),
        max_push_bytes: config.max_push.as_usize(),
        max_series: config.max_series,
        max_instances: config.max_instances,
        new_instances_per_hour: config.new_instances_per_hour,
    }
}

/// Where clients' metrics go: where our own do, unless they are not wanted.
pub(super) fn relay(config: &ClientTelemetry, observability: &mut Observability) -> Option<Relay> {
    if config.enabled == Some(false) {
        return None;
    }
    let relay = observability.relay(RelayLimits::default());
    if config.enabled == Some(true) && relay.is_none() {
        tracing::warn!(
            "clients are not asked for metrics although client_telemetry.enabled is true: \
             metrics are not exported over OTLP; set otlp.endpoint"
        );
    }
    relay
}

/// Standard variables and the settings that stand in for them.
const WRITTEN_AS: &[(&str, &str)] = &[
    ("RUST_LOG", "log.level"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp.endpoint"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "otlp.protocol"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "otlp.headers"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "otlp.timeout"),
];

fn setting(config: &Config, variable: &str) -> Option<String> {
    let otlp = &config.otlp;
    match variable {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => otlp.endpoint.clone(),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(otlp.protocol.show()),
        "OTEL_EXPORTER_OTLP_HEADERS" => otlp.headers.as_ref().map(|h| h.reveal().to_owned()),
        "OTEL_EXPORTER_OTLP_TIMEOUT" => Some(otlp.timeout.as_millis().to_string()),
        _ => None,
    }
}
