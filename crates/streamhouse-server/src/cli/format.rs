//! Times and bytes as text, both ways.

use crate::config::Value as _;
use serde_json::{Value, json};
use std::str::FromStr;
use std::time::Duration;

/// A duration in which something can happen.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match Duration::parse(text)? {
        Duration::ZERO => Err("write more than 0, such as 100ms or 5s".into()),
        duration => Ok(duration),
    }
}

/// Milliseconds since the epoch, written as such or as UTC time of RFC 3339.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    let fix = "write milliseconds since 1970 or UTC time such as 2026-01-31T12:00:00Z";
    if let Ok(milliseconds) = text.parse() {
        return Ok(milliseconds);
    }
    parse_utc(text).ok_or_else(|| fix.into())
}

fn parse_utc(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':')?;
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 59 || !(1970..=9999).contains(&year) {
        return None;
    }
    let milliseconds: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1_000 + milliseconds)
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let numbers: Vec<i64> =
        text.split(separator).map(i64::from_str).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin in March
/// so that the leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 719_469
}

/// A key or value as JSON: text if it is text, else base64 under another name.
pub(super) fn json_bytes(name: &str, bytes: Option<&[u8]>) -> (String, Value) {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => (name.to_owned(), Value::Null),
        Some((Ok(text), _)) => (name.to_owned(), json!(text)),
        Some((Err(_), bytes)) => (format!("{name}_base64"), json!(base64(bytes))),
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0, |group, byte| group << 8 | usize::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[group >> (18 - 6 * place) & 63];
            out.push(if place <= chunk.len() { letter.into() } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_milliseconds_or_utc() {
        assert_eq!(parse_time("1700000000123").unwrap(), 1_700_000_000_123);
        assert_eq!(parse_time("1970-01-01T00:00:00Z").unwrap(), 0);
        assert_eq!(parse_time("2023-11-14T22:13:20.5Z").unwrap(), 1_700_000_000_500);
        assert_eq!(parse_time("2024-02-29T00:00:00Z").unwrap(), 1_709_164_800_000);
        for text in ["yesterday", "2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00"] {
            assert!(parse_time(text).unwrap_err().contains("2026-01-31T12:00:00Z"), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_become_base64() {
        assert_eq!(json_bytes("value", Some(b"a")), ("value".into(), json!("a")));
        assert_eq!(json_bytes("value", None), ("value".into(), Value::Null));
        for (bytes, text) in [(&[0xff][..], "/w=="), (&[0xff, 0xfe], "//4="), (&[0xff; 3], "////")]
        {
            assert_eq!(json_bytes("value", Some(bytes)), ("value_base64".into(), json!(text)));
        }
    }
}
