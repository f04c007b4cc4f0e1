//! Labels of the telemetry about telemetry and of the process.

use crate::declare::ClosedLabel;

/// Which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Metric data points.
    Metrics,
}

impl ClosedLabel for Signal {
    const KEY: &'static str = "signal";
    const ALL: &'static [Self] = &[Self::Traces, Self::Logs, Self::Metrics];

    fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Why an item never left the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The exporter is slower than the source.
    QueueFull,
    /// Still waiting when the shutdown's deadline passed.
    Shutdown,
    /// Made after the shutdown.
    AfterShutdown,
}

impl ClosedLabel for DropReason {
    const KEY: &'static str = "reason";
    const ALL: &'static [Self] = &[Self::QueueFull, Self::Shutdown, Self::AfterShutdown];

    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Shutdown => "shutdown",
            Self::AfterShutdown => "after_shutdown",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// How a scrape of `/metrics` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScrapeOutcome {
    /// Answered.
    Ok,
    /// Refused: two gathers are running.
    Busy,
    /// Gathering failed.
    Error,
}

impl ClosedLabel for ScrapeOutcome {
    const KEY: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Ok, Self::Busy, Self::Error];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Busy => "busy",
            Self::Error => "error",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Where CPU time went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CpuMode {
    /// In the process.
    User,
    /// In the kernel.
    System,
}

impl ClosedLabel for CpuMode {
    const KEY: &'static str = "cpu.mode";
    const ALL: &'static [Self] = &[Self::User, Self::System];

    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskDirection {
    /// From disk.
    Read,
    /// To disk.
    Write,
}

impl ClosedLabel for DiskDirection {
    const KEY: &'static str = "disk.io.direction";
    const ALL: &'static [Self] = &[Self::Read, Self::Write];

    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkDirection {
    /// Received.
    Receive,
    /// Sent.
    Transmit,
}

impl ClosedLabel for NetworkDirection {
    const KEY: &'static str = "network.io.direction";
    const ALL: &'static [Self] = &[Self::Receive, Self::Transmit];

    fn as_str(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Transmit => "transmit",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Why a log line was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogDrop {
    /// The sink is slower than the source.
    QueueFull,
    /// Above the limit of lines per second.
    Suppressed,
    /// Writing to the sink failed.
    SinkFailed,
}

impl ClosedLabel for LogDrop {
    const KEY: &'static str = "reason";
    const ALL: &'static [Self] = &[Self::QueueFull, Self::Suppressed, Self::SinkFailed];

    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Suppressed => "suppressed",
            Self::SinkFailed => "sink_failed",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}
