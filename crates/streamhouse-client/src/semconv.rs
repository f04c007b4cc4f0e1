//! The names of the OpenTelemetry semantic conventions for messaging, in this one place.
//!
//! Version 1.44.0, pages "Semantic conventions for Kafka" (<https://opentelemetry.io/docs/specs/semconv/messaging/kafka/>),
//! "Semantic conventions for messaging client metrics" (`messaging-metrics`) and "Semantic
//! conventions for messaging spans" (`messaging-spans`). Their status is *development*: a later
//! version may rename things, and is then taken over here, as a whole.
//!
//! Left out on purpose: `messaging.kafka.message.key`, because no signal carries a record's key;
//! `server.address`, because librdkafka does not say which broker took a record.

/// The version that the names below are from.
pub const VERSION: &str = "1.44.0";
/// What the scope of meters and tracers says about it.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Counter `{message}`: messages that a producer attempted to send, by outcome.
pub const SENT_MESSAGES: &str = "messaging.client.sent.messages";
/// Counter `{message}`: messages that were delivered to the application.
pub const CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";
/// Histogram `s`: how long operations of a producer or consumer took.
pub const OPERATION_DURATION: &str = "messaging.client.operation.duration";
/// Histogram `s`: how long processing took.
pub const PROCESS_DURATION: &str = "messaging.process.duration";

/// Bounds of the histograms, as the page of metrics advises.
pub const DURATION_BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Always [`KAFKA`].
pub const SYSTEM: &str = "messaging.system";
/// The value of [`SYSTEM`].
pub const KAFKA: &str = "kafka";
/// One of [`Operation`]'s names.
pub const OPERATION_NAME: &str = "messaging.operation.name";
/// One of [`Operation`]'s types; on spans only.
pub const OPERATION_TYPE: &str = "messaging.operation.type";
/// The topic.
pub const DESTINATION_NAME: &str = "messaging.destination.name";
/// The partition's number, as text; on spans only.
pub const DESTINATION_PARTITION_ID: &str = "messaging.destination.partition.id";
/// The consumer group.
pub const CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
/// What the client calls itself; on spans only.
pub const CLIENT_ID: &str = "messaging.client.id";
/// How many messages an operation on several was about; on spans only.
pub const BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
/// The offset of the one record that a span is about.
pub const KAFKA_OFFSET: &str = "messaging.kafka.offset";
/// True for a record without a value; absent otherwise.
pub const KAFKA_TOMBSTONE: &str = "messaging.kafka.message.tombstone";
/// The class of an error: a value of [`ErrorType`](crate::ErrorType).
pub const ERROR_TYPE: &str = "error.type";

/// The header of W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The header of W3C trace state.
pub const TRACESTATE: &str = "tracestate";

/// What a client does, by the conventions' names for Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A record is handed over for sending, until its delivery is known.
    Send,
    /// The application asks for records.
    Poll,
    /// The application works on a record.
    Process,
    /// Offsets are committed.
    Commit,
}

impl Operation {
    /// The value of [`OPERATION_NAME`], and the beginning of the span's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Poll => "poll",
            Self::Process => "process",
            Self::Commit => "commit",
        }
    }

    /// The value of [`OPERATION_TYPE`].
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Poll => "receive",
            Self::Process => "process",
            Self::Commit => "settle",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn no_other_file_spells_what_the_conventions_name() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut folders, mut files) = (vec![source], 0);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("src/semconv.rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    for name in ["\"messaging.", "\"error.type", "\"traceparent", "\"tracestate"] {
                        assert!(!text.contains(name), "{name} in {path:?}");
                    }
                    files += 1;
                }
            }
        }
        assert!(files > 15, "{files} files seen");
    }
}
