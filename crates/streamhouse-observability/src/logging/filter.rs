//! The level filter of the log layers: changeable while the process runs, and theirs alone.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Filter};

/// A filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the log filter {filter:?} is not valid: {reason}; write it like info,streamhouse=debug")]
pub struct FilterError {
    /// What was given.
    pub filter: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Which events a log layer sees. It sees no span: one that nobody else asks for is disabled, and
/// costs nothing.
#[derive(Clone, Debug)]
pub(super) struct Levels(Arc<RwLock<EnvFilter>>);

impl Levels {
    fn replace(&self, filter: EnvFilter) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = filter;
    }

    fn read<T>(&self, read: impl FnOnce(&EnvFilter) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Filter<S> for Levels {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        metadata.is_event() && self.read(|filter| filter.enabled(metadata, context.clone()))
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.is_event() {
            true => self.read(|filter| Filter::<S>::callsite_enabled(filter, metadata)),
            false => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.read(EnvFilter::max_level_hint)
    }
}

/// Shows and changes the log level while the process runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogControl(Arc<Control>);

#[derive(Debug)]
struct Control {
    given: Mutex<String>,
    lines: Levels,
    records: Levels,
}

impl LogControl {
    pub(crate) fn new(filter: &str) -> Result<Self, FilterError> {
        let (lines, records) = parse(filter)?;
        Ok(Self(Arc::new(Control {
            given: Mutex::new(filter.to_owned()),
            lines: Levels(Arc::new(RwLock::new(lines))),
            records: Levels(Arc::new(RwLock::new(records))),
        })))
    }

    /// The filter in force, as it was given.
    pub fn get(&self) -> String {
        self.0.given.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `filter` in force, for lines and OTLP records alike: levels and targets as in
    /// `info,streamhouse=debug`.
    /// # Errors
    /// [`FilterError`]: it cannot be read; the old one stays in force.
    pub fn set(&self, filter: &str) -> Result<(), FilterError> {
        let (lines, records) = parse(filter)?;
        let mut given = self.0.given.lock().unwrap_or_else(PoisonError::into_inner);
        filter.clone_into(&mut given);
        self.0.lines.replace(lines);
        self.0.records.replace(records);
        drop(given);
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    pub(super) fn lines(&self) -> Levels {
        self.0.lines.clone()
    }

    pub(super) fn records(&self) -> Levels {
        self.0.records.clone()
    }
}

/// The filter of lines and that of OTLP records. The SDK's own messages are lines from WARN on,
/// unless the filter names them, and never records: a record about a failed export would be
/// exported.
fn parse(filter: &str) -> Result<(EnvFilter, EnvFilter), FilterError> {
    let build = |text: String| {
        EnvFilter::try_new(text)
            .map_err(|error| FilterError { filter: filter.to_owned(), reason: error.to_string() })
    };
    if filter.trim().is_empty() {
        return Err(FilterError { filter: filter.to_owned(), reason: "it is empty".to_owned() });
    }
    Ok((
        build(format!("opentelemetry=warn,{filter}"))?,
        build(format!("{filter},opentelemetry=off,opentelemetry_sdk=off,opentelemetry-otlp=off"))?,
    ))
}
