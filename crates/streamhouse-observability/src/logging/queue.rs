//! The way of a line out of the process: a bounded buffer and one thread, so that no caller ever
//! waits for the sink.

use super::line::{Buffers, Look};
use crate::declare::CounterCell;
use crate::instruments::TelemetryMetrics;
use crate::labels::LogDrop;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the writer lets lines gather once it has been woken.
const GATHER: Duration = Duration::from_millis(1);
/// How long the writer waits for more before it looks for losses to report and sleeps.
const QUIET: Duration = Duration::from_millis(1100);
/// The least time between two reports of losses.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long a sink that would block is left alone.
const BLOCKED: Duration = Duration::from_millis(10);
/// A buffer that a burst has grown beyond this is given back.
const KEEP: usize = 256 * 1024;

/// Where lost lines are counted.
#[derive(Clone, Debug)]
pub struct LogCells {
    pub(super) queue_full: CounterCell,
    pub(super) suppressed: CounterCell,
    pub(super) sink_failed: CounterCell,
}

impl LogCells {
    /// The cells of the table.
    pub fn new(metrics: &TelemetryMetrics) -> Self {
        let bind = |reason| metrics.log_lines_dropped.bind(&reason);
        Self {
            queue_full: bind(LogDrop::QueueFull),
            suppressed: bind(LogDrop::Suppressed),
            sink_failed: bind(LogDrop::SinkFailed),
        }
    }
}

/// Lines on their way.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    cells: LogCells,
    /// Suppressed lines that no line is to tell of.
    quiet: AtomicU64,
    state: Mutex<State>,
    wake: Condvar,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines.
    bytes: Vec<u8>,
    lines: u64,
    /// Lines that the writer has taken and not yet settled.
    taken: u64,
    asleep: bool,
    flushing: bool,
    closed: bool,
    /// The writer was given up while it was stuck: what it holds is counted as lost.
    abandoned: bool,
    ended: bool,
}

impl Queue {
    /// A queue of at most `capacity` bytes, and the thread that empties it into `sink`.
    pub(super) fn start(
        capacity: usize,
        cells: LogCells,
        look: Look,
        sink: Box<dyn Write + Send>,
    ) -> io::Result<Arc<Self>> {
        let (quiet, state, wake, idle) = Default::default();
        let queue = Arc::new(Self { capacity, cells, quiet, state, wake, idle });
        let mut writer = Writer {
            queue: queue.clone(),
            sink,
            look,
            notice: Buffers::default(),
            reported: queue.losses(),
            reported_at: None,
            torn: false,
            was_busy: false,
        };
        thread::Builder::new().name("log-writer".into()).spawn(move || writer.run())?;
        Ok(queue)
    }

    /// Takes `line`, which ends with a newline, or counts it as lost. Never waits for the sink.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.closed {
            self.cells.sink_failed.add(1);
            return;
        }
        let before = state.bytes.len();
        let after = before + line.len();
        if after > self.capacity {
            self.cells.queue_full.add(1);
            return;
        }
        state.bytes.extend_from_slice(line);
        state.lines += 1;
        let half = self.capacity / 2;
        let wake = std::mem::take(&mut state.asleep) || (before < half && after >= half);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Counts a line that the limit on lines left out; a `quiet` one is in the metric alone.
    pub(super) fn suppressed(&self, quiet: bool) {
        if quiet {
            self.quiet.fetch_add(1, Ordering::Relaxed);
        }
        self.cells.suppressed.add(1);
    }

    /// What lines are to tell of: for want of room, by the limit, by the sink.
    fn losses(&self) -> [u64; 3] {
        let LogCells { queue_full, suppressed, sink_failed } = &self.cells;
        let quiet = self.quiet.load(Ordering::Relaxed);
        [queue_full.get(), suppressed.get().saturating_sub(quiet), sink_failed.get()]
    }

    /// Waits until all lines so far are settled; false if `deadline` passes first.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        let mut state = self.lock();
        state.flushing = true;
        self.wake.notify_all();
        let settled = |state: &mut State| state.lines + state.taken > 0 && !state.ended;
        let (mut state, waited) = self
            .idle
            .wait_timeout_while(state, deadline, settled)
            .unwrap_or_else(PoisonError::into_inner);
        state.flushing = false;
        !waited.timed_out()
    }

    /// Takes no more lines and waits until those taken are settled. If `deadline` passes first,
    /// they count as lost, and the writer is left alone with its sink.
    pub(super) fn close(&self, deadline: Duration) -> bool {
        let mut state = self.lock();
        state.closed = true;
        self.wake.notify_all();
        let (mut state, _) = self
            .idle
            .wait_timeout_while(state, deadline, |state| !state.ended && !state.abandoned)
            .unwrap_or_else(PoisonError::into_inner);
        if !state.ended && !state.abandoned {
            state.abandoned = true;
            self.cells.sink_failed.add(state.lines + state.taken);
            (state.lines, state.taken, state.bytes) = (0, 0, Vec::new());
        }
        state.ended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread behind a queue.
struct Writer {
    queue: Arc<Queue>,
    sink: Box<dyn Write + Send>,
    look: Look,
    notice: Buffers,
    reported: [u64; 3],
    reported_at: Option<Instant>,
    /// The sink failed inside a line: the next one must begin on a line of its own.
    torn: bool,
    was_busy: bool,
}

impl Writer {
    fn run(&mut self) {
        let mut chunk = Vec::new();
        while self.take(&mut chunk) {
            self.was_busy = !chunk.is_empty();
            let lost = self.write(&chunk);
            chunk.clear();
            chunk.shrink_to(KEEP);
            if !self.settle(lost) {
                return;
            }
            self.report(REPORT_EVERY);
        }
        self.report(Duration::ZERO);
        self.queue.lock().ended = true;
        self.queue.idle.notify_all();
    }

    /// Waits for lines and moves them into `chunk`, which stays empty when it is time to look for
    /// losses. False at the end.
    fn take(&self, chunk: &mut Vec<u8>) -> bool {
        let queue = &*self.queue;
        let empty = |state: &mut State| {
            state.asleep = state.bytes.is_empty() && !state.closed;
            state.asleep
        };
        let state = queue.lock();
        let mut state = if self.was_busy {
            // Once more with a limit: losses have no line of their own that would wake us.
            let waited = queue.wake.wait_timeout_while(state, QUIET, empty);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else {
            queue.wake.wait_while(state, empty).unwrap_or_else(PoisonError::into_inner)
        };
        state.asleep = false;
        if state.bytes.is_empty() {
            return !state.closed;
        }
        let gathering = |state: &mut State| {
            !state.closed && !state.flushing && state.bytes.len() < queue.capacity / 2
        };
        let waited = queue.wake.wait_timeout_while(state, GATHER, gathering);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut state.bytes, chunk);
        state.taken = std::mem::take(&mut state.lines);
        true
    }

    /// Writes whole lines and answers how many were lost.
    fn write(&mut self, lines: &[u8]) -> u64 {
        let mut rest = lines;
        if self.torn && !rest.is_empty() && self.sink.write(b"\n").is_ok_and(|n| n == 1) {
            self.torn = false;
        }
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => break,
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(BLOCKED);
                    if self.queue.lock().abandoned {
                        return 0;
                    }
                }
                Err(_) => break,
            }
        }
        let written = lines.get(..lines.len() - rest.len()).unwrap_or_default();
        if written.last().is_some_and(|byte| *byte != b'\n') {
            self.torn = true;
        }
        rest.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// Counts what was lost; false if this writer was given up meanwhile.
    fn settle(&self, lost: u64) -> bool {
        let mut state = self.queue.lock();
        if state.abandoned {
            return false;
        }
        self.queue.cells.sink_failed.add(lost);
        state.taken = 0;
        drop(state);
        self.queue.idle.notify_all();
        true
    }

    /// Writes a line about lines lost since the last such line, if the sink takes it.
    fn report(&mut self, every: Duration) {
        let totals = self.queue.losses();
        let [queue_full, suppressed, sink_failed] =
            std::array::from_fn(|n| totals[n].saturating_sub(self.reported[n]));
        let lost = queue_full + suppressed + sink_failed;
        if lost == 0 || self.reported_at.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        let counts = [
            ("lines", lost),
            ("queue_full", queue_full),
            ("suppressed", suppressed),
            ("sink_failed", sink_failed),
        ];
        let mut notice = std::mem::take(&mut self.notice);
        notice.notice(&self.look, "log lines were dropped", &counts);
        if self.write(&notice.line) == 0 {
            self.reported = totals;
        }
        self.reported_at = Some(Instant::now());
        self.notice = notice;
    }
}
