//! The exporters of `opentelemetry-otlp`, configured as ours are.

use super::NEVER;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    Compression as LibraryCompression, LogExporter, MetricExporter, SpanExporter, WithExportConfig,
    WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::logs::{self, BatchLogProcessor};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor};
use std::collections::HashMap;
use std::sync::Arc;
use streamhouse_observability::pipeline::{Compression, Protocol};
use tokio::runtime::Handle;
use tonic::metadata::MetadataMap;

/// Where the library's exporters send, and how. They are built inside a runtime.
pub(super) struct Library {
    pub(super) endpoint: String,
    pub(super) protocol: Protocol,
    pub(super) compression: Compression,
}

macro_rules! build {
    ($library:ident, $exporter:ident, $path:literal) => {{
        let zip = ($library.compression == Compression::Gzip).then_some(LibraryCompression::Gzip);
        match $library.protocol {
            Protocol::Grpc => {
                let mut builder = $exporter::builder()
                    .with_tonic()
                    .with_endpoint($library.endpoint.as_str())
                    .with_metadata(metadata());
                if let Some(zip) = zip {
                    builder = builder.with_compression(zip);
                }
                builder.build()
            }
            Protocol::HttpProtobuf => {
                let mut builder = $exporter::builder()
                    .with_http()
                    .with_http_client(Client::new())
                    .with_endpoint(format!("{}{}", $library.endpoint, $path))
                    .with_headers(HashMap::from([("x-tenant".to_owned(), "blue".to_owned())]));
                if let Some(zip) = zip {
                    builder = builder.with_compression(zip);
                }
                builder.build()
            }
        }
        .expect("the library's exporter")
    }};
}

impl Library {
    /// Spans leave in one batch, when told to.
    pub(super) fn spans(&self) -> BatchSpanProcessor {
        let rarely = trace::BatchConfigBuilder::default().with_scheduled_delay(NEVER).build();
        let exporter = build!(self, SpanExporter, "/v1/traces");
        BatchSpanProcessor::builder(exporter).with_batch_config(rarely).build()
    }

    /// Log records leave in one batch, when told to.
    pub(super) fn logs(&self) -> BatchLogProcessor {
        let rarely = logs::BatchConfigBuilder::default().with_scheduled_delay(NEVER).build();
        let exporter = build!(self, LogExporter, "/v1/logs");
        BatchLogProcessor::builder(exporter).with_batch_config(rarely).build()
    }

    pub(super) fn metrics(&self) -> MetricExporter {
        build!(self, MetricExporter, "/v1/metrics")
    }
}

fn metadata() -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-tenant", "blue".parse().unwrap());
    metadata
}

/// The library's HTTP without the clients that it has features for: those would change what our
/// own client is built with. It sets no header.
#[derive(Debug)]
struct Client(reqwest::Client, Handle);

impl Client {
    fn new() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
        Self(client.build().unwrap(), Handle::current())
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.0.clone();
        // The library calls from threads without a runtime.
        let answer = self.1.spawn(async move {
            let answer = client.execute(request.try_into()?).await?;
            let status = answer.status();
            let mut response = Response::new(answer.bytes().await?);
            *response.status_mut() = status;
            Ok::<_, reqwest::Error>(response)
        });
        Ok(answer.await??)
    }
}
