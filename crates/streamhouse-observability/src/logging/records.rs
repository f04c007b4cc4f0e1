//! Events as OTLP records.

use crate::spans::{ScopeValue, with_scope};
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::LogRecord as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The bridge to the SDK. It formats fields with other people's code, which may panic.
pub(super) fn bridge(provider: &SdkLoggerProvider) -> Bridge {
    Bridge(OpenTelemetryTracingBridge::new(provider))
}

pub(super) struct Bridge(OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>);

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Bridge {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // The line's layer shows what panicked; the record is left out.
        let _ = catch_unwind(AssertUnwindSafe(|| self.0.on_event(event, context)));
    }
}

/// Adds what the lines show beside trace and span: `request_id`, `api`, `correlation_id`,
/// `client_id`, `topic` and `partition`, where they are known. Register it before the processor
/// that exports.
#[derive(Debug, Default)]
pub struct RecordIds;

impl LogProcessor for RecordIds {
    fn emit(&self, record: &mut SdkLogRecord, _scope: &InstrumentationScope) {
        // The bridge names an event after its file and line; a name must be stable or absent.
        if record.event_name().is_some_and(|name| name.starts_with("event ")) {
            record.set_event_name("");
        }
        with_scope(|scope| {
            scope.each(|name, value| match value {
                ScopeValue::Number(number) => record.add_attribute(name, number),
                ScopeValue::Text(text) => record.add_attribute(name, text.to_owned()),
                ScopeValue::Id(id) => record.add_attribute(name, id.to_string()),
            });
        });
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
