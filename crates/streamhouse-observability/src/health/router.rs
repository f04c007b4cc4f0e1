//! The three endpoints.

use super::Health;
use super::report::{Alive, Report};
use crate::clock;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// When a client should ask again: the period of the probes, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// `GET` serves `HEAD` too; the router answers other methods with 405.
pub(super) fn router(health: Health) -> Router {
    let (ready, live) = (health.clone(), health.clone());
    Router::new()
        .route("/health", get(async move || summary(&health.report())))
        .route("/health/ready", get(async move || readiness(&ready.report())))
        .route("/health/live", get(async move || liveness(&live.alive())))
}

#[derive(Serialize)]
struct Summary {
    status: &'static str,
    timestamp: String,
}

#[derive(Serialize)]
struct Readiness<'r> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    checks: &'r BTreeMap<&'static str, String>,
    timestamp: String,
}

#[derive(Serialize)]
struct Liveness {
    status: &'static str,
    uptime_seconds: u64,
    /// Seconds since the last beat of each loop that stands still.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    stalled: BTreeMap<&'static str, u64>,
}

pub(super) fn summary(report: &Report) -> Response {
    let status = if report.ready { "ok" } else { "unready" };
    answer(report.ready, &Summary { status, timestamp: timestamp() })
}

pub(super) fn readiness(report: &Report) -> Response {
    let body = Readiness {
        status: if report.ready { "ready" } else { "unready" },
        reason: report.draining.then_some("draining"),
        checks: &report.checks,
        timestamp: timestamp(),
    };
    answer(report.ready, &body)
}

pub(super) fn liveness(alive: &Alive) -> Response {
    let body = Liveness {
        status: if alive.is_alive() { "alive" } else { "stalled" },
        uptime_seconds: alive.uptime.as_secs(),
        stalled: alive.stalled.iter().map(|(name, age)| (*name, age.as_secs())).collect(),
    };
    answer(alive.is_alive(), &body)
}

fn answer(well: bool, body: &impl Serialize) -> Response {
    // Plain structs of text and numbers: this cannot fail.
    let body = serde_json::to_string(body).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !well {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

fn timestamp() -> String {
    let mut text = Vec::new();
    clock::write(&mut text, SystemTime::now());
    String::from_utf8_lossy(&text).into_owned()
}
