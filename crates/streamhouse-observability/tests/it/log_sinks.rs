use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use streamhouse_observability::instruments::TelemetryMetrics;
use streamhouse_observability::labels::LogDrop;
use streamhouse_observability::logging::{self, LogCells, LogConfig, Logging};
use streamhouse_observability::testing;
use tracing::info;
use tracing_subscriber::layer::SubscriberExt;

const DEADLINE: Duration = Duration::from_secs(30);

struct Sunk {
    logging: Logging,
    metrics: TelemetryMetrics,
}

impl Sunk {
    fn new(queue_bytes: usize, sink: impl Write + Send + 'static) -> Self {
        let metrics = TelemetryMetrics::declare(&testing::in_memory().0);
        let mut config = LogConfig::new("streamhouse", "one");
        config.lines_per_second = u32::MAX;
        config.queue_bytes = queue_bytes;
        let logging = logging::build(&config, Box::new(sink), LogCells::new(&metrics)).unwrap();
        Self { logging, metrics }
    }

    /// Logs `count` lines that are numbered.
    fn log(&self, count: u64) {
        let subscriber = tracing_subscriber::registry().with(self.logging.layer());
        tracing::subscriber::with_default(subscriber, || {
            (0..count).for_each(|n| info!(n, "a line"));
        });
    }

    fn dropped(&self, reason: LogDrop) -> u64 {
        self.metrics.log_lines_dropped.bind(&reason).get()
    }
}

/// A sink that takes only what it is given leave for.
struct Gated(Receiver<io::Result<usize>>, Arc<Mutex<Vec<u8>>>);

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Without anybody left to give leave, it takes everything.
        let n = self.0.recv().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
        self.1.lock().unwrap().extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Leave = Sender<io::Result<usize>>;

fn gated() -> (Gated, Leave, Arc<Mutex<Vec<u8>>>) {
    let (leave, gate) = channel();
    let written = Arc::<Mutex<Vec<u8>>>::default();
    (Gated(gate, written.clone()), leave, written)
}

fn lines(written: &Mutex<Vec<u8>>) -> Vec<String> {
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_pipe_that_nobody_reads_delays_nobody_and_its_losses_are_exact() {
    let (mut reader, writer) = io::pipe().unwrap();
    let sunk = Sunk::new(100_000, writer);
    let start = Instant::now();
    sunk.log(20_000);
    let took = start.elapsed();
    assert!(!sunk.logging.guard.flush(Duration::from_millis(10)), "the pipe is full");
    let full = sunk.dropped(LogDrop::QueueFull);
    assert!(full > 0);
    println!("20,000 lines into a full pipe: {took:?}");

    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    assert!(sunk.logging.guard.shutdown(DEADLINE));
    let Sunk { logging, metrics: _ } = sunk;
    drop(logging);
    let text = read.join().unwrap();
    let (notices, written): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| line.contains("log lines were dropped"));
    assert_eq!(written.len() as u64 + full, 20_000);
    let told: u64 = notices
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["fields"]["lines"].as_u64().unwrap())
        .sum();
    assert_eq!(told, full, "every loss is told once the pipe drains");
}

#[test]
fn a_sink_stuck_for_ever_does_not_hold_the_end_and_what_it_holds_counts_as_lost() {
    let (sink, leave, written) = gated();
    let sunk = Sunk::new(1 << 20, sink);
    sunk.log(100);
    let start = Instant::now();
    assert!(!sunk.logging.guard.shutdown(Duration::from_millis(50)));
    assert!(start.elapsed() < DEADLINE);
    assert_eq!(sunk.dropped(LogDrop::SinkFailed), 100);
    sunk.log(5);
    assert_eq!(sunk.dropped(LogDrop::SinkFailed), 105, "after the end nothing is written");
    drop(leave);
    drop(written);
}

#[test]
fn a_full_disk_loses_every_line_and_counts_each() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let sunk = Sunk::new(1 << 20, full);
    for _ in 0..10 {
        sunk.log(50);
        assert!(sunk.logging.guard.flush(DEADLINE));
    }
    assert_eq!(sunk.dropped(LogDrop::SinkFailed), 500);
    assert_eq!(sunk.dropped(LogDrop::QueueFull), 0);
}

#[test]
fn a_pipe_whose_reader_is_gone_loses_every_line_and_counts_each() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let sunk = Sunk::new(1 << 20, writer);
    sunk.log(100);
    assert!(sunk.logging.guard.flush(DEADLINE));
    assert_eq!(sunk.dropped(LogDrop::SinkFailed), 100);
}

#[test]
fn a_sink_that_fails_inside_a_line_and_recovers_tears_that_line_only() {
    let (sink, leave, written) = gated();
    let sunk = Sunk::new(1 << 20, sink);
    leave.send(Ok(10)).unwrap();
    leave.send(Err(io::ErrorKind::Interrupted.into())).unwrap();
    leave.send(Err(io::ErrorKind::WouldBlock.into())).unwrap();
    leave.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    sunk.log(1);
    assert!(!sunk.logging.guard.flush(Duration::ZERO) || sunk.dropped(LogDrop::SinkFailed) == 1);
    drop(leave);
    assert!(sunk.logging.guard.flush(DEADLINE));
    assert_eq!(sunk.dropped(LogDrop::SinkFailed), 1);
    sunk.log(3);
    assert!(sunk.logging.guard.shutdown(DEADLINE));
    let lines = lines(&written);
    let whole = lines.iter().filter(|line| line.contains("\"a line\"")).count();
    assert_eq!((lines[0].len(), whole), (10, 3), "{lines:?}");
    let notice = lines.iter().find(|line| line.contains("log lines were dropped")).unwrap();
    assert!(notice.contains("\"lines\":1,\"queue_full\":0,\"suppressed\":0,\"sink_failed\":1"));
}

#[test]
fn losses_are_told_even_if_no_line_follows() {
    let (sink, leave, written) = gated();
    let sunk = Sunk::new(1_000, sink);
    sunk.log(50);
    drop(leave);
    let start = Instant::now();
    while !lines(&written).iter().any(|line| line.contains("log lines were dropped")) {
        assert!(start.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
}
