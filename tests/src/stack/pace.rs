//! A quicker clock for the alerts, so that a test need not wait for minutes.

/// How many times as fast as in production intervals, windows and waits pass.
pub const PACE: u32 = 10;

/// The keys whose durations are divided. No other line changes, apart from the windows of queries.
const KEYS: [&str; 7] = [
    "for:",
    "keep_firing_for:",
    "scrape_interval:",
    "scrape_timeout:",
    "evaluation_interval:",
    "group_wait:",
    "group_interval:",
];

/// Divides by [`PACE`] how often is scraped, evaluated and told, every window of a query, and how
/// long an alert waits before it fires and after its reason has gone. As all are divided, a window
/// holds as many scrapes as before. Thresholds stay as they are.
pub fn quicken(text: &str) -> String {
    text.lines().map(|line| quick_line(line) + "\n").collect()
}

fn quick_line(line: &str) -> String {
    let key = KEYS.iter().find(|key| line.trim_start().starts_with(**key));
    if let Some((key, value)) = key.and_then(|_| line.split_once(": ")) {
        return divide(value).map_or_else(|| line.to_owned(), |quick| format!("{key}: {quick}"));
    }
    let mut parts = line.split('[');
    let mut done = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let window = part.split_once(']').and_then(|(range, rest)| Some((divide(range)?, rest)));
        match window {
            Some((range, rest)) => done.push_str(&format!("[{range}]{rest}")),
            None => done.push_str(&format!("[{part}")),
        }
    }
    done
}

/// A duration of Prometheus, such as `15s`, divided; `None` for another text.
fn divide(text: &str) -> Option<String> {
    let digits = text.trim().find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.trim().split_at(digits);
    let milliseconds = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(format!("{}ms", number.parse::<u32>().ok()? * milliseconds / PACE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_and_windows_are_divided_and_nothing_else() {
        for (before, after) in [
            ("        for: 5m", "        for: 30000ms"),
            ("  scrape_interval: 15s", "  scrape_interval: 1500ms"),
            (
                "sum(rate(a{b=\"c\"}[5m])) / rate(d[1h]) > 10",
                "sum(rate(a{b=\"c\"}[30000ms])) / rate(d[360000ms]) > 10",
            ),
            ("    out_of_order_time_window: 30m", "    out_of_order_time_window: 30m"),
            ("  group_by: [alertname, job]", "  group_by: [alertname, job]"),
            ("          summary: for 5m", "          summary: for 5m"),
        ] {
            assert_eq!(quicken(before), format!("{after}\n"));
        }
    }
}
