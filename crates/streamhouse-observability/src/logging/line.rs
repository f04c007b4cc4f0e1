//! An event as a line: JSON for machines, text for people.

use super::escape::{Escape, Style, escape};
use crate::clock;
use crate::spans::{ScopeValue, with_scope};
use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceContextExt, TraceId};
use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// A longer value is cut.
const VALUE_LIMIT: usize = 8 * 1024;
/// All values of one line together.
const LINE_LIMIT: usize = 64 * 1024;
/// How many causes of an error are shown.
const CAUSES: usize = 16;

/// How lines look.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// One JSON object; the bytes are the end that all lines share, from the comma to the brace.
    Json(Box<[u8]>),
    /// For people; with colours if true.
    Text(bool),
}

impl Look {
    /// JSON lines that name the service and its instance.
    pub(super) fn json(service: &str, instance: &str) -> Self {
        let mut end = Vec::new();
        for (key, value) in [("service.name", service), ("service.instance.id", instance)] {
            json_string(&mut end, key, value);
        }
        end.extend_from_slice(b"}\n");
        Self::Json(end.into())
    }
}

/// Buffers that a thread keeps between its lines.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) line: Vec<u8>,
    message: Vec<u8>,
    fields: Vec<u8>,
}

impl Buffers {
    /// Makes `line` the line of `event`.
    pub(super) fn write(&mut self, look: &Look, event: &Event<'_>, now: SystemTime) {
        self.line.clear();
        self.message.clear();
        self.fields.clear();
        let json = matches!(look, Look::Json(_));
        let mut visitor = Visitor {
            json,
            message: &mut self.message,
            fields: &mut self.fields,
            left: LINE_LIMIT,
        };
        event.record(&mut visitor);
        let metadata = event.metadata();
        self.finish(look, now, *metadata.level(), metadata.target());
    }

    /// Makes `line` a line that no event stands behind.
    pub(super) fn notice(&mut self, look: &Look, message: &str, counts: &[(&str, u64)]) {
        self.line.clear();
        self.message.clear();
        self.fields.clear();
        let json = matches!(look, Look::Json(_));
        self.message.extend_from_slice(message.as_bytes());
        for (name, count) in counts {
            write_name(&mut self.fields, json, name);
            self.fields.extend_from_slice(itoa::Buffer::new().format(*count).as_bytes());
        }
        self.finish(look, SystemTime::now(), Level::WARN, "streamhouse_observability::logging");
    }

    fn finish(&mut self, look: &Look, now: SystemTime, level: Level, target: &str) {
        match look {
            Look::Json(end) => self.finish_json(end, now, level, target),
            Look::Text(colours) => self.finish_text(*colours, now, level, target),
        }
    }

    fn finish_json(&mut self, end: &[u8], now: SystemTime, level: Level, target: &str) {
        let line = &mut self.line;
        line.extend_from_slice(b"{\"timestamp\":\"");
        clock::write(line, now);
        line.extend_from_slice(b"\",\"level\":\"");
        line.extend_from_slice(level.as_str().as_bytes());
        line.extend_from_slice(b"\",\"target\":\"");
        escape(line, target, Style::Json);
        line.extend_from_slice(b"\",\"message\":\"");
        line.extend_from_slice(&self.message);
        line.extend_from_slice(b"\",\"fields\":{");
        line.extend_from_slice(&self.fields);
        line.push(b'}');
        with_ids(|trace, span| {
            line.extend_from_slice(b",\"trace_id\":\"");
            hex(line, &trace.to_bytes());
            line.extend_from_slice(b"\",\"span_id\":\"");
            hex(line, &span.to_bytes());
            line.push(b'"');
        });
        with_scope(|scope| {
            scope.each(|name, value| {
                line.extend_from_slice(b",\"");
                line.extend_from_slice(name.as_bytes());
                line.extend_from_slice(b"\":");
                match value {
                    ScopeValue::Number(number) => write_number(line, number),
                    ScopeValue::Text(text) => {
                        line.push(b'"');
                        escape(line, text, Style::Json);
                        line.push(b'"');
                    }
                    ScopeValue::Id(id) => {
                        line.push(b'"');
                        hex(line, &id.to_bytes());
                        line.push(b'"');
                    }
                }
            });
        });
        line.extend_from_slice(end);
    }

    fn finish_text(&mut self, colours: bool, now: SystemTime, level: Level, target: &str) {
        let line = &mut self.line;
        let paint = |line: &mut Vec<u8>, colour: &str| {
            if colours {
                line.extend_from_slice(colour.as_bytes());
            }
        };
        paint(line, "\x1b[2m");
        clock::write(line, now);
        paint(line, "\x1b[0m");
        line.push(b' ');
        let (colour, name) = match level {
            Level::ERROR => ("\x1b[31m", "ERROR"),
            Level::WARN => ("\x1b[33m", " WARN"),
            Level::INFO => ("\x1b[32m", " INFO"),
            Level::DEBUG => ("\x1b[34m", "DEBUG"),
            Level::TRACE => ("\x1b[35m", "TRACE"),
        };
        paint(line, colour);
        line.extend_from_slice(name.as_bytes());
        paint(line, "\x1b[0;2m");
        line.push(b' ');
        escape(line, target, Style::Bare);
        line.push(b':');
        paint(line, "\x1b[0m");
        line.push(b' ');
        line.extend_from_slice(&self.message);
        line.extend_from_slice(&self.fields);
        paint(line, "\x1b[2m");
        with_scope(|scope| {
            scope.each(|name, value| {
                line.push(b' ');
                line.extend_from_slice(name.as_bytes());
                line.push(b'=');
                match value {
                    ScopeValue::Number(number) => write_number(line, number),
                    ScopeValue::Text(text) => text_value(line, text),
                    ScopeValue::Id(id) => hex(line, &id.to_bytes()),
                }
            });
        });
        with_ids(|trace, span| {
            line.extend_from_slice(b" trace_id=");
            hex(line, &trace.to_bytes());
            line.extend_from_slice(b" span_id=");
            hex(line, &span.to_bytes());
        });
        paint(line, "\x1b[0m");
        line.push(b'\n');
    }
}

/// Shows the ids of the current OpenTelemetry context, if there are any.
fn with_ids(write: impl FnOnce(TraceId, SpanId)) {
    let ids = Context::map_current(|context| {
        context.has_active_span().then(|| {
            let span = context.span();
            let at = span.span_context();
            (at.is_valid(), at.trace_id(), at.span_id())
        })
    });
    if let Some((true, trace, span)) = ids {
        write(trace, span);
    }
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

fn write_number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Whether people read a string without quotes as one word.
fn is_word(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    !value.is_empty() && value.bytes().all(plain)
}

/// Appends `,"key":"value"`.
fn json_string(out: &mut Vec<u8>, key: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":\"");
    escape(out, value, Style::Json);
    out.push(b'"');
}

/// Appends a string for people: quoted unless it is plainly one word.
fn text_value(out: &mut Vec<u8>, value: &str) {
    if is_word(value) {
        out.extend_from_slice(value.as_bytes());
    } else {
        out.push(b'"');
        escape(out, value, Style::Quoted);
        out.push(b'"');
    }
}

/// Appends the name of a field, and what comes before and after it.
fn write_name(fields: &mut Vec<u8>, json: bool, name: &str) {
    if json {
        fields.extend_from_slice(if fields.is_empty() { b"\"" } else { b",\"" });
        escape(fields, name, Style::Json);
        fields.extend_from_slice(b"\":");
    } else {
        fields.push(b' ');
        escape(fields, name, Style::Bare);
        fields.push(b'=');
    }
}

/// Writes the fields of an event: `message` apart, the others one after another.
struct Visitor<'a> {
    json: bool,
    message: &'a mut Vec<u8>,
    fields: &'a mut Vec<u8>,
    left: usize,
}

impl Visitor<'_> {
    /// A value that is neither escaped nor quoted.
    fn raw(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.extend_from_slice(value.as_bytes());
        } else {
            write_name(self.fields, self.json, field.name());
            self.fields.extend_from_slice(value.as_bytes());
        }
    }

    /// A value that somebody else's code formats: it may be long, hostile, or panic.
    fn formatted(&mut self, field: &Field, style: Style, value: &fmt::Arguments<'_>) {
        let is_message = field.name() == "message";
        let (out, quoted) = match is_message {
            true => (&mut *self.message, false),
            false => {
                write_name(self.fields, self.json, field.name());
                (&mut *self.fields, style != Style::Bare)
            }
        };
        if quoted {
            out.push(b'"');
        }
        let limit = VALUE_LIMIT.min(self.left);
        let mut escape = Escape::new(out, style, limit);
        let written = catch_unwind(AssertUnwindSafe(|| {
            let _ = escape.write_fmt(*value);
        }));
        self.left -= limit - escape.left();
        if written.is_err() {
            out.extend_from_slice("…(its formatting panicked)".as_bytes());
        }
        if quoted {
            out.push(b'"');
        }
    }

    fn style(&self) -> Style {
        if self.json { Style::Json } else { Style::Bare }
    }
}

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.formatted(field, self.style(), &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let style = match self.json {
            true => Style::Json,
            false if field.name() == "message" => Style::Bare,
            false if is_word(value) => Style::Bare,
            false => Style::Quoted,
        };
        self.formatted(field, style, &format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.formatted(field, self.style(), &format_args!("{}", Causes(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.raw(field, itoa::Buffer::new().format(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.raw(field, itoa::Buffer::new().format(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.raw(field, if value { "true" } else { "false" });
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.raw(field, ryu::Buffer::new().format_finite(value));
        } else {
            self.formatted(field, self.style(), &format_args!("{value}"));
        }
    }

    // Beyond what JSON readers take for a number: text.
    fn record_i128(&mut self, field: &Field, value: i128) {
        self.formatted(field, self.style(), &format_args!("{value}"));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.formatted(field, self.style(), &format_args!("{value}"));
    }
}

/// An error with its causes, from the outside in.
struct Causes<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)?;
        let causes = std::iter::successors(self.0.source(), |error| error.source());
        causes.take(CAUSES).try_for_each(|cause| write!(f, ": {cause}"))
    }
}
