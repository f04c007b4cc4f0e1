//! What can be wrong with a configuration or a start.

use crate::logging::FilterError;

/// A setting that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is `{value}`: {accepted}")]
pub struct ConfigError {
    /// The variable, or the one that stands for the field.
    pub variable: String,
    /// Its value; `<redacted>` where it may hold a secret.
    pub value: String,
    /// What is accepted instead, or what to do.
    pub accepted: String,
}

impl ConfigError {
    pub(crate) fn new(
        variable: impl Into<String>,
        value: impl Into<String>,
        accepted: impl Into<String>,
    ) -> Self {
        Self { variable: variable.into(), value: value.into(), accepted: accepted.into() }
    }
}

impl From<FilterError> for ConfigError {
    fn from(error: FilterError) -> Self {
        let accepted = format!("{}; write it like info,streamhouse=debug", error.reason);
        Self::new("RUST_LOG", error.filter, accepted)
    }
}

/// Why the pipeline did not start. A receiver that cannot be reached is no reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be meant: correct it.
    #[error("telemetry is misconfigured: {0}")]
    Config(#[from] ConfigError),
    /// A subscriber is installed already: join it with
    /// [`Observability::layers`](super::Observability::layers).
    #[error(
        "another tracing subscriber is installed already; join it with `Observability::layers`"
    )]
    SubscriberInstalled,
    /// The meter provider cannot be built.
    #[error(transparent)]
    Metrics(#[from] crate::exposition::MetricsError),
}
