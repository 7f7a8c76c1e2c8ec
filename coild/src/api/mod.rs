//! coild's REST API: thin handlers over the use cases, and the one place where failures become HTTP codes.

mod ip;
mod node;

use crate::allocate::{AllocationError, Sources};
use crate::allocator::AllocatorError;
use crate::lease_keeper::LeaseError;
use crate::metrics::Metrics;
use crate::refusals::Refusals;
use crate::state::AllocateError;
use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use common::error::chain;
use common::wire::node::ErrorReply;
use std::sync::Arc;

/// What the handlers need.
#[derive(Clone)]
pub struct Context {
    /// Where addresses come from.
    pub sources: Sources,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where pods that get no address are noted.
    pub refusals: Refusals,
}

/// All routes.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/ip", post(ip::allocate))
        .route("/ip/{*attachment}", get(ip::show).delete(ip::release))
        .route("/gc", post(node::collect))
        .route("/status", get(node::status))
        .route("/healthz", get(node::healthz))
        .route("/readyz", get(node::readyz))
        .route("/metrics", get(node::metrics))
        .fallback(async || ApiError::UnknownPath)
        .method_not_allowed_fallback(async || ApiError::WrongMethod)
        .with_state(context)
}

/// The routes that tell how the node is, and nothing of its containers.
pub fn observed(context: Context) -> Router {
    Router::new()
        .route("/healthz", get(node::healthz))
        // Without its parameters, by which blocks may be leased.
        .route("/readyz", get(node::answers))
        .route("/metrics", get(node::metrics))
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
    #[error("there is nothing at this path")]
    UnknownPath,
    /// The route does not have this method.
    #[error("this path does not have this method")]
    WrongMethod,
    /// The pod has no address.
    #[error("no address is assigned to this container of the pod on {0}")]
    NotAssigned(String),
    /// No address is given.
    #[error(transparent)]
    Allocation(#[from] AllocationError),
    /// The allocator failed.
    #[error(transparent)]
    Allocator(#[from] AllocatorError),
    /// The node can't serve this at the moment.
    #[error("{0}")]
    NotReady(String),
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        Self::Body(rejection)
    }
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Allocation(AllocationError::Chosen(LeaseError::Outside(_))) => {
                StatusCode::BAD_REQUEST
            }
            Self::Body(rejection) => rejection.status(),
            Self::UnknownPath | Self::NotAssigned(_) => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Allocator(error) | Self::Allocation(AllocationError::Allocator(error)) => match error {
                AllocatorError::Journal(_) | AllocatorError::Stopped => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::NotReady(_)
            | Self::Allocation(
                AllocationError::NoBlock { .. }
                | AllocationError::TimedOut(_)
                | AllocationError::Chosen(_)
                | AllocationError::ChosenTimedOut,
            ) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Allocation(AllocationError::Refused(error)) => match error {
                AllocateError::Held { .. } => StatusCode::CONFLICT,
                AllocateError::Outside(..) | AllocateError::OutsideAll(_) | AllocateError::Reserved(..) => {
                    StatusCode::BAD_REQUEST
                }
                AllocateError::NoPool { .. }
                | AllocateError::Disabled(_)
                | AllocateError::NoFamily(..)
                | AllocateError::NoneListed { .. }
                | AllocateError::WrongChoice { .. }
                | AllocateError::NothingFree { .. }
                | AllocateError::NotLeased { .. }
                | AllocateError::Taken(_)
                | AllocateError::Closed(_) => StatusCode::SERVICE_UNAVAILABLE,
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let error = chain(&self);
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), error, "request failed");
        } else {
            tracing::debug!(status = status.as_u16(), error, "request refused");
        }
        (status, Json(ErrorReply { error, status: status.as_u16() })).into_response()
    }
}
