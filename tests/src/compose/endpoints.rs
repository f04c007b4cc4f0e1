//! Who listens where, and who is asked: every `host:port` in a shipped configuration is a service
//! of the stack and a port that this service really opens.

use super::{Compose, list, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Every endpoint that is named, published or asked for health is opened.
pub fn check(compose: &Compose) -> Vec<String> {
    let mut wrong = Vec::new();
    for (_, service) in compose.services() {
        said(compose, service, &mut wrong);
    }
    let open = open_ports(compose);
    for (name, service) in compose.services() {
        for (place, value) in said(compose, service, &mut Vec::new()) {
            walk("", &value, &mut |_, scalar| {
                wrong.extend(named(scalar).iter().filter_map(|(host, port)| {
                    let place = format!("{name}, {place}");
                    unopened(&open, &place, host, *port)
                }));
            });
        }
        let own = |port: u16, what: &str| {
            (!open[name].contains(&port)).then(|| {
                format!("{name} {what} port {port}, which its configuration does not open")
            })
        };
        for port in list(&service["ports"]).filter_map(text) {
            let inner = port.rsplit(':').next().and_then(|port| port.parse().ok());
            wrong.extend(inner.and_then(|port| own(port, "publishes")));
        }
        for part in list(&service["healthcheck"]["test"]).filter_map(Value::as_str) {
            let port = part.strip_prefix("http://127.0.0.1:").map(digits);
            let port = port.and_then(|port| port.parse().ok());
            wrong.extend(port.and_then(|port| own(port, "is asked for its health on")));
        }
    }
    wrong
}

/// The ports that each service opens, as its command, variables and files say.
pub fn open_ports(compose: &Compose) -> BTreeMap<&str, BTreeSet<u16>> {
    let mut open = BTreeMap::new();
    for (name, service) in compose.services() {
        let mut ports = BTreeSet::new();
        for (_, value) in said(compose, service, &mut Vec::new()) {
            walk("", &value, &mut |key, scalar| ports.extend(opened(key, scalar)));
            ports.extend(pairs(&value));
        }
        open.insert(name, ports);
    }
    open
}

/// All that a service is told: its command, its variables, its mounted files.
fn said(compose: &Compose, service: &Value, wrong: &mut Vec<String>) -> Vec<(String, Value)> {
    let mut all = vec![
        ("docker-compose.yml".to_owned(), service["command"].clone()),
        ("docker-compose.yml".to_owned(), service["environment"].clone()),
    ];
    for (path, content) in compose.configs(service) {
        match content {
            Ok(value) => all.push((path, value)),
            Err(error) => wrong.push(format!("{path}: {error}")),
        }
    }
    all
}

fn unopened(
    open: &BTreeMap<&str, BTreeSet<u16>>,
    place: &str,
    host: &str,
    port: u16,
) -> Option<String> {
    match open.get(host) {
        None => Some(format!("{place}: {host}:{port} names no service of docker-compose.yml")),
        Some(ports) if ports.contains(&port) => None,
        Some(ports) => {
            Some(format!("{place}: {host}:{port} is asked, but {host} opens only {ports:?}"))
        }
    }
}

/// Calls `see` with every scalar and its key; a mapping's value is one, a list's element, too.
fn walk(key: &str, value: &Value, see: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| walk(key, value, see)),
        Value::Array(all) => all.iter().for_each(|value| walk(key, value, see)),
        other => {
            if let Some(scalar) = text(other) {
                see(key, &scalar);
            }
        }
    }
}

/// The port that a setting opens: `0.0.0.0:PORT`, `:PORT`, also behind `flag=`, or a port's key.
fn opened(key: &str, scalar: &str) -> Option<u16> {
    if matches!(key, "http_listen_port" | "GF_SERVER_HTTP_PORT") {
        return scalar.parse().ok();
    }
    let value = scalar.rsplit_once('=').map_or(scalar, |(_, value)| value);
    value.strip_prefix("0.0.0.0").unwrap_or(value).strip_prefix(':')?.parse().ok()
}

/// Ports given apart from their host: `{host: 0.0.0.0, port: 8888}`.
fn pairs(value: &Value) -> Vec<u16> {
    let own = value["host"] == "0.0.0.0";
    let own = own.then(|| value["port"].as_u64().and_then(|port| u16::try_from(port).ok()));
    let below: Vec<&Value> = match value {
        Value::Object(map) => map.values().collect(),
        Value::Array(all) => all.iter().collect(),
        _ => Vec::new(),
    };
    own.flatten().into_iter().chain(below.into_iter().flat_map(pairs)).collect()
}

/// The `host:port` pairs in a scalar whose host could be a service.
fn named(scalar: &str) -> Vec<(String, u16)> {
    let quotes = |c: char| "\"';,".contains(c);
    scalar.split_whitespace().filter_map(|word| endpoint(word.trim_matches(quotes))).collect()
}

fn endpoint(word: &str) -> Option<(String, u16)> {
    // A variable stands for its default, whether the collector or compose reads it.
    let inner = word.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let word = inner.map_or(Some(word), |inner| inner.split_once(":-").map(|(_, value)| value))?;
    let word = word.strip_prefix("http://").or(word.strip_prefix("https://")).unwrap_or(word);
    let (host, rest) = word.split_once(':')?;
    let port = digits(rest);
    let is_whole = rest.len() == port.len() || rest[port.len()..].starts_with('/');
    let is_name = host.starts_with(|c: char| c.is_ascii_lowercase())
        && host.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let port = port.parse().ok().filter(|_| is_whole && is_name && host != "localhost")?;
    Some((host.to_owned(), port))
}

fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(services: &str) -> String {
        let folder = tempfile::tempdir().expect("a directory");
        let file = "receivers: {otlp: {endpoint: 0.0.0.0:4317}}\nself: {host: 0.0.0.0, port: 8888}\n\
                    exporters: {otlp: {endpoint: '${env:X:-store:4317}'}}\n";
        std::fs::write(folder.path().join("a.yaml"), file).expect("written");
        let compose = Compose::parse(folder.path(), services).expect("a model");
        check(&compose).join("\n")
    }

    const COLLECTOR: &str = "  a: {volumes: ['./a.yaml:/a.yaml']}\n";

    #[test]
    fn an_endpoint_that_is_no_service_is_named() {
        let told = told(&format!("services:\n{COLLECTOR}"));
        assert_eq!(told, "a, a.yaml: store:4317 names no service of docker-compose.yml");
    }

    #[test]
    fn a_port_that_its_service_does_not_open_is_named() {
        let store = "  store: {command: ['--listen=0.0.0.0:4318']}\n";
        let told = told(&format!("services:\n{COLLECTOR}{store}"));
        assert_eq!(told, "a, a.yaml: store:4317 is asked, but store opens only {4318}");
    }

    #[test]
    fn what_is_published_or_asked_for_health_must_be_open() {
        let store = "  store:\n    command: ['--listen=:4317']\n    ports: ['127.0.0.1:1:2']\n    \
                     healthcheck: {test: [CMD, wget, 'http://127.0.0.1:3/x']}\n";
        let told = told(&format!("services:\n{COLLECTOR}{store}"));
        assert!(told.contains("store publishes port 2, which its configuration"), "{told}");
        assert!(told.contains("store is asked for its health on port 3"), "{told}");
    }

    #[test]
    fn endpoints_that_are_open_are_fine_wherever_they_are_named() {
        let store = "  store: {command: ['--listen=0.0.0.0:4317']}\n";
        let asks = "  asks: {command: ['wget http://a:8888/metrics; echo a:4317']}\n";
        assert_eq!(told(&format!("services:\n{COLLECTOR}{store}{asks}")), "");
    }
}
