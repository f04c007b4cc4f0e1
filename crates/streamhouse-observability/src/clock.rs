//! Time as log lines and health answers show it: RFC 3339 in UTC, with microseconds.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    /// The last second that this thread has written, and its text.
    static SECOND: Cell<(u64, [u8; 20])> = const { Cell::new((u64::MAX, [b' '; 20])) };
}

/// Seconds since 1970; 0 before.
pub(crate) fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Appends `2024-02-29T12:00:00.000001Z`.
pub(crate) fn write(out: &mut Vec<u8>, now: SystemTime) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = since.as_secs();
    let (cached, mut text) = SECOND.get();
    if cached != second {
        text = prefix(second);
        SECOND.set((second, text));
    }
    out.extend_from_slice(&text);
    let mut micros = [b'0'; 7];
    digits(&mut micros[..6], u64::from(since.subsec_micros()));
    micros[6] = b'Z';
    out.extend_from_slice(&micros);
}

/// `2024-02-29T12:00:00.`; years beyond 9999 show their last four digits.
fn prefix(second: u64) -> [u8; 20] {
    let (year, month, day) = date(second / 86_400);
    let mut text = *b"0000-00-00T00:00:00.";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], second / 3600 % 24);
    digits(&mut text[14..16], second / 60 % 60);
    digits(&mut text[17..19], second % 60);
    text
}

/// Year, month and day of a day since 1970. Years are counted from March, so that the day that
/// leap years add comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

fn digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_instants_are_written_as_the_standard_says() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00.000042Z"),
            (951_782_399, "2000-02-28T23:59:59.000042Z"),
            (951_782_400, "2000-02-29T00:00:00.000042Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000042Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000042Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000042Z"),
        ] {
            let mut out = Vec::new();
            write(&mut out, UNIX_EPOCH + Duration::from_secs(second) + Duration::from_micros(42));
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
