//! Who may use the admin port.

use crate::config::Secret;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

/// Lets requests through to `router` that carry `token`, or all if there is none.
pub(super) fn guard(router: Router, token: Option<Secret>) -> Router {
    match token {
        None => router,
        Some(token) => router.layer(from_fn_with_state(token, check)),
    }
}

async fn check(State(token): State<Secret>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
    if given.is_some_and(|given| is_same(given, token.reveal().as_bytes())) {
        return next.run(request).await;
    }
    let fix = "send `Authorization: Bearer <token>` with the token of admin.token\n";
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], fix).into_response()
}

/// Compares without telling by its duration how many bytes are right; only the length shows.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    let different = given.iter().zip(token).fold(0, |seen, (a, b)| seen | (a ^ b));
    std::hint::black_box(different) == 0 && given.len() == token.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(is_same(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret", b"secreT"] {
            assert!(!is_same(wrong, b"secret"), "{wrong:?}");
        }
    }
}
