//! Label sets as the exposition shows them.

use opentelemetry::{KeyValue, Value};

/// Renders labels as `{key="value",…}`, or as nothing when there are none.
pub(crate) fn label_text(pairs: &[KeyValue]) -> String {
    let mut text = String::new();
    write_labels(&mut text, pairs.iter().map(|pair| (pair.key.as_str(), &pair.value)));
    text
}

/// Appends labels to `text`: keys sanitised and in order, values escaped, nothing without labels.
///
/// Keys that become equal are one label, its values joined by `;` as OpenTelemetry asks.
pub(crate) fn write_labels<'a>(
    text: &mut String,
    pairs: impl Iterator<Item = (&'a str, &'a Value)>,
) {
    let mut labels: Vec<(String, &str, &Value)> =
        pairs.map(|(key, value)| (label_key(key), key, value)).collect();
    labels.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let mut before: Option<&str> = None;
    for (key, _, value) in &labels {
        if before == Some(key) {
            text.push(';');
        } else {
            text.push_str(if before.is_none() { "{" } else { "\"," });
            text.push_str(key);
            text.push_str("=\"");
        }
        escape(text, &value.as_str());
        before = Some(key);
    }
    if before.is_some() {
        text.push_str("\"}");
    }
}

/// The key that `/metrics` shows for `key`: what Prometheus' own translation of OTLP makes of it,
/// except that a key which Prometheus itself needs on some lines gets a prefix.
pub(crate) fn label_key(key: &str) -> String {
    let mut clean = String::with_capacity(key.len());
    for c in key.chars() {
        let c = if c.is_ascii_alphanumeric() { c } else { '_' };
        if c != '_' || !clean.ends_with('_') {
            clean.push(c);
        }
    }
    match clean.as_str() {
        "" => "key".into(),
        "le" | "quantile" => format!("exported_{clean}"),
        _ if clean.starts_with(|c: char| c.is_ascii_digit()) => format!("key_{clean}"),
        _ if clean.starts_with('_') => format!("key{clean}"),
        _ => clean,
    }
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}
