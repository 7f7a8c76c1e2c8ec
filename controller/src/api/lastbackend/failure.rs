//! Failures as the clients of this API expect them: `{"code", "status", "message"}`.

use crate::api::ApiError;
use crate::lastbackend::PlatformError;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use common::error::chain;
use common::wire::lastbackend::Failure;

const INTERNAL: &str = "INTERNAL_SERVER_ERROR";

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The body, path or query is malformed.
    #[error("{0}")]
    Malformed(String),
    /// The body can't be read.
    #[error("the body can't be read: {}", .0.body_text())]
    Body(BytesRejection),
    /// The use case failed.
    #[error(transparent)]
    Case(#[from] PlatformError),
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::Malformed(rejection.body_text())
    }
}

impl Refusal {
    /// HTTP's word, and this API's.
    fn status(&self) -> (StatusCode, String) {
        let (code, name) = match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "INCORRECT_JSON"),
            Self::Body(rejection) => (rejection.status(), "INCORRECT_JSON"),
            Self::Case(error) => match error {
                PlatformError::Store(_) | PlatformError::Record(_) | PlatformError::Engine(_) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, INTERNAL)
                }
                PlatformError::BadParameter { field, .. } => {
                    let name = format!("BAD_PARAMETER_{}", field.replace(' ', "_").to_uppercase());
                    return (StatusCode::NOT_ACCEPTABLE, name);
                }
                PlatformError::NamespaceExists(_) | PlatformError::ServiceExists(_) => {
                    (StatusCode::BAD_REQUEST, "NAME_NOT_UNIQUE")
                }
                PlatformError::UnknownNamespace(_) => (StatusCode::NOT_FOUND, "NAMESPACE_NOT_FOUND"),
                PlatformError::UnknownService(..) => (StatusCode::NOT_FOUND, "SERVICE_NOT_FOUND"),
                PlatformError::UnknownTemplate(_) => (StatusCode::NOT_FOUND, "TEMPLATE_NOT_FOUND"),
                PlatformError::UnknownSpec(..) => (StatusCode::NOT_FOUND, "SPEC_NOT_FOUND"),
                PlatformError::UnknownPod(..) | PlatformError::NoPods(_) => {
                    (StatusCode::NOT_FOUND, "POD_NOT_FOUND")
                }
                PlatformError::UnknownContainer(..) | PlatformError::NoContainers(_) => {
                    (StatusCode::NOT_FOUND, "CONTAINER_NOT_FOUND")
                }
            },
        };
        (code, name.to_owned())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, status) = self.status();
        let cause = chain(&self);
        if code.is_server_error() {
            tracing::warn!(status, error = cause, "request failed");
        } else {
            tracing::debug!(status, error = cause, "request refused");
        }
        let message = match self {
            // Which call of which library failed is for the log.
            Self::Case(PlatformError::Store(error)) => error.to_string(),
            Self::Malformed(_) | Self::Body(_) | Self::Case(_) => cause,
        };
        (code, Json(Failure { code: code.as_u16(), status, message })).into_response()
    }
}

/// What is refused before the handler is called is told as all of this API's failures are.
pub(super) fn refuse(error: ApiError) -> Response {
    let status = match &error {
        ApiError::Malformed(_) | ApiError::Body(_) => "INCORRECT_JSON",
        ApiError::Unauthenticated(_) => "UNAUTHORIZED",
        ApiError::Forbidden { .. } => "FORBIDDEN",
        ApiError::UnknownPath | ApiError::NotYours => "NOT_FOUND",
        ApiError::WrongMethod => "METHOD_NOT_ALLOWED",
        ApiError::TooLate => "REQUEST_TIMEOUT",
        ApiError::Aborted | ApiError::Case(_) | ApiError::IpPool(_) => INTERNAL,
    };
    let message = chain(&error);
    let answer = error.into_response();
    let code = answer.status();
    let failure = Failure { code: code.as_u16(), status: status.to_owned(), message };
    let mut response = (code, Json(failure)).into_response();
    if let Some(scheme) = answer.headers().get(header::WWW_AUTHENTICATE) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme.clone());
    }
    response
}
