//! Logs: `tracing` events as lines on standard error and as OTLP records.
//!
//! [`build`] makes the lines' layer, the level control and the guard that flushes at the end;
//! [`Logging::records`] makes the layer of OTLP records, and [`RecordIds`] the processor that adds
//! the request's ids to them. Each layer has its own level filter: a global one would delete spans.
//!
//! Invariant: one event is one line, whatever is in it. Invariant: logging never waits for its
//! sink and never panics; every line that is not written is counted.

mod escape;
mod filter;
mod limit;
mod line;
mod panics;
mod queue;
mod records;
mod sink;

pub use filter::{FilterError, LogControl};
pub use panics::log_panics;
pub use queue::LogCells;
pub use records::RecordIds;
pub use sink::standard_error;

use limit::Limit;
use line::{Buffers, Look};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use queue::Queue;
use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// How long dropping the guard waits for the sink.
const ON_DROP: Duration = Duration::from_millis(500);

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people; with colours on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// What logging can be told.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Default: `Auto`. `STREAMHOUSE_LOG_FORMAT` (`auto`, `text`, `json`).
    pub format: Format,
    /// Levels by target, as in `info,streamhouse=debug`. Default: `info`. `RUST_LOG`.
    pub filter: String,
    /// `service.name` on JSON lines.
    pub service: String,
    /// `service.instance.id` on JSON lines.
    pub instance: String,
    /// Whether the sink is a terminal.
    pub terminal: bool,
    /// Lines a second; beyond it only the first of each kind in a second. Default: 1,000.
    pub lines_per_second: u32,
    /// Bytes that may wait for the sink. Default: 4 MiB.
    pub queue_bytes: usize,
}

impl LogConfig {
    /// The defaults, for a service and its instance.
    pub fn new(service: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            format: Format::Auto,
            filter: "info".into(),
            service: service.into(),
            instance: instance.into(),
            terminal: false,
            lines_per_second: 1_000,
            queue_bytes: 4 * 1024 * 1024,
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Correct the filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The system has no thread left; free some.
    #[error("the log writer's thread could not be started: {0}")]
    Thread(#[from] io::Error),
}

/// What [`build`] builds.
#[derive(Debug)]
pub struct Logging {
    look: Arc<Look>,
    limit: Arc<Limit>,
    queue: Arc<Queue>,
    /// Shows and changes the level.
    pub control: LogControl,
    /// Keep it to the end: it flushes.
    pub guard: LogGuard,
}

/// Sets up logging into `sink`, for example [`standard_error`].
/// # Errors
/// [`LogError::Filter`]: the filter cannot be read. [`LogError::Thread`]: no thread to be had.
pub fn build(
    config: &LogConfig,
    sink: Box<dyn Write + Send>,
    cells: LogCells,
) -> Result<Logging, LogError> {
    let control = LogControl::new(&config.filter)?;
    let text = match config.format {
        Format::Auto => config.terminal,
        Format::Text => true,
        Format::Json => false,
    };
    let look = match text {
        true => Look::Text(config.terminal),
        false => Look::json(&config.service, &config.instance),
    };
    let queue = Queue::start(config.queue_bytes, cells, look.clone(), sink)?;
    Ok(Logging {
        look: Arc::new(look),
        limit: Arc::new(Limit::new(config.lines_per_second)),
        queue: queue.clone(),
        control,
        guard: LogGuard(queue),
    })
}

impl Logging {
    /// The layer that writes lines.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let (look, limit, queue) = (self.look.clone(), self.limit.clone(), self.queue.clone());
        Lines { look, limit, queue }.with_filter(self.control.lines())
    }

    /// The layer that sends the same events to `provider`, which should have [`RecordIds`] as its
    /// first processor.
    pub fn records<S>(&self, provider: &SdkLoggerProvider) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        records::bridge(provider).with_filter(self.control.records())
    }
}

/// Flushes log lines when it is dropped, for at most half a second.
#[derive(Debug)]
pub struct LogGuard(Arc<Queue>);

impl LogGuard {
    /// Waits until all lines so far are written or counted as lost; false if `deadline` passes.
    pub fn flush(&self, deadline: Duration) -> bool {
        self.0.flush(deadline)
    }

    /// Ends logging: what is not written when `deadline` passes is lost, and counted. True if the
    /// sink took or refused everything in time. It blocks the calling thread and prints nothing.
    pub fn shutdown(&self, deadline: Duration) -> bool {
        self.0.close(deadline)
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.close(ON_DROP);
    }
}

thread_local! {
    static BUFFERS: RefCell<Option<Box<Buffers>>> = const { RefCell::new(None) };
}

/// Events as lines.
struct Lines {
    look: Arc<Look>,
    limit: Arc<Limit>,
    queue: Arc<Queue>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let now = SystemTime::now();
        if !self.limit.admits(event.metadata(), crate::clock::seconds(now)) {
            // A line about each of them would say more than the limit allows.
            self.queue.suppressed(limit::is_sdk(event.metadata()));
            return;
        }
        // Taken out while in use: formatting a field may log, too.
        let kept = BUFFERS.try_with(|kept| kept.try_borrow_mut().ok().and_then(|mut k| k.take()));
        let mut buffers = kept.ok().flatten().unwrap_or_default();
        buffers.write(&self.look, event, now);
        self.queue.push(&buffers.line);
        let _ = BUFFERS.try_with(|kept| kept.try_borrow_mut().map(|mut k| *k = Some(buffers)));
    }
}
