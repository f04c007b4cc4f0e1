//! HTTP for the S3 client: the usual transport, and statuses that can still be seen afterwards.

use http::StatusCode;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use std::error::Error;
use streamhouse_observability::labels;

/// A reply with a status of failure. The client's own error would lose the status of most, and
/// its text would hold the whole reply, in which servers repeat parts of the credentials.
#[derive(Debug, thiserror::Error)]
#[error("status {status}{}{code}", if .code.is_empty() { "" } else { ", " })]
struct Refusal {
    status: StatusCode,
    /// The code in the reply's body, such as `SlowDown`; empty where there is none.
    code: String,
}

/// Makes transports whose failures are [`Refusal`]s.
#[derive(Debug, Default)]
pub(super) struct Connector {
    inner: ReqwestConnector,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Transport { inner: self.inner.connect(options)? }))
    }
}

#[derive(Debug)]
struct Transport {
    inner: HttpClient,
}

#[async_trait::async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.inner.execute(request).await?;
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(response);
        }
        let body = response.into_body().bytes().await.unwrap_or_default();
        let code = code_in(&String::from_utf8_lossy(&body));
        Err(HttpError::new(HttpErrorKind::Unknown, Refusal { status, code }))
    }
}

/// The error code in the body of a reply: a word of at most 64 letters and digits.
fn code_in(body: &str) -> String {
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let is_word = |code: &&str| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric());
    code.map(|(code, _)| code).filter(is_word).unwrap_or_default().to_owned()
}

impl Refusal {
    fn class(&self) -> labels::StoreError {
        use labels::StoreError::{Denied, Invalid, NotFound, Server, Throttling, Timeout};
        if self.asks_for_less() {
            return Throttling;
        }
        match (self.status, &*self.code) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Denied,
            // Not an object that is missing: the configuration is wrong.
            (StatusCode::NOT_FOUND, "NoSuchBucket") => Invalid,
            (StatusCode::NOT_FOUND, _) => NotFound,
            (StatusCode::REQUEST_TIMEOUT, _) | (_, "RequestTimeout") => Timeout,
            (status, _) if status.is_server_error() => Server,
            _ => Invalid,
        }
    }

    fn asks_for_less(&self) -> bool {
        // A reply to HEAD has no body: there the status alone must do.
        self.status == StatusCode::TOO_MANY_REQUESTS
            || (self.status == StatusCode::SERVICE_UNAVAILABLE && self.code.is_empty())
            || self.code.starts_with("SlowDown")
            || self.code.starts_with("Throttling")
            || matches!(&*self.code, "TooManyRequests" | "RequestLimitExceeded")
    }
}

/// The class of a failed call, and what the store said.
pub(super) fn classify(error: &object_store::Error) -> (labels::StoreError, String) {
    let causes = || std::iter::successors(error.source(), |cause| (*cause).source());
    if let Some(refusal) = causes().find_map(|cause| cause.downcast_ref::<Refusal>()) {
        return (refusal.class(), refusal.to_string());
    }
    let class = causes().find_map(|cause| cause.downcast_ref::<HttpError>()).map(class_of);
    let message = causes().last().map_or_else(|| error.to_string(), ToString::to_string);
    (class.unwrap_or(labels::StoreError::Invalid), message)
}

/// The class of a call without a reply.
fn class_of(error: &HttpError) -> labels::StoreError {
    match error.kind() {
        HttpErrorKind::Timeout => labels::StoreError::Timeout,
        HttpErrorKind::Decode => labels::StoreError::Invalid,
        _ => labels::StoreError::Connection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> labels::StoreError {
        Refusal { status: StatusCode::from_u16(status).unwrap(), code: code.into() }.class()
    }

    #[test]
    fn only_what_asks_for_fewer_requests_is_throttling() {
        for (status, code) in
            [(503, "SlowDown"), (503, "SlowDownWrite"), (429, ""), (429, "Other"), (503, "")]
        {
            assert_eq!(refused(status, code), labels::StoreError::Throttling, "{status} {code}");
        }
        for (status, code) in [(500, "InternalError"), (503, "ServiceUnavailable"), (502, "")] {
            assert_eq!(refused(status, code), labels::StoreError::Server, "{status} {code}");
        }
    }

    #[test]
    fn statuses_become_classes_by_what_an_operator_does() {
        assert_eq!(refused(401, ""), labels::StoreError::Denied);
        assert_eq!(refused(403, "SignatureDoesNotMatch"), labels::StoreError::Denied);
        assert_eq!(refused(404, "NoSuchKey"), labels::StoreError::NotFound);
        assert_eq!(refused(404, ""), labels::StoreError::NotFound);
        assert_eq!(refused(404, "NoSuchBucket"), labels::StoreError::Invalid);
        assert_eq!(refused(400, "RequestTimeout"), labels::StoreError::Timeout);
        assert_eq!(refused(400, "EntityTooLarge"), labels::StoreError::Invalid);
        assert_eq!(refused(416, "InvalidRange"), labels::StoreError::Invalid);
    }

    #[test]
    fn a_code_is_a_short_word() {
        assert_eq!(code_in("<Error><Code>SlowDown</Code></Error>"), "SlowDown");
        for body in ["", "<Code>", "</Code><Code>", "<Code>a b</Code>", "plain"] {
            assert_eq!(code_in(body), "", "{body:?}");
        }
        assert_eq!(code_in(&format!("<Code>{}</Code>", "a".repeat(65))), "");
    }
}
