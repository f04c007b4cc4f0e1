//! The process' metrics, sampled from procfs.

use super::procfs;
use crate::declare::{CounterCell, FloatCounterCell, FloatGaugeCell, GaugeCell};
use crate::instruments::ProcessMetrics;
use crate::labels::{CpuMode, DiskDirection, NetworkDirection};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A value and its handle, which is bound when the system first tells the value.
struct Told<C> {
    cell: Option<C>,
    bind: Box<dyn Fn() -> C + Send>,
}

impl<C> Told<C> {
    fn new(bind: impl Fn() -> C + Send + 'static) -> Self {
        Self { cell: None, bind: Box::new(bind) }
    }

    /// Records `value` with `record`, if there is one.
    fn tell<V>(&mut self, value: Option<V>, record: impl FnOnce(&C, V)) {
        if let Some(value) = value {
            record(self.cell.get_or_insert_with(&self.bind), value);
        }
    }
}

/// The process' metrics.
pub(super) struct Process {
    root: PathBuf,
    begun: Instant,
    /// How long the process had run at `begun`, in seconds.
    before: f64,
    user: Told<FloatCounterCell>,
    system: Told<FloatCounterCell>,
    resident: Told<GaugeCell>,
    virtual_: Told<GaugeCell>,
    threads: Told<GaugeCell>,
    read: Told<CounterCell>,
    written: Told<CounterCell>,
    received: Told<CounterCell>,
    sent: Told<CounterCell>,
    descriptors: Told<GaugeCell>,
    uptime: FloatGaugeCell,
}

impl Process {
    /// Of the process whose procfs is mounted at `root`.
    pub(super) fn new(root: PathBuf, metrics: &ProcessMetrics) -> Self {
        let m = metrics.clone();
        let before = age(&root).unwrap_or(0.0);
        let cpu = |mode| {
            let family = m.cpu_time.clone();
            Told::new(move || family.bind(&mode))
        };
        let disk = |direction| {
            let family = m.disk_io.clone();
            Told::new(move || family.bind(&direction))
        };
        let network = |direction| {
            let family = m.network_io.clone();
            Told::new(move || family.bind(&direction))
        };
        Self {
            root,
            begun: Instant::now(),
            before,
            user: cpu(CpuMode::User),
            system: cpu(CpuMode::System),
            read: disk(DiskDirection::Read),
            written: disk(DiskDirection::Write),
            received: network(NetworkDirection::Receive),
            sent: network(NetworkDirection::Transmit),
            resident: Told::new(move || m.memory_usage.bind(&())),
            virtual_: Told::new(move || m.memory_virtual.bind(&())),
            threads: Told::new(move || m.threads.bind(&())),
            descriptors: Told::new(move || m.file_descriptors.bind(&())),
            uptime: metrics.uptime.bind(&()),
        }
    }

    /// Brings every value up to date that the system tells.
    pub(super) fn sample(&mut self) {
        self.uptime.set(self.before + self.begun.elapsed().as_secs_f64());

        let stat = self.text("self/stat").as_deref().and_then(procfs::stat);
        self.user.tell(stat, |cell, stat| cell.advance_to(stat.user));
        self.system.tell(stat, |cell, stat| cell.advance_to(stat.system));

        let status = self.text("self/status").unwrap_or_default();
        let gauge = |key| procfs::value(&status, key).and_then(|value| i64::try_from(value).ok());
        self.resident.tell(gauge("VmRSS"), GaugeCell::set);
        self.virtual_.tell(gauge("VmSize"), GaugeCell::set);
        self.threads.tell(gauge("Threads"), GaugeCell::set);

        let io = self.text("self/io").unwrap_or_default();
        self.read.tell(procfs::value(&io, "read_bytes"), CounterCell::advance_to);
        self.written.tell(procfs::value(&io, "write_bytes"), CounterCell::advance_to);

        let network = self.text("self/net/dev").as_deref().and_then(procfs::network);
        self.received.tell(network.map(|bytes| bytes.0), CounterCell::advance_to);
        self.sent.tell(network.map(|bytes| bytes.1), CounterCell::advance_to);

        let descriptors = descriptors(&self.root.join("self/fd"));
        self.descriptors.tell(descriptors, GaugeCell::set);
    }

    fn text(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(name)).ok()
    }
}

/// How long the process has run, in seconds.
fn age(root: &Path) -> Option<f64> {
    let system = std::fs::read_to_string(root.join("uptime")).ok()?;
    let process = std::fs::read_to_string(root.join("self/stat")).ok()?;
    let age = procfs::uptime(&system)? - procfs::stat(&process)?.started;
    Some(age.max(0.0))
}

/// How many descriptors are open. Since Linux 6.2 the directory's size says it; older kernels, whose
/// size is 0, make us count.
fn descriptors(directory: &Path) -> Option<i64> {
    let size = std::fs::metadata(directory).ok()?.len();
    if size > 0 && directory.starts_with("/proc") {
        return i64::try_from(size).ok();
    }
    i64::try_from(std::fs::read_dir(directory).ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn sampled(root: &Path) -> testing::Seen {
        let (declare, seen) = testing::in_memory();
        let metrics = ProcessMetrics::declare(&declare);
        let mut process = Process::new(root.into(), &metrics);
        process.sample();
        // Kept for ever: its gauges end with it.
        std::mem::forget(process);
        seen
    }

    const NAMES: [&str; 8] = [
        "process.cpu.time",
        "process.memory.usage",
        "process.memory.virtual",
        "process.disk.io",
        "system.network.io",
        "process.unix.file_descriptor.count",
        "process.thread.count",
        "process.uptime",
    ];

    #[test]
    fn without_procfs_values_are_absent_and_not_zero() {
        let empty = tempfile::tempdir().unwrap();
        let seen = sampled(empty.path());
        for name in NAMES {
            let expected = usize::from(name == "process.uptime");
            assert_eq!(seen.series(name).len(), expected, "{name}");
        }
    }

    #[test]
    fn odd_contents_leave_the_other_values_alone() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("self");
        std::fs::create_dir_all(own.join("fd")).unwrap();
        std::fs::write(own.join("fd/0"), "").unwrap();
        std::fs::write(own.join("stat"), "what").unwrap();
        std::fs::write(own.join("io"), [0xff, 0xfe]).unwrap();
        std::fs::write(own.join("status"), "VmRSS:\t 4 kB\nThreads:\tmany\n").unwrap();
        let seen = sampled(root.path());
        assert_eq!(seen.value("process.memory.usage", &[]), Some(4096.0));
        assert_eq!(seen.value("process.unix.file_descriptor.count", &[]), Some(1.0));
        for absent in ["process.cpu.time", "process.disk.io", "process.thread.count"] {
            assert_eq!(seen.value(absent, &[]), None, "{absent}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_own_process_is_seen_whole() {
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let seen = sampled(Path::new("/proc"));
        drop(file);
        let value = |name| seen.value(name, &[]).unwrap();
        assert!(value("process.memory.usage") > 100_000.0);
        assert!(value("process.memory.virtual") >= value("process.memory.usage"));
        assert!(value("process.thread.count") >= 1.0);
        let open = value("process.unix.file_descriptor.count");
        assert!((4.0..10_000.0).contains(&open), "{open}");
        let uptime = value("process.uptime");
        assert!((0.0..86_400.0).contains(&uptime), "{uptime}");
        assert!(value("process.cpu.time") < 86_400.0);
        assert_eq!(seen.series("process.cpu.time").len(), 2);
        assert_eq!(seen.series("process.disk.io").len(), 2);
        assert_eq!(seen.series("system.network.io").len(), 2);
    }
}
