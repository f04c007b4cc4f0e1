//! Requests of the admin port as spans.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use streamhouse_observability::spans::{self, Arrival, Requests};
use tracing::Span;

/// Puts a span around each request to `router`.
pub(super) fn requests(router: Router, requests: Requests) -> Router {
    router.layer(from_fn_with_state(requests, follow))
}

async fn follow(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let method = request.method().as_str().to_owned();
    let route = route(request.uri().path());
    let span = || spans::http_request(&method, route);
    let traced = requests.begin(Arrival::now(), &[]);
    let work = async {
        let response = next.run(request).await;
        let status = i64::from(response.status().as_u16());
        Span::current().record("http.response.status_code", status);
        response
    };
    let response = traced.run(span, work).await;
    // An unready server answers 503 as it should: that is no failed request.
    let failed = response.status().is_server_error() && !route.starts_with("/health");
    traced.finish(failed, span);
    response
}

/// The pattern that `path` matches: a path itself could be anything.
fn route(path: &str) -> &'static str {
    const ROUTES: &[&str] =
        &["/", "/metrics", "/health", "/health/ready", "/health/live", "/groups", "/log-level"];
    match ROUTES.iter().find(|route| **route == path) {
        Some(route) => route,
        None if path.starts_with("/groups/") => "/groups/{name}",
        None => "other",
    }
}
