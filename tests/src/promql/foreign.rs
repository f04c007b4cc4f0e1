//! The metrics of others that queries and boards may ask for: what the registry says of ours.

use streamhouse_observability::declare::Kind;

/// A metric that somebody else records.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    /// Its name in Prometheus.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Its unit, as in a row of the registry.
    pub unit: &'static str,
    /// What it measures.
    pub help: &'static str,
    /// Its labels beside `job` and `instance`.
    pub labels: &'static [&'static str],
    /// What a board asks for: which of its series are about StreamHouse or its stack.
    pub selector: &'static str,
}

const fn collector(
    name: &'static str,
    (kind, unit): (Kind, &'static str),
    labels: &'static [&'static str],
    help: &'static str,
) -> Foreign {
    Foreign { name, kind, unit, help, labels, selector: "job=\"otelcol\"" }
}

const ITEMS: (Kind, &str) = (Kind::Counter, "{item}");
const QUEUE: (Kind, &str) = (Kind::Gauge, "{batch}");
const BY_EXPORTER: &[&str] = &["exporter"];
const BY_QUEUE: &[&str] = &["exporter", "data_type"];
const BY_RECEIVER: &[&str] = &["receiver", "transport"];

/// All of them. The collector's names are those of its `/metrics` as `otel-collector` configures it.
pub const FOREIGN: &[Foreign] = &[
    Foreign {
        name: "up",
        kind: Kind::Gauge,
        unit: "{status}",
        help: "1 while Prometheus can scrape the agent, else 0.",
        labels: &[],
        selector: "job=\"streamhouse-scrape\",instance=~\"$instance\"",
    },
    Foreign {
        name: "ALERTS",
        kind: Kind::Gauge,
        unit: "{alert}",
        help: "Alerts of StreamHouse that are firing.",
        labels: &["alertname", "alertstate", "severity", "operation"],
        selector: "alertstate=\"firing\",job=~\"streamhouse.*\"",
    },
    collector(
        "otelcol_receiver_accepted_spans_total",
        ITEMS,
        BY_RECEIVER,
        "Spans that it accepted.",
    ),
    collector(
        "otelcol_receiver_accepted_metric_points_total",
        ITEMS,
        BY_RECEIVER,
        "Metric points that it accepted.",
    ),
    collector(
        "otelcol_receiver_accepted_log_records_total",
        ITEMS,
        BY_RECEIVER,
        "Log records that it accepted.",
    ),
    collector("otelcol_receiver_refused_spans_total", ITEMS, BY_RECEIVER, "Spans that it refused."),
    collector(
        "otelcol_receiver_refused_metric_points_total",
        ITEMS,
        BY_RECEIVER,
        "Metric points that it refused.",
    ),
    collector(
        "otelcol_receiver_refused_log_records_total",
        ITEMS,
        BY_RECEIVER,
        "Log records that it refused.",
    ),
    collector("otelcol_exporter_sent_spans_total", ITEMS, BY_EXPORTER, "Spans that a store took."),
    collector(
        "otelcol_exporter_sent_metric_points_total",
        ITEMS,
        BY_EXPORTER,
        "Metric points that a store took.",
    ),
    collector(
        "otelcol_exporter_sent_log_records_total",
        ITEMS,
        BY_EXPORTER,
        "Log records that a store took.",
    ),
    collector(
        "otelcol_exporter_send_failed_spans_total",
        ITEMS,
        BY_EXPORTER,
        "Spans given up after the last attempt to send them.",
    ),
    collector(
        "otelcol_exporter_send_failed_metric_points_total",
        ITEMS,
        BY_EXPORTER,
        "Metric points given up after the last attempt to send them.",
    ),
    collector(
        "otelcol_exporter_send_failed_log_records_total",
        ITEMS,
        BY_EXPORTER,
        "Log records given up after the last attempt to send them.",
    ),
    collector(
        "otelcol_exporter_enqueue_failed_spans_total",
        ITEMS,
        BY_EXPORTER,
        "Spans given up because the queue was full.",
    ),
    collector(
        "otelcol_exporter_enqueue_failed_metric_points_total",
        ITEMS,
        BY_EXPORTER,
        "Metric points given up because the queue was full.",
    ),
    collector(
        "otelcol_exporter_enqueue_failed_log_records_total",
        ITEMS,
        BY_EXPORTER,
        "Log records given up because the queue was full.",
    ),
    collector("otelcol_exporter_queue_size", QUEUE, BY_QUEUE, "Batches waiting for a store."),
    collector("otelcol_exporter_queue_capacity", QUEUE, BY_QUEUE, "Batches that may wait."),
    collector(
        "otelcol_process_memory_rss_bytes",
        (Kind::Gauge, "By"),
        &[],
        "Resident memory of the collector.",
    ),
];

/// The metric of this name, if it is one of them.
pub fn foreign(name: &str) -> Option<&'static Foreign> {
    FOREIGN.iter().find(|metric| metric.name == name)
}
