//! HTTP over the use cases: thin handlers, and the one place where failures become status codes.
//!
//! * [`admin`]: `/v1/`, for operators
//! * [`health`]: `/healthz`, `/readyz`, `/metrics`
//! * [`request`]: bodies, paths and queries, parsed with errors that name what is wrong

pub mod admin;
mod health;
mod request;

use crate::error::Error;
use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use common::error::chain;
use common::store::{Store, StoreError};
use common::wire::admin::Failure;
use std::sync::Arc;

/// What the handlers need.
#[derive(Clone)]
pub struct Context {
    /// Everything is in here.
    pub store: Arc<dyn Store>,
}

/// All routes.
pub fn router(context: Context) -> Router {
    Router::new()
        .nest("/v1", admin::router())
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(async || ApiError::UnknownPath)
        .method_not_allowed_fallback(async || ApiError::WrongMethod)
        .with_state(context)
}

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body, path or query is malformed.
    #[error("{0}")]
    Malformed(String),
    /// The body can't be read.
    #[error("the body can't be read: {}", .0.body_text())]
    Body(BytesRejection),
    /// There is no such route.
    #[error("there is nothing at this path; the API is described in docs/api/admin.md")]
    UnknownPath,
    /// The route does not have this method.
    #[error("this path does not have this method")]
    WrongMethod,
    /// The use case failed.
    #[error(transparent)]
    Case(#[from] Error),
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        Self::Body(rejection)
    }
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Body(rejection) => rejection.status(),
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Case(error) => status_of(error),
        }
    }
}

fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::InvalidPool(_) | Error::Refused(_) | Error::BadToken => StatusCode::BAD_REQUEST,
        Error::UnknownPool(_)
        | Error::UnknownSubnet { .. }
        | Error::UnknownNode(_)
        | Error::AddressOutside(_)
        | Error::NotHeld { .. } => StatusCode::NOT_FOUND,
        Error::PoolExists(_)
        | Error::Overlap { .. }
        | Error::SubnetExists { .. }
        | Error::LastSubnet { .. }
        | Error::InUse { .. }
        | Error::NodeAlive { .. }
        | Error::NodeActive { .. } => StatusCode::CONFLICT,
        Error::Store(StoreError::Unavailable { .. } | StoreError::Rewound | StoreError::Conflict) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Error::Store(StoreError::Compacted(_) | StoreError::UnknownTtl | StoreError::Refused { .. })
        | Error::Record(_)
        | Error::Space { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let cause = chain(&self);
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), error = cause, "request failed");
        } else {
            tracing::debug!(status = status.as_u16(), error = cause, "request refused");
        }
        let error = match self {
            // Which call of which library failed is for the log.
            Self::Case(Error::Store(error)) => error.to_string(),
            _ => cause,
        };
        (status, Json(Failure { status: status.as_u16(), error })).into_response()
    }
}
