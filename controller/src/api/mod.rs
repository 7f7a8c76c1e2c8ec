//! HTTP over the use cases: thin handlers, and the one place where failures become status codes.
//!
//! * [`route`]: a route with its rule and its description
//! * [`gate`]: what stands before each handler
//! * [`request_id`]: the id of each request
//! * [`openapi`]: the description of all of it
//! * [`admin`]: `/v1/`, for operators
//! * [`ip_pools`]: the pools of namespaces and services
//! * [`lastbackend`]: namespaces, and services that run in them
//! * [`melange`]: blocks, addresses, policies and routes of tenants
//! * [`health`]: `/healthz`, `/readyz`, `/metrics`
//! * [`request`]: bodies, paths and queries, parsed with errors that name what is wrong

mod admin;
mod gate;
mod health;
mod ip_pools;
mod lastbackend;
mod melange;
mod openapi;
mod request;
mod request_id;
mod route;

pub use openapi::describe;
pub use request_id::{HEADER as REQUEST_ID, REQUEST_TIME};
pub use route::{CHANGE, FORCE, READ, Route, Rule};

use crate::auth::{Authentication, Unauthenticated};
use crate::error::Error;
use crate::ip_pools::{IpPoolError, IpPools};
use crate::lastbackend::Platform;
use crate::melange::{BackingError, Melange, Settings};
use crate::plan::PlanCache;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Json, Response};
use axum::{Extension, Router};
use common::error::chain;
use common::store::{Store, StoreError};
use common::wire::admin::Failure;
use std::sync::Arc;

/// What the handlers need.
#[derive(Clone)]
pub struct Context {
    /// Everything is in here.
    pub store: Arc<dyn Store>,
    /// How callers are known.
    pub authentication: Authentication,
    /// The pools of namespaces and services.
    pub ip_pools: Arc<IpPools>,
    /// What tenants have.
    pub melange: Arc<Melange>,
    /// Whether clients reach the API by TLS.
    pub https: bool,
    /// Namespaces, and services that run in them.
    pub platform: Arc<Platform>,
}

impl Context {
    /// Everything is in the store. Tenants have the default settings.
    pub fn new(store: Arc<dyn Store>, authentication: Authentication) -> Self {
        Self::with(store, authentication, Settings::default())
    }

    /// Everything is in the store.
    pub fn with(store: Arc<dyn Store>, authentication: Authentication, settings: Settings) -> Self {
        let plan = PlanCache::default();
        let ip_pools = Arc::new(IpPools::new(Arc::clone(&store), Arc::clone(&plan)));
        let melange = Arc::new(Melange::new(Arc::clone(&store), plan, settings));
        let platform = Arc::new(Platform::new(Arc::clone(&store)));
        Self { store, authentication, ip_pools, melange, platform, https: false }
    }

    /// The same with this platform, which has an engine.
    #[must_use]
    pub fn with_platform(self, platform: Platform) -> Self {
        Self { platform: Arc::new(platform), ..self }
    }
}

/// All routes of the controller.
pub fn routes() -> Vec<Route> {
    let parts = [
        ("Admin", admin::routes()),
        ("Pools of namespaces and services", ip_pools::routes()),
        ("Tenants: blocks, addresses, policies, routes and NAT", melange::all()),
        ("Platform", lastbackend::routes()),
        ("Health", health::routes()),
        ("Description", openapi::routes()),
    ];
    parts.into_iter().flat_map(|(tag, routes)| routes.into_iter().map(move |route| route.tag(tag))).collect()
}

/// All routes, each behind its rule.
pub fn router(context: Context) -> Router {
    let routes = routes();
    let documents = openapi::Documents::of(&routes);
    let served = routes
        .into_iter()
        .fold(Router::new(), |router, route| route.serve(router, &context))
        .fallback(async |uri: Uri| refuse_at(&uri, ApiError::UnknownPath))
        .method_not_allowed_fallback(async |uri: Uri| refuse_at(&uri, ApiError::WrongMethod))
        .layer(Extension(documents))
        .layer(from_fn(request_id::give))
        .layer(from_fn(lastbackend::allow))
        .with_state(context);
    melange::negotiate(served)
}

/// What no route answers is refused as the API at that path does.
fn refuse_at(uri: &Uri, error: ApiError) -> Response {
    if melange::is_ours(uri.path()) { melange::refuse(error) } else { error.into_response() }
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
    /// Nobody is known to have sent it.
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// Whoever sent it may not do this.
    #[error("your role may not do this; it needs one of: {roles}")]
    Forbidden {
        /// The roles that may, for people.
        roles: &'static str,
    },
    /// It is another tenant's, of which this caller need not even know whether it is there.
    #[error("there is nothing of yours at this path")]
    NotYours,
    /// It took too long.
    #[error("the request took too long")]
    TooLate,
    /// The handler did not come to its end.
    #[error("the request was cut short by a fault of the controller; its log says more")]
    Aborted,
    /// The use case failed.
    #[error(transparent)]
    Case(#[from] Error),
    /// A use case of the pools of namespaces and services failed.
    #[error(transparent)]
    IpPool(#[from] IpPoolError),
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
            Self::UnknownPath | Self::NotYours => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::TooLate => StatusCode::REQUEST_TIMEOUT,
            Self::Aborted => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Case(error) => status_of(error),
            Self::IpPool(error) => status_of_ip_pool(error),
        }
    }
}

fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::InvalidPool(_)
        | Error::Refused(_)
        | Error::Backing(BackingError::Unknown(_) | BackingError::TooMuchForbidden { .. })
        | Error::BadToken => StatusCode::BAD_REQUEST,
        Error::UnknownPool(_)
        | Error::UnknownSubnet { .. }
        | Error::UnknownNode(_)
        | Error::AddressOutside(_)
        | Error::NotHeld { .. } => StatusCode::NOT_FOUND,
        Error::PoolExists(_)
        | Error::Overlap { .. }
        | Error::OverlapsNamespacePool { .. }
        | Error::OverlapsPublicBlock { .. }
        | Error::SubnetExists { .. }
        | Error::Backing(
            BackingError::HasSubnets(_)
            | BackingError::HasAddresses(_)
            | BackingError::Backs { .. }
            | BackingError::Case(_),
        )
        | Error::Backed { .. }
        | Error::Tenant(_)
        | Error::LastSubnet { .. }
        | Error::InUse { .. }
        | Error::NodeAlive { .. }
        | Error::NodeActive { .. } => StatusCode::CONFLICT,
        Error::Store(error) => status_of_store(error),
        Error::Record(_) | Error::Space { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn status_of_ip_pool(error: &IpPoolError) -> StatusCode {
    match error {
        IpPoolError::Invalid(_) | IpPoolError::BadToken => StatusCode::BAD_REQUEST,
        IpPoolError::UnknownNamespacePool(_)
        | IpPoolError::UnknownServicePool(_)
        | IpPoolError::NoPools(_) => StatusCode::NOT_FOUND,
        IpPoolError::NamespacePoolExists(_)
        | IpPoolError::ServicePoolExists(_)
        | IpPoolError::Overlap { .. }
        | IpPoolError::ServiceOverlap { .. }
        | IpPoolError::ServiceOutside { .. }
        | IpPoolError::TooManyServices(..)
        | IpPoolError::HasServices { .. }
        | IpPoolError::LeavesServices { .. }
        | IpPoolError::InUse { .. } => StatusCode::CONFLICT,
        IpPoolError::Store(error) => status_of_store(error),
        IpPoolError::Record(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn status_of_store(error: &StoreError) -> StatusCode {
    match error {
        StoreError::Unavailable { .. } | StoreError::Rewound | StoreError::Conflict => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        StoreError::Compacted(_) | StoreError::UnknownTtl | StoreError::Refused { .. } => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
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
            Self::Case(Error::Store(error)) | Self::IpPool(IpPoolError::Store(error)) => error.to_string(),
            _ => cause,
        };
        let mut response = (status, Json(Failure { status: status.as_u16(), error })).into_response();
        ask_for_token(&mut response);
        response
    }
}

/// A 401 says how to be known.
fn ask_for_token(response: &mut Response) {
    if response.status() == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer realm=\"coil\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
}
