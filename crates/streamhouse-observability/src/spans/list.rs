//! The closed list of spans. Names and attributes are constants here; `SPANS` describes them.
//!
//! Integer fields are `i64`: the layer formats a `u64` as text.

use super::{LINKS, forced, ids};
use crate::declare::ClosedLabel;
use crate::labels::{Api, MetadataOperation, Operation};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState};
use std::cell::Cell;
use tracing::field::Empty;
use tracing::{Span, info_span};

thread_local! {
    /// True while a request opens its span: only then are the spans of requests made.
    static OPENING: Cell<bool> = const { Cell::new(false) };
}

struct Opened;

impl Drop for Opened {
    fn drop(&mut self) {
        OPENING.set(false);
    }
}

/// Lets `span` make the span of a sampled request.
pub(super) fn in_request(span: impl FnOnce() -> Span) -> Span {
    let _opened = Opened;
    OPENING.set(true);
    span()
}

/// Whether the work at hand belongs to a sampled span.
fn sampled() -> bool {
    Context::map_current(|context| {
        context.has_active_span() && context.span().span_context().is_sampled()
    })
}

/// One row of the list.
#[derive(Clone, Copy, Debug)]
pub struct SpanRow {
    /// The span's name.
    pub name: &'static str,
    /// Its OpenTelemetry kind.
    pub kind: &'static str,
    /// What it covers.
    pub help: &'static str,
    /// The attributes it always has.
    pub attributes: &'static [&'static str],
}

/// Every span that StreamHouse makes.
pub const SPANS: &[SpanRow] = &[
    SpanRow {
        name: "produce_request",
        kind: "server",
        help: "A produce request, from arrival to answer",
        attributes: &[
            "messaging.system",
            "messaging.operation.name",
            "messaging.operation.type",
            "streamhouse.partitions",
            "streamhouse.bytes",
        ],
    },
    SpanRow {
        name: "consume_request",
        kind: "server",
        help: "A fetch request, from arrival to answer, long-poll wait included",
        attributes: &[
            "messaging.system",
            "messaging.operation.name",
            "messaging.operation.type",
            "streamhouse.partitions",
        ],
    },
    SpanRow {
        name: "group_request",
        kind: "server",
        help: "A request about a consumer group, from arrival to answer, the wait for other members \
               included",
        attributes: &["messaging.system", "messaging.operation.name"],
    },
    SpanRow {
        name: "partition_write",
        kind: "internal",
        help: "One partition's part of a produce request, until its records are durable",
        attributes: &[
            "messaging.system",
            "messaging.destination.name",
            "messaging.destination.partition.id",
            "messaging.batch.message_count",
            "streamhouse.bytes",
        ],
    },
    SpanRow {
        name: "segment_flush",
        kind: "internal",
        help: "A segment's way to durability: PUT and commit; a trace of its own, linked with \
               the sampled requests it serves",
        attributes: &["streamhouse.object", "streamhouse.bytes", "streamhouse.requests"],
    },
    SpanRow {
        name: "object_store",
        kind: "client",
        help: "One call to the object store; a retry is a call of its own",
        attributes: &["streamhouse.operation", "aws.s3.key"],
    },
    SpanRow {
        name: "metadata",
        kind: "client",
        help: "One operation of the metadata store",
        attributes: &["db.system.name", "db.operation.name"],
    },
    SpanRow {
        name: "http_request",
        kind: "server",
        help: "A request to the admin port",
        attributes: &["http.request.method", "http.route"],
    },
];

/// A produce request, from arrival to answer; disabled outside [`Request`](super::Request).
pub fn produce_request(partitions: i64, bytes: i64) -> Span {
    if !OPENING.get() {
        return Span::none();
    }
    info_span!(
        parent: None,
        "produce_request",
        otel.kind = "server",
        messaging.system = "kafka",
        messaging.operation.name = "produce",
        messaging.operation.r#type = "send",
        streamhouse.partitions = partitions,
        streamhouse.bytes = bytes,
    )
}

/// A fetch request, from arrival to answer; disabled outside [`Request`](super::Request).
pub fn consume_request(partitions: i64) -> Span {
    if !OPENING.get() {
        return Span::none();
    }
    info_span!(
        parent: None,
        "consume_request",
        otel.kind = "server",
        messaging.system = "kafka",
        messaging.operation.name = "fetch",
        messaging.operation.r#type = "receive",
        streamhouse.partitions = partitions,
    )
}

/// A request about a consumer group, from arrival to answer; disabled outside
/// [`Request`](super::Request).
pub fn group_request(api: Api) -> Span {
    if !OPENING.get() {
        return Span::none();
    }
    info_span!(
        parent: None,
        "group_request",
        otel.kind = "server",
        messaging.system = "kafka",
        messaging.operation.name = api.as_str(),
    )
}

/// A request to the admin port; disabled outside [`Request`](super::Request).
///
/// `route` is the pattern that matched, never the path. A method that the HTTP standards do not
/// know is shown as `_OTHER`.
pub fn http_request(method: &str, route: &'static str) -> Span {
    const METHODS: &[&str] =
        &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    if !OPENING.get() {
        return Span::none();
    }
    let method = METHODS.iter().find(|known| **known == method).unwrap_or(&"_OTHER");
    info_span!(
        parent: None,
        "http_request",
        otel.kind = "server",
        http.request.method = *method,
        http.route = route,
        http.response.status_code = Empty,
    )
}

/// One partition's part of a produce request; a disabled span where nothing is sampled.
pub fn partition_write(topic: &str, partition: i32, records: i64, bytes: i64) -> Span {
    if !sampled() {
        return Span::none();
    }
    info_span!(
        "partition_write",
        otel.kind = "internal",
        messaging.system = "kafka",
        messaging.destination.name = topic,
        messaging.destination.partition.id = itoa::Buffer::new().format(partition),
        messaging.batch.message_count = records,
        streamhouse.bytes = bytes,
    )
}

/// A segment's way to durability: PUT and commit. A trace of its own, linked with the sampled
/// `requests` that it serves, at most [`LINKS`] of them; a disabled span when there are none.
pub fn segment_flush(object: &str, bytes: i64, requests: &[SpanContext]) -> Span {
    let links = || requests.iter().filter(|one| one.is_sampled() && one.is_valid());
    if links().next().is_none() {
        return Span::none();
    }
    let span = info_span!(
        parent: None,
        "segment_flush",
        otel.kind = "internal",
        streamhouse.object = object,
        streamhouse.bytes = bytes,
        streamhouse.requests = requests.len() as i64,
    );
    let (trace, id) = ids::root();
    let own = SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE);
    forced::start(&span, &own, None, None, links().take(LINKS));
    span
}

/// One call to the object store; a disabled span where nothing is sampled.
pub fn object_store(operation: Operation, object: &str) -> Span {
    if !sampled() {
        return Span::none();
    }
    info_span!(
        "object_store",
        otel.kind = "client",
        streamhouse.operation = operation.as_str(),
        aws.s3.key = object,
    )
}

/// One operation of the metadata store, which is a `system` by the names of the semantic
/// conventions (`sqlite`, `postgresql`); a disabled span where nothing is sampled.
pub fn metadata(system: &'static str, operation: MetadataOperation) -> Span {
    if !sampled() {
        return Span::none();
    }
    info_span!(
        "metadata",
        otel.kind = "client",
        db.system.name = system,
        db.operation.name = operation.as_str(),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The lint that bans the macros of spans elsewhere can be lifted for a whole crate only.
    #[test]
    fn no_other_file_of_this_crate_makes_spans() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut folders, mut files) = (vec![source], 0);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("spans/list.rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    for made in ["span!(", "[instrument", "tracing::instrument"] {
                        assert!(!text.contains(made), "{made} in {path:?}");
                    }
                    files += 1;
                }
            }
        }
        assert!(files > 20, "{files} files seen");
    }
}
