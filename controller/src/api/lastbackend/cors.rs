//! What pages of other sites may do: everything, with a token. Without one a browser's requests are not let in, as they
//! say whose page they come from.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("OPTIONS,GET,POST,PUT,DELETE")),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Authorization,Content-Type,X-Request-Id"),
    ),
];

/// Adds the headers to every answer of this API, whoever gives it.
pub(in crate::api) async fn allow(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let ours = path == super::ALL || path.starts_with("/namespace/");
    let mut response = next.run(request).await;
    if ours {
        response.headers_mut().extend(HEADERS);
    }
    response
}

/// `OPTIONS`
pub(super) async fn options() -> StatusCode {
    StatusCode::OK
}
