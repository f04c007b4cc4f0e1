//! Where one signal goes, once general and own settings are put together.

use super::config::{Compression, Config, Exporter, Otlp, Protocol};
use super::error::ConfigError;
use super::secret::Headers;
use crate::labels::Signal;
use http::Uri;
use std::path::PathBuf;
use std::time::Duration;

/// Where one signal goes. Everything is decided.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) signal: Signal,
    pub(crate) protocol: Protocol,
    pub(crate) url: Uri,
    pub(crate) timeout: Duration,
    pub(crate) headers: Headers,
    pub(crate) compression: Compression,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) identity: Option<Identity>,
}

/// Our side of mutual TLS.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) key: PathBuf,
    pub(crate) certificate: PathBuf,
}

impl Destination {
    /// Where `signal` goes; `None` if it is not exported.
    pub(crate) fn of(config: &Config, signal: Signal) -> Result<Option<Self>, ConfigError> {
        let (own, exporter) = config.signal(signal);
        let on = match exporter {
            Some(exporter) => exporter == Exporter::Otlp,
            None => own.endpoint.is_some() || config.otlp.endpoint.is_some(),
        };
        if config.disabled || !on {
            return Ok(None);
        }
        let pick = Pick { own, general: &config.otlp };
        let protocol = pick.of(|otlp| otlp.protocol).unwrap_or(Protocol::HttpProtobuf);
        Ok(Some(Self {
            signal,
            protocol,
            url: pick.url(signal, protocol)?,
            timeout: pick.of(|otlp| otlp.timeout).unwrap_or(Duration::from_secs(10)),
            headers: pick.of(|otlp| otlp.headers.clone()).unwrap_or_default(),
            compression: pick.of(|otlp| otlp.compression).unwrap_or(Compression::None),
            certificate: pick.of(|otlp| otlp.certificate.clone()),
            identity: pick.identity(signal)?,
        }))
    }

    /// The URL as messages may show it: without its query, which may hold a token.
    pub(crate) fn shown(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or("http");
        let host = self.url.host().unwrap_or_default();
        let port = self.url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{}", self.url.path())
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme() == Some(&http::uri::Scheme::HTTPS)
    }
}

/// Fails if any signal's settings do not fit together.
pub(crate) fn check(config: &Config) -> Result<(), ConfigError> {
    for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
        Destination::of(config, signal)?;
    }
    Ok(())
}

/// A signal's own settings over the general ones.
struct Pick<'a> {
    own: &'a Otlp,
    general: &'a Otlp,
}

impl Pick<'_> {
    fn of<T>(&self, field: impl Fn(&Otlp) -> Option<T>) -> Option<T> {
        field(self.own).or_else(|| field(self.general))
    }

    fn url(&self, signal: Signal, protocol: Protocol) -> Result<Uri, ConfigError> {
        let own = self.own.endpoint.as_ref();
        let variable = variable(own.map(|_| signal), "ENDPOINT");
        let (asked, verbatim) = match (own, &self.general.endpoint, protocol) {
            (Some(own), _, _) => (own.as_str(), true),
            (None, Some(general), _) => (general.as_str(), protocol == Protocol::Grpc),
            (None, None, Protocol::Grpc) => ("http://localhost:4317", true),
            (None, None, Protocol::HttpProtobuf) => ("http://localhost:4318", false),
        };
        let mut text = asked.to_owned();
        if protocol == Protocol::Grpc && !text.contains("://") {
            let insecure = self.of(|otlp| otlp.insecure).unwrap_or(false);
            text.insert_str(0, if insecure { "http://" } else { "https://" });
        }
        if !verbatim {
            let base = text.trim_end_matches('/').len();
            text.truncate(base);
            text.push_str("/v1/");
            text.push_str(path(signal));
        }
        let legal = |url: &Uri| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty())
        };
        if asked.contains('@') {
            let accepted = "put credentials into OTEL_EXPORTER_OTLP_HEADERS, not into the URL";
            return Err(ConfigError::new(variable, without_user(asked), accepted));
        }
        text.parse().ok().filter(legal).ok_or_else(|| {
            let accepted = "use a URL such as `http://localhost:4318` or `https://host:port`";
            ConfigError::new(variable, asked, accepted)
        })
    }

    fn identity(&self, signal: Signal) -> Result<Option<Identity>, ConfigError> {
        let key = self.of(|otlp| otlp.client_key.clone());
        let certificate = self.of(|otlp| otlp.client_certificate.clone());
        let needs = |other: &str| format!("mutual TLS needs {} as well", variable(None, other));
        match (key, certificate) {
            (Some(key), Some(certificate)) => Ok(Some(Identity { key, certificate })),
            (None, None) => Ok(None),
            (Some(key), None) => {
                let own = self.own.client_key.as_ref().map(|_| signal);
                let value = key.display().to_string();
                let accepted = needs("CLIENT_CERTIFICATE");
                Err(ConfigError::new(variable(own, "CLIENT_KEY"), value, accepted))
            }
            (None, Some(certificate)) => {
                let own = self.own.client_certificate.as_ref().map(|_| signal);
                let value = certificate.display().to_string();
                let accepted = needs("CLIENT_KEY");
                Err(ConfigError::new(variable(own, "CLIENT_CERTIFICATE"), value, accepted))
            }
        }
    }
}

fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "traces",
        Signal::Logs => "logs",
        Signal::Metrics => "metrics",
    }
}

fn variable(own: Option<Signal>, suffix: &str) -> String {
    match own {
        Some(signal) => {
            format!("OTEL_EXPORTER_OTLP_{}_{suffix}", path(signal).to_ascii_uppercase())
        }
        None => format!("OTEL_EXPORTER_OTLP_{suffix}"),
    }
}

/// `asked` without what stands before an `@`: that may be a password.
fn without_user(asked: &str) -> String {
    match asked.rsplit_once('@') {
        Some((_, host)) => format!("<redacted>@{host}"),
        None => asked.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(change: impl FnOnce(&mut Config), signal: Signal) -> Option<String> {
        let mut config = Config::new("test", "0");
        change(&mut config);
        Destination::of(&config, signal).unwrap().map(|destination| destination.url.to_string())
    }

    #[test]
    fn without_an_endpoint_nothing_is_sent() {
        for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
            assert_eq!(url(|_| {}, signal), None);
        }
    }

    #[test]
    fn over_http_a_general_endpoint_gets_the_path_and_an_own_one_is_verbatim() {
        let general = |config: &mut Config| config.otlp.endpoint = Some("http://c:1/base/".into());
        assert_eq!(url(general, Signal::Logs).unwrap(), "http://c:1/base/v1/logs");
        assert_eq!(url(general, Signal::Traces).unwrap(), "http://c:1/base/v1/traces");
        assert_eq!(url(general, Signal::Metrics).unwrap(), "http://c:1/base/v1/metrics");
        let own = |config: &mut Config| config.logs.otlp.endpoint = Some("http://d/x".into());
        assert_eq!(url(own, Signal::Logs).unwrap(), "http://d/x");
        assert_eq!(url(own, Signal::Traces), None);
    }

    #[test]
    fn over_grpc_a_host_without_scheme_is_reached_with_tls_unless_insecure() {
        let general = |insecure| {
            move |config: &mut Config| {
                config.otlp.protocol = Some(Protocol::Grpc);
                config.otlp.endpoint = Some("collector:4317".into());
                config.otlp.insecure = insecure;
            }
        };
        assert_eq!(url(general(None), Signal::Logs).unwrap(), "https://collector:4317/");
        assert_eq!(url(general(Some(true)), Signal::Logs).unwrap(), "http://collector:4317/");
    }

    #[test]
    fn an_exporter_without_an_endpoint_goes_to_the_standard_port() {
        let on = |protocol| {
            move |config: &mut Config| {
                config.otlp.protocol = protocol;
                config.logs.exporter = Some(Exporter::Otlp);
            }
        };
        let http = "http://localhost:4318/v1/logs";
        assert_eq!(url(on(None), Signal::Logs).unwrap(), http);
        assert_eq!(url(on(Some(Protocol::Grpc)), Signal::Logs).unwrap(), "http://localhost:4317/");
        assert_eq!(url(on(None), Signal::Traces), None);
    }

    #[test]
    fn a_signal_or_the_whole_can_be_switched_off() {
        let off = |config: &mut Config| {
            config.otlp.endpoint = Some("http://c".into());
            config.logs.exporter = Some(Exporter::None);
        };
        assert_eq!(url(off, Signal::Logs), None);
        assert!(url(off, Signal::Traces).is_some());
        let disabled = |config: &mut Config| {
            off(config);
            config.disabled = true;
        };
        assert_eq!(url(disabled, Signal::Traces), None);
    }

    #[test]
    fn messages_show_no_query() {
        let mut config = Config::new("test", "0");
        config.traces.otlp.endpoint = Some("https://c:9/v1/traces?token=s3cret".into());
        let shown = Destination::of(&config, Signal::Traces).unwrap().unwrap().shown();
        assert_eq!(shown, "https://c:9/v1/traces");
    }
}
