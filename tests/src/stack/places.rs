//! From the addresses and folders of the compose stack to those of a stack on loopback.

use crate::compose::{Compose, open_ports};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Every service's ports and folders, on this machine.
#[derive(Clone, Debug)]
pub struct Places {
    folder: PathBuf,
    ports: BTreeMap<(String, u16), SocketAddr>,
}

impl Places {
    /// Finds a free port for each that a service of `compose` opens; what services write goes
    /// below `folder`. With `usual`, ports keep their numbers where these are free.
    ///
    /// # Errors
    /// No free port.
    pub fn find(compose: &Compose, folder: &Path, usual: bool) -> Result<Self, String> {
        let mut taken = BTreeSet::new();
        let mut ports = BTreeMap::new();
        for (service, own) in open_ports(compose) {
            for port in own {
                let wanted = usual.then_some(port);
                let addr = free(wanted, &mut taken).ok_or("no free port on 127.0.0.1")?;
                ports.insert((service.to_owned(), port), addr);
            }
        }
        Ok(Self { folder: folder.to_path_buf(), ports })
    }

    /// Where `port` of `service` is.
    ///
    /// # Panics
    /// When the stack has none: the test asks for what is not shipped.
    pub fn of(&self, service: &str, port: u16) -> SocketAddr {
        let found = self.ports.get(&(service.to_owned(), port));
        *found.unwrap_or_else(|| panic!("docker-compose.yml: {service} opens no port {port}"))
    }

    /// Where a path inside the container of `service` is.
    pub fn path(&self, service: &str, inside: &str) -> PathBuf {
        self.folder.join(service).join(inside.trim_start_matches('/'))
    }

    /// Replaces in `text`, which `service` is told, every address of the stack and each of the
    /// paths `mounted`.
    pub fn localise(&self, service: &str, mounted: &[&str], text: &str) -> String {
        let mut text = text.to_owned();
        for ((name, port), addr) in &self.ports {
            text = replace(&text, &format!("{name}:{port}"), &addr.to_string());
            if name == service {
                let apart = format!("host: 0.0.0.0, port: {port}");
                let here = format!("host: {}, port: {}", addr.ip(), addr.port());
                text = replace(&text, &apart, &here);
                for host in ["0.0.0.0", "localhost", ""] {
                    text = replace(&text, &format!("{host}:{port}"), &addr.to_string());
                }
            }
        }
        for path in mounted {
            text = replace(&text, path, &self.path(service, path).display().to_string());
        }
        text
    }
}

/// Replaces `from` where it stands by itself: not inside a longer name, path or number.
fn replace(text: &str, from: &str, to: &str) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let previous = before.chars().last().or(done.chars().last().filter(|_| at == 0));
        let is_inside = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        // A path or a bare port begins a word; a host may follow a scheme's slashes.
        let is_bare = from.starts_with(['/', ':']);
        let is_default = before.ends_with(":-");
        let starts =
            is_default || !previous.is_some_and(|c| is_inside(c) || is_bare && "/:]}".contains(c));
        let ends = after.chars().next().is_none_or(|c| !is_inside(c));
        done.push_str(before);
        done.push_str(if starts && ends { to } else { from });
        rest = after;
    }
    done + rest
}

/// A free port of loopback, for what is no service of the stack.
///
/// # Errors
/// No free port.
pub fn free_port() -> Result<SocketAddr, String> {
    free(None, &mut BTreeSet::new()).ok_or_else(|| "no free port on 127.0.0.1".into())
}

/// A free port, `wanted` if it is. Others come from below the range that the system gives to
/// outgoing connections, so that none of these takes it before its server does.
fn free(wanted: Option<u16>, taken: &mut BTreeSet<u16>) -> Option<SocketAddr> {
    let random = (0..1_000).map(|_| rand::random_range(15_000..32_000));
    let mut candidates = wanted.into_iter().chain(random);
    let port = candidates.find(|port| {
        !taken.contains(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
    })?;
    taken.insert(port);
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::root;

    fn places() -> Places {
        let compose = Compose::shipped().expect("docker-compose.yml");
        Places::find(&compose, Path::new("/folder"), false).expect("ports")
    }

    #[test]
    fn addresses_and_folders_are_replaced_only_where_they_stand_by_themselves() {
        let places = places();
        let here = places.of("collector", 4317);
        let jaeger = places.of("jaeger", 4317);
        let text = |text: &str| places.localise("collector", &["/var/lib/otelcol"], text);

        assert_eq!(text("endpoint: 0.0.0.0:4317"), format!("endpoint: {here}"));
        assert_eq!(text("${env:T:-jaeger:4317}"), format!("${{env:T:-{jaeger}}}"));
        assert_eq!(text("http://jaeger:4317/x"), format!("http://{jaeger}/x"));
        assert_eq!(text("my-jaeger:4317 jaeger:43170"), "my-jaeger:4317 jaeger:43170");
        assert_eq!(text("d: /var/lib/otelcol"), "d: /folder/collector/var/lib/otelcol");
        assert_eq!(text("/mnt/var/lib/otelcol"), "/mnt/var/lib/otelcol");
        let own = places.of("collector", 8888).port();
        assert_eq!(
            text("{host: 0.0.0.0, port: 8888}"),
            format!("{{host: 127.0.0.1, port: {own}}}")
        );
    }

    #[test]
    fn no_address_of_a_container_is_left_in_a_shipped_configuration() {
        let places = places();
        for (service, path) in [
            ("collector", "otel-collector/config.yaml"),
            ("jaeger", "docker/jaeger.yaml"),
            ("prometheus", "alerts/prometheus.yml"),
            ("alertmanager", "alerts/alertmanager.yml"),
        ] {
            let text = std::fs::read_to_string(root().join(path)).expect(path);
            let local = places.localise(service, &["/run/secrets", "/var/lib/otelcol"], &text);
            for line in local.lines().filter(|line| !line.trim_start().starts_with('#')) {
                assert!(!line.contains("0.0.0.0"), "{path}: {line}");
                assert!(!line.contains(" /run/") && !line.contains(" /var/"), "{path}: {line}");
            }
        }
    }
}
