//! TLS to the receiver: system authorities or a file of them, and our own certificate.

use super::super::destination::{Destination, Identity};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tonic::transport::ClientTlsConfig;

/// Why an exporter cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// A PEM file is missing or unreadable.
    #[error("cannot read {path}: {problem}")]
    File { path: String, problem: String },
    /// A header's name or value is not legal.
    #[error("a configured header is not legal")]
    Header,
    /// The system has no certificate authorities.
    #[error("the system has no certificate authorities; set OTEL_EXPORTER_OTLP_CERTIFICATE")]
    NoAuthorities,
    /// The HTTP or gRPC client refused its settings.
    #[error("cannot build the client: {0}")]
    Client(String),
}

/// TLS for the gRPC client.
pub(super) fn grpc_tls(destination: &Destination) -> Result<ClientTlsConfig, TransportError> {
    let mut tls = ClientTlsConfig::new();
    tls = match &destination.certificate {
        Some(path) => tls.ca_certificate(tonic::transport::Certificate::from_pem(read(path)?)),
        None => tls.with_native_roots(),
    };
    if let Some(Identity { key, certificate }) = &destination.identity {
        tls = tls.identity(tonic::transport::Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

/// TLS for the HTTP client. Always complete, because the client wants one for plain HTTP too.
pub(super) fn http_tls(destination: &Destination) -> Result<ClientConfig, TransportError> {
    let client = |error: rustls::Error| TransportError::Client(error.to_string());
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(client)?
            .with_root_certificates(authorities(destination)?);
    match &destination.identity {
        None => Ok(builder.with_no_client_auth()),
        Some(Identity { key, certificate }) => {
            let bytes = read(key)?;
            let key =
                PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| unreadable(key, &error))?;
            builder.with_client_auth_cert(certificates(certificate)?, key).map_err(client)
        }
    }
}

fn authorities(destination: &Destination) -> Result<RootCertStore, TransportError> {
    let mut store = RootCertStore::empty();
    if !destination.is_tls() {
        return Ok(store);
    }
    match &destination.certificate {
        Some(path) => {
            for certificate in certificates(path)? {
                store.add(certificate).map_err(|error| unreadable(path, &error))?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if store.is_empty() { Err(TransportError::NoAuthorities) } else { Ok(store) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(unreadable(path, &"it holds no PEM certificate"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TransportError> {
    std::fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, problem: &dyn std::fmt::Display) -> TransportError {
    TransportError::File { path: path.display().to_string(), problem: problem.to_string() }
}
