//! Lines of samples: numbers, labels, buckets, exemplars.

use super::head::Format;
use crate::declare::Exemplar;
use opentelemetry_sdk::metrics::data::HistogramDataPoint;
use std::time::UNIX_EPOCH;

/// A number as it stands on a line.
pub(super) trait Sample: Copy {
    fn write(self, out: &mut Vec<u8>);
}

impl Sample for u64 {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(self).as_bytes());
    }
}

impl Sample for i64 {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(self).as_bytes());
    }
}

impl Sample for f64 {
    fn write(self, out: &mut Vec<u8>) {
        if self.is_nan() {
            out.extend_from_slice(b"NaN");
        } else if self.is_infinite() {
            out.extend_from_slice(if self > 0.0 { b"+Inf" } else { b"-Inf" });
        } else {
            let mut buffer = ryu::Buffer::new();
            let text = buffer.format_finite(self);
            out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
        }
    }
}

/// Writes one line: `name`, `labels` with their braces, `value`.
pub(super) fn sample(out: &mut Vec<u8>, name: &str, labels: &str, value: impl Sample) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(labels.as_bytes());
    out.push(b' ');
    value.write(out);
    out.push(b'\n');
}

/// Writes the lines of one histogram series, and returns how many.
pub(super) fn histogram<T: Sample>(
    out: &mut Vec<u8>,
    format: Format,
    name: &str,
    labels: &str,
    point: &HistogramDataPoint<T>,
    exemplars: &[Option<Exemplar>],
) -> usize {
    let (mut below, mut lines) = (0, 0);
    let mut bounds = point.bounds();
    for count in point.bucket_counts() {
        below += count;
        let bound = bounds.next().unwrap_or(f64::INFINITY);
        bucket(out, format, name, labels, bound);
        below.write(out);
        if format == Format::OpenMetrics
            && let Some(Some(found)) = exemplars.get(lines)
        {
            exemplar(out, found);
        }
        out.push(b'\n');
        lines += 1;
    }
    if lines == 0 {
        bucket(out, format, name, labels, f64::INFINITY);
        point.count().write(out);
        out.push(b'\n');
        lines = 1;
    }
    for (suffix, is_sum) in [("_sum", true), ("_count", false)] {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(suffix.as_bytes());
        out.extend_from_slice(labels.as_bytes());
        out.push(b' ');
        if is_sum {
            point.sum().write(out)
        } else {
            point.count().write(out)
        }
        out.push(b'\n');
    }
    lines + 2
}

/// Writes a bucket's line up to its value.
fn bucket(out: &mut Vec<u8>, format: Format, name: &str, labels: &str, bound: f64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"_bucket");
    match labels.strip_suffix('}') {
        Some(open) => {
            out.extend_from_slice(open.as_bytes());
            out.push(b',');
        }
        None => out.push(b'{'),
    }
    out.extend_from_slice(b"le=\"");
    bound.write(out);
    // OpenMetrics wants a bound to look like a float, so that every writer's bounds are equal.
    let is_integer = bound.is_finite() && bound.fract() == 0.0 && bound.abs() < 1e16;
    if format == Format::OpenMetrics && is_integer {
        out.extend_from_slice(b".0");
    }
    out.extend_from_slice(b"\"} ");
}

fn exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    let (trace, span) = (exemplar.context.trace_id(), exemplar.context.span_id());
    out.extend_from_slice(format!(" # {{trace_id=\"{trace}\",span_id=\"{span}\"}} ").as_bytes());
    exemplar.value.write(out);
    if let Ok(at) = exemplar.at.duration_since(UNIX_EPOCH) {
        out.extend_from_slice(format!(" {}.{:03}", at.as_secs(), at.subsec_millis()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: impl Sample) -> String {
        let mut out = Vec::new();
        value.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_read_back_as_what_they_were() {
        assert_eq!(text(u64::MAX), "18446744073709551615");
        assert_eq!(text(i64::MIN), "-9223372036854775808");
        for value in [0.0, 1.0, -1.5, 0.001, 2.4702469999999996, 1e21, 1e-9, f64::MAX] {
            assert_eq!(text(value).parse::<f64>().unwrap(), value);
        }
        assert_eq!(text(1.0), "1");
        assert_eq!(text(f64::NAN), "NaN");
        assert_eq!(text(f64::INFINITY), "+Inf");
        assert_eq!(text(f64::NEG_INFINITY), "-Inf");
    }
}
