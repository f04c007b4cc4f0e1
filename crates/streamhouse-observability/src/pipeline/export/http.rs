//! OTLP over HTTP with protobuf bodies.

use super::super::config::Compression;
use super::super::destination::Destination;
use super::grpc::causes;
use super::tls::{TransportError, http_tls};
use super::{ANSWER_LIMIT, Failure};
use ::http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use bytes::Bytes;
use flate2::write::GzEncoder;
use std::io::Write;
use std::time::Duration;

pub(super) const USER_AGENT: &str =
    concat!("streamhouse-observability/", env!("CARGO_PKG_VERSION"));

pub(super) struct Http {
    client: reqwest::Client,
    url: String,
    headers: HeaderMap,
    gzip: bool,
}

impl Http {
    pub(super) fn new(destination: &Destination) -> Result<Self, TransportError> {
        let mut headers = HeaderMap::new();
        for (name, value) in destination.headers.reveal() {
            let name = HeaderName::try_from(name.as_str());
            let (Ok(name), Ok(mut value)) = (name, HeaderValue::try_from(value.as_str())) else {
                return Err(TransportError::Header);
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let gzip = destination.compression == Compression::Gzip;
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        // No proxy from the environment, and no redirect: headers go where they were meant for.
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(http_tls(destination)?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(USER_AGENT)
            .connect_timeout(destination.timeout)
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| TransportError::Client(causes(&error)))?;
        Ok(Self { client, url: destination.url.to_string(), headers, gzip })
    }

    pub(super) async fn send(&mut self, body: Bytes) -> Result<Bytes, Failure> {
        let body = if self.gzip { compressed(&body) } else { body };
        let request = self.client.post(&self.url).headers(self.headers.clone()).body(body);
        let broken = |error: reqwest::Error| Failure::passing(causes(&error.without_url()));
        let mut answer = request.send().await.map_err(broken)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(Failure {
                reason: format!("HTTP status {}", status.as_u16()),
                retry: matches!(status.as_u16(), 429 | 502 | 503 | 504),
                wait: answer.headers().get(RETRY_AFTER).and_then(seconds),
            });
        }
        let mut whole = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(broken)? {
            if whole.len() + part.len() > ANSWER_LIMIT {
                let reason = "the answer is too long".to_owned();
                return Err(Failure { reason, retry: false, wait: None });
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.into())
    }
}

/// `Retry-After` in seconds; its other form, a date, would need the peer's clock to be right.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn compressed(body: &Bytes) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}
