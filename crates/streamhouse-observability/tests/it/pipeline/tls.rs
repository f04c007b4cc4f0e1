use super::{config, entered, spans};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_observability::ShutdownReport;
use streamhouse_observability::pipeline::{Config, Protocol};
use streamhouse_observability::testing;
use streamhouse_observability::testing::otlp::OtlpReceiver;
use tempfile::TempDir;
use tracing_subscriber::layer::SubscriberExt;

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

/// An authority, and a folder for what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder: tempfile::tempdir().unwrap() }
    }

    fn signed(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The file of the authority's certificate.
    fn certificate(&self) -> PathBuf {
        self.file("authority.pem", &self.issuer.pem())
    }

    /// The files of a client's key and certificate.
    fn client(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.signed("client");
        (self.file("key.pem", &key.serialize_pem()), self.file("client.pem", &certificate.pem()))
    }

    /// A receiver that proves to be `name`, and asks for certificates of `clients`.
    fn receiver(&self, name: &str, clients: Option<&Self>) -> OtlpReceiver {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let (certificate, key) = self.signed(name);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        OtlpReceiver::start_tls(tls)
    }
}

fn send_five_spans(config: Config) -> ShutdownReport {
    let (observability, _default) = entered(config);
    spans(5);
    observability.shutdown(Duration::from_secs(20))
}

fn assert_nothing_arrives(receiver: &OtlpReceiver, config: Config) {
    let report = send_five_spans(config);
    assert_eq!((report.traces.exported, report.traces.failed), (0, 5), "{report:?}");
    assert_eq!(receiver.received().requests.len(), 0);
}

#[test]
fn a_receiver_whose_authority_is_configured_is_reached_over_tls() {
    let authority = Authority::new();
    for protocol in BOTH {
        let receiver = authority.receiver("127.0.0.1", None);
        let mut config = config(receiver.endpoint(), protocol);
        config.otlp.certificate = Some(authority.certificate());
        let report = send_five_spans(config);
        assert_eq!(report.traces.exported, 5, "{report:?}");
        assert_eq!(receiver.received().spans().count(), 5);
    }
}

#[test]
fn mutual_tls_shows_our_certificate() {
    let authority = Authority::new();
    for protocol in BOTH {
        let receiver = authority.receiver("127.0.0.1", Some(&authority));
        let mut config = config(receiver.endpoint(), protocol);
        config.otlp.certificate = Some(authority.certificate());
        assert_nothing_arrives(&receiver, config.clone());

        let (key, certificate) = authority.client();
        config.otlp.client_key = Some(key);
        config.otlp.client_certificate = Some(certificate);
        let report = send_five_spans(config);
        assert_eq!(report.traces.exported, 5, "{report:?}");
    }
}

#[test]
fn nothing_is_sent_to_a_receiver_that_cannot_prove_who_it_is() {
    let (authority, other) = (Authority::new(), Authority::new());
    for protocol in BOTH {
        let receiver = authority.receiver("127.0.0.1", None);
        let mut wrong_authority = config(receiver.endpoint(), protocol);
        assert_nothing_arrives_with_system_authorities(&receiver, wrong_authority.clone());
        wrong_authority.otlp.certificate = Some(other.certificate());
        assert_nothing_arrives(&receiver, wrong_authority);

        let receiver = authority.receiver("elsewhere.example", None);
        let mut wrong_name = config(receiver.endpoint(), protocol);
        wrong_name.otlp.certificate = Some(authority.certificate());
        assert_nothing_arrives(&receiver, wrong_name);

        let plain = OtlpReceiver::start();
        let endpoint = plain.endpoint().replace("http:", "https:");
        let mut no_tls = config(endpoint, protocol);
        no_tls.otlp.certificate = Some(authority.certificate());
        assert_nothing_arrives(&plain, no_tls);
    }
}

/// A machine may have no authorities at all: then the pipeline says so and sends nothing.
fn assert_nothing_arrives_with_system_authorities(receiver: &OtlpReceiver, config: Config) {
    let (observability, layers) = testing::pipeline(config).unwrap();
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layers));
    tracing::dispatcher::with_default(&dispatch, || spans(5));
    let report = observability.shutdown(Duration::from_secs(20));
    assert_eq!(report.traces.exported, 0, "{report:?}");
    assert_eq!(receiver.received().requests.len(), 0);
}

#[test]
fn an_exporter_that_cannot_be_built_is_a_problem_and_nothing_else() {
    for protocol in BOTH {
        let mut config = config("https://127.0.0.1:1".into(), protocol);
        config.otlp.certificate = Some("/nowhere/authority.pem".into());
        let (observability, layers) = testing::pipeline(config).unwrap();
        drop(tracing_subscriber::registry().with(layers));
        assert_eq!(observability.problems().len(), 3);
        for problem in observability.problems() {
            assert!(problem.contains("/nowhere/authority.pem"), "{problem}");
        }
        let report = observability.shutdown(Duration::from_secs(20));
        assert_eq!(report.traces.created, 0);
    }
}
