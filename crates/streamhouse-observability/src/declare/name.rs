//! Prometheus names: the rules of Prometheus' own translation of OTLP, which the collector shares.

use super::row::Kind;

/// Derives the Prometheus name of an instrument: sanitised, with the unit's word, with `_total` on
/// a counter and `_ratio` on a gauge of unit `1`, each once.
pub fn prometheus_name(name: &str, unit: &str, kind: Kind) -> String {
    let suffix = match kind {
        Kind::Counter => Some("total"),
        Kind::Gauge if unit == "1" => Some("ratio"),
        Kind::Gauge | Kind::Histogram => None,
    };
    name_with(name, unit, suffix)
}

/// As [`prometheus_name`], with the last word given.
pub(crate) fn name_with(name: &str, unit: &str, suffix: Option<&str>) -> String {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let mut words: Vec<&str> =
        name.split(|c| !is_legal(c)).filter(|word| !word.is_empty()).collect();
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let main = clean(unit_word(main));
    if !main.is_empty() && !words.contains(&main.as_str()) {
        words.push(&main);
    }
    let per = clean(per_unit_word(per));
    if !per.is_empty() {
        words.extend(["per", &per]);
    }
    if let Some(suffix) = suffix {
        words.retain(|word| *word != suffix);
        words.push(suffix);
    }
    let joined = words.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) { format!("_{joined}") } else { joined }
}

fn clean(unit: &str) -> String {
    let is_legal = |c: char| c.is_ascii_alphanumeric();
    unit.split(|c| !is_legal(c)).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
}

/// The word that a unit adds to a name; an annotation such as `{record}` adds none.
pub(crate) fn unit_word(unit: &str) -> &str {
    match unit.trim() {
        "1" => "",
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        annotation if annotation.contains(['{', '}']) => "",
        other => other,
    }
}

fn per_unit_word(unit: &str) -> &str {
    match unit.trim() {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        annotation if annotation.contains(['{', '}']) => "",
        other => other,
    }
}
