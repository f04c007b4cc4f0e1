use crate::declare::{Counter, FloatCounter, FloatGauge, Gauge, Label};
use crate::labels::{Component, CpuMode, DiskDirection, NetworkDirection};
use opentelemetry::StringValue;

/// The version of the build: a label with one value.
#[derive(Clone, Copy, Debug)]
pub struct Version;

impl Label for Version {
    const KEY: &'static str = "version";

    fn values() -> Option<Vec<&'static str>> {
        Some(vec![env!("CARGO_PKG_VERSION")])
    }

    fn value(&self) -> StringValue {
        env!("CARGO_PKG_VERSION").into()
    }

    fn overflow(&self) -> Self {
        *self
    }
}

crate::instruments! {
    /// The process, by the names of the semantic conventions.
    pub struct ProcessMetrics("process") {
        /// CPU time used.
        cpu_time: FloatCounter<CpuMode> = "s", name = "process.cpu.time";
        /// Resident memory.
        memory_usage: Gauge<()> = "By", name = "process.memory.usage";
        /// Virtual memory.
        memory_virtual: Gauge<()> = "By", name = "process.memory.virtual";
        /// Bytes that the process made the disk read and write.
        disk_io: Counter<DiskDirection> = "By", name = "process.disk.io";
        /// Bytes on the interfaces of the process' network namespace, loopback included.
        network_io: Counter<NetworkDirection> = "By", name = "system.network.io";
        /// Open file descriptors.
        file_descriptors: Gauge<()> = "{file_descriptor}", name = "process.unix.file_descriptor.count";
        /// Threads.
        threads: Gauge<()> = "{thread}", name = "process.thread.count";
        /// Time since the process started.
        uptime: FloatGauge<()> = "s", name = "process.uptime";
    }
}

crate::instruments! {
    /// The Tokio runtime that serves requests.
    pub struct RuntimeMetrics("tokio.runtime") {
        /// Worker threads.
        workers: Gauge<()> = "{worker}";
        /// Tasks alive.
        alive_tasks: Gauge<()> = "{task}";
        /// Tasks waiting in the runtime's global queue.
        global_queue: Gauge<()> = "{task}";
        /// Time that the workers were busy, all together.
        busy: FloatCounter<()> = "s";
    }
}

crate::instruments! {
    /// What runs, and whether it is well.
    pub struct ServiceMetrics("streamhouse") {
        /// Always 1: the label carries the version.
        build: Gauge<Version> = "{build}", name = "streamhouse.build.info";
        /// 1 while the component is well by its last verdicts, else 0.
        health: Gauge<Component> = "{status}", name = "streamhouse.health.status";
        /// Time since the component's last verdict.
        health_age: FloatGauge<Component> = "s", name = "streamhouse.health.age";
    }
}
