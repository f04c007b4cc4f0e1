//! Content negotiation: which format, and whether it is compressed.

use super::head::Format;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderMap, HeaderName};

/// The format that `Accept` likes best; text 0.0.4 where it says nothing that we know.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let (mut open_metrics, mut text) = (None, None);
    for range in ranges(headers, ACCEPT) {
        let best = match range.name {
            "application/openmetrics-text" if range.is_version("1.0.0") => &mut open_metrics,
            "text/plain" if range.is_version("0.0.4") => &mut text,
            "text/*" | "*/*" => &mut text,
            _ => continue,
        };
        *best = range.quality.max(best.unwrap_or(0.0)).into();
    }
    match (open_metrics, text) {
        (Some(open_metrics), text) if open_metrics > 0.0 && open_metrics >= text.unwrap_or(0.0) => {
            Format::OpenMetrics
        }
        _ => Format::Text,
    }
}

/// Whether `Accept-Encoding` allows gzip.
pub(super) fn allows_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for range in ranges(headers, ACCEPT_ENCODING) {
        match range.name {
            name if name.eq_ignore_ascii_case("gzip") => return range.quality > 0.0,
            "*" => any = range.quality > 0.0,
            _ => {}
        }
    }
    any
}

struct Range<'a> {
    name: &'a str,
    version: Option<&'a str>,
    quality: f64,
}

impl Range<'_> {
    fn is_version(&self, version: &str) -> bool {
        self.version.is_none_or(|asked| asked == version)
    }
}

fn ranges(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Range<'_>> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|part| {
        let mut pieces = part.split(';').map(str::trim);
        let mut range =
            Range { name: pieces.next().unwrap_or_default(), version: None, quality: 1.0 };
        for (key, value) in pieces.filter_map(|piece| piece.split_once('=')) {
            match key.trim() {
                "version" => range.version = Some(value.trim().trim_matches('"')),
                // What is not a number between 0 and 1 is the client's mistake, not a refusal.
                "q" => {
                    range.quality = value.trim().parse::<f64>().map_or(1.0, |q| q.clamp(0.0, 1.0))
                }
                _ => {}
            }
        }
        range
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_best_liked_format_that_we_know_is_served() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,\
            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,\
            */*;q=0.2";
        for (accept, expected) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html, image/png", Format::Text),
            ("application/json", Format::Text),
            ("text/plain", Format::Text),
            ("text/plain; version=0.0.4", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", Format::OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"", Format::OpenMetrics),
            ("application/openmetrics-text; version=2.0.0", Format::Text),
            ("application/openmetrics-text;q=0, text/plain", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=0.3, text/plain;q=0.7", Format::Text),
            ("text/plain;q=0.3, application/openmetrics-text;q=0.7", Format::OpenMetrics),
            ("text/plain, application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.5, */*;q=0.1", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.5, */*;q=0.9", Format::Text),
            ("application/openmetrics-text;q=banana", Format::OpenMetrics),
            (prometheus_3, Format::OpenMetrics),
            (";;;,,=,q=", Format::Text),
        ] {
            assert_eq!(format(&headers(ACCEPT, accept)), expected, "{accept}");
        }
        assert_eq!(format(&HeaderMap::new()), Format::Text);
        let twice: HeaderMap = [
            (ACCEPT, "text/plain;q=0.1".parse().unwrap()),
            (ACCEPT, "application/openmetrics-text".parse().unwrap()),
        ]
        .into_iter()
        .collect();
        assert_eq!(format(&twice), Format::OpenMetrics);
    }

    #[test]
    fn gzip_is_used_only_where_it_is_allowed() {
        for (accept, expected) in [
            ("", false),
            ("identity", false),
            ("br, zstd", false),
            ("gzip", true),
            ("GZIP", true),
            ("gzip;q=0", false),
            ("gzip;q=0.0, *", false),
            ("*, gzip;q=0", false),
            ("deflate, gzip;q=0.5", true),
            ("*", true),
            ("*;q=0", false),
        ] {
            assert_eq!(allows_gzip(&headers(ACCEPT_ENCODING, accept)), expected, "{accept}");
        }
        assert!(!allows_gzip(&HeaderMap::new()));
    }
}
