//! Trace context as it stands in headers: W3C `traceparent` and `tracestate`.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use std::str::FromStr;

/// A longer `tracestate` is left out; the standard asks for at least this much.
const TRACESTATE_LIMIT: usize = 512;

/// The context that a `traceparent` header names, with its `tracestate` if that is well-formed and
/// at most 512 bytes long; `None` for anything that the standard does not allow.
pub fn remote_context(traceparent: &[u8], tracestate: Option<&[u8]>) -> Option<SpanContext> {
    let mut parts = traceparent.splitn(5, |byte| *byte == b'-');
    let [version, trace, span, flags] =
        [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let version = hex::<1>(version)?;
    // Later versions may append parts; version 0 may not, and ff is forbidden.
    if version == [0xff] || (version == [0] && parts.next().is_some()) {
        return None;
    }
    let [flags] = hex::<1>(flags)?;
    let context = SpanContext::new(
        TraceId::from_bytes(hex(trace)?),
        SpanId::from_bytes(hex(span)?),
        TraceFlags::new(flags & TraceFlags::SAMPLED.to_u8()),
        true,
        tracestate.and_then(parse_state).unwrap_or(TraceState::NONE),
    );
    context.is_valid().then_some(context)
}

fn parse_state(bytes: &[u8]) -> Option<TraceState> {
    if bytes.len() > TRACESTATE_LIMIT {
        return None;
    }
    TraceState::from_str(std::str::from_utf8(bytes).ok()?).ok()
}

/// Exactly `N` bytes in lower-case hexadecimal.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// The `traceparent` header of `context`.
pub fn traceparent(context: &SpanContext) -> String {
    let (trace, span) = (context.trace_id(), context.span_id());
    format!("00-{trace}-{span}-{:02x}", context.trace_flags() & TraceFlags::SAMPLED)
}
