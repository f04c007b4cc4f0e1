use crate::pipeline::{Config, Install, Observability, StartError};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

/// A whole pipeline that installs nothing for the process: add the layers to a subscriber of the
/// test's own.
/// # Errors
/// As [`Observability::layers`].
pub fn pipeline<S>(
    config: Config,
) -> Result<(Observability, impl Layer<S> + Send + Sync + use<S>), StartError>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    Observability::build(config, Install::Nowhere)
}
