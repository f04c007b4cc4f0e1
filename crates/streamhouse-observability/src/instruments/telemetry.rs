use crate::declare::{Counter, Gauge, Histogram};
use crate::labels::{DropReason, LogDrop, ScrapeOutcome, Signal};

crate::instruments! {
    /// Telemetry about telemetry. For each signal
    /// `created = exported + rejected + failed + dropped + unsampled + pending` at any moment.
    pub struct TelemetryMetrics("streamhouse.telemetry") {
        /// Items made by the process while export is on.
        created: Counter<Signal> = "{item}";
        /// Items accepted by the peer.
        exported: Counter<Signal> = "{item}";
        /// Items that the peer received and refused.
        rejected: Counter<Signal> = "{item}";
        /// Items lost because an export failed for good.
        failed: Counter<Signal> = "{item}";
        /// Items that were never sent, by reason.
        dropped: Counter<(Signal, DropReason)> = "{item}";
        /// Items that sampling left out.
        unsampled: Counter<Signal> = "{item}";
        /// Items waiting for export.
        pending: Gauge<Signal> = "{item}";
        /// Items that may wait for export.
        capacity: Gauge<Signal> = "{item}";
        /// Time of a scrape of `/metrics`.
        scrape_duration: Histogram<ScrapeOutcome> = "s";
        /// Bytes of the last scrape's text, before compression.
        scrape_size: Gauge<()> = "By";
        /// Series on the last scrape.
        series: Gauge<()> = "{series}";
        /// Instruments that have reached their bound on series.
        series_at_limit: Gauge<()> = "{instrument}";
        /// Label sets that were folded into `<other>`.
        series_overflows: Counter<()> = "{series}";
        /// Instruments that the last scrape left out because another one has their name, and series
        /// left out because another one has their labels.
        name_conflicts: Gauge<()> = "{conflict}";
        /// Callbacks that panicked; their values are missing.
        callback_panics: Counter<()> = "{panic}";
        /// Log lines not written, by reason.
        log_lines_dropped: Counter<LogDrop> = "{line}";
        /// Requests traced afterwards because they failed or were slow.
        late_traces: Counter<()> = "{trace}";
        /// Requests that the cap on untrusted or late traces left out.
        capped_traces: Counter<()> = "{trace}";
    }
}
