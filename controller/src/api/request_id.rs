//! The id of a request, and the time that it may take. The id is the client's, if it is fit for a log, or a new one. It
//! is in the reply, in every line of the log about the request, and in the audit log.

use super::ApiError;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use tracing::Instrument;

/// How long a request may take. A change goes on behind it.
pub const REQUEST_TIME: Duration = Duration::from_mins(1);

/// The header, in requests and replies.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, an extension of it.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// Gives every request its id, and the time that it may take.
pub(super) async fn give(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
    let id = given.filter(|id| is_id(id)).map_or_else(new, str::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = tracing::info_span!("request", id, method = %request.method(), path = request.uri().path());
    let answered = timeout(REQUEST_TIME, next.run(request)).instrument(span.clone()).await;
    let mut response = answered.unwrap_or_else(|_| span.in_scope(|| ApiError::TooLate.into_response()));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, id);
    }
    response
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Differs from all ids of this process, and most likely from those of others.
fn new() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("coil-controller"));
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:016x}-{}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_answered_with_its_id() {
        use axum::routing::get;
        use tower::ServiceExt;
        let router = axum::Router::new()
            .route("/", get(async || std::future::pending::<()>().await))
            .layer(axum::middleware::from_fn(give));
        let request = Request::get("/").header(HEADER, "slow-1").body(axum::body::Body::empty());
        let response = router.oneshot(request.expect("request")).await.expect("infallible");
        assert_eq!(
            (response.status().as_u16(), &response.headers()[HEADER]),
            (408, &HeaderValue::from_static("slow-1"))
        );
    }

    #[test]
    fn ids() {
        assert_ne!(new(), new());
        assert!(is_id(&new()) && is_id("a") && is_id("3f0b6f0e-6d3c-4c39-8a55-6fd8f8f6ad1e"));
        for bad in ["", "a b", "a\"b", "ü", "a=b", &"x".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
