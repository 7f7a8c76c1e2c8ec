//! `/nsippool`, `/getAllPool` and `/serviceIPPool` (`docs/api/ip-pools.md`): every failure of these paths is 400 with
//! `{"Error": "…"}`, as the clients of this API expect.

use super::route::{Route, Rule};
use super::{ApiError, Context};
use crate::auth::{Action, Caller, Scope};
use crate::ip_pools::IpPoolError;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use common::error::chain;
use common::name::{NameError, PodText};
use common::pool_id::Scoped;
use common::server::parse_object;
use common::wire::ip_pools::{
    CreateNamespacePool, CreateServicePool, Failure, NamespacePoolView, ServicePoolView,
};
use serde::de::DeserializeOwned;

/// All routes of this API.
pub(super) fn routes() -> Vec<Route> {
    let routes = [namespace_pools(), service_pools()].into_iter().flatten();
    let text = "it can't be done, or is malformed; or the store failed";
    routes.map(|route| route.fails_as::<Failure>(400, text, refuse)).collect()
}

const READ: Rule = Rule::Needs(Action::Read, Scope::Namespace("namespace"));
const CHANGE: Rule = Rule::Needs(Action::Change, Scope::Namespace("namespace"));
const CREATE: Rule = Rule::Needs(Action::Change, Scope::NamespaceInBody("namespace"));

fn namespace_pools() -> Vec<Route> {
    let path = "/nsippool/{namespace}/{name}";
    vec![
        Route::post("/nsippool", CREATE, create_namespace_pool)
            .summary("Makes a pool of a namespace")
            .takes::<CreateNamespacePool>()
            .answers::<NamespacePoolView>(200, "the pool"),
        named(Route::get(path, READ, namespace_pool))
            .summary("Shows a pool of a namespace, with the pods that have its addresses")
            .answers::<NamespacePoolView>(200, "the pool"),
        named(Route::delete(path, CHANGE, delete_namespace_pool))
            .summary("Deletes a pool of a namespace of which nothing is used")
            .answers::<NamespacePoolView>(200, "the pool as it was"),
        Route::get("/getAllPool/{namespace}", READ, namespace_pools_of)
            .summary("Shows all pools of a namespace")
            .parameter::<PodText>("namespace", "the namespace")
            .answers_all::<NamespacePoolView>("the pools, by name"),
    ]
}

fn service_pools() -> Vec<Route> {
    let path = "/serviceIPPool/{namespace}/{name}";
    vec![
        Route::post("/serviceIPPool", CREATE, create_service_pool)
            .summary("Sets a part of a namespace's pool aside for a service")
            .takes::<CreateServicePool>()
            .answers::<ServicePoolView>(200, "the pool"),
        named(Route::get(path, READ, service_pool))
            .summary("Shows a service's pool")
            .answers::<ServicePoolView>(200, "the pool"),
        named(Route::delete(path, CHANGE, delete_service_pool))
            .summary("Deletes a service's pool of which no pod has an address")
            .answers::<ServicePoolView>(200, "the pool as it was"),
    ]
}

fn named(route: Route) -> Route {
    route
        .parameter::<PodText>("namespace", "the namespace")
        .parameter::<PodText>("name", "name of the pool, unique within the namespace")
}

type Reply<T> = Result<Json<T>, Refusal>;
type Body = Result<Bytes, BytesRejection>;
type Segments<T> = Result<Path<T>, PathRejection>;

async fn create_namespace_pool(
    State(context): State<Context>,
    caller: Caller,
    body: Body,
) -> Reply<NamespacePoolView> {
    Ok(Json(context.ip_pools.create_namespace_pool(&caller, &object(body)?).await?))
}

async fn namespace_pool(
    State(context): State<Context>,
    path: Segments<(String, String)>,
) -> Reply<NamespacePoolView> {
    Ok(Json(context.ip_pools.namespace_pool(&scoped(path)?).await?))
}

async fn delete_namespace_pool(
    State(context): State<Context>,
    caller: Caller,
    path: Segments<(String, String)>,
) -> Reply<NamespacePoolView> {
    Ok(Json(context.ip_pools.delete_namespace_pool(&caller, &scoped(path)?).await?))
}

async fn namespace_pools_of(
    State(context): State<Context>,
    path: Segments<String>,
) -> Reply<Vec<NamespacePoolView>> {
    let Path(namespace) = path.map_err(|error| Refusal::Malformed(error.body_text()))?;
    Ok(Json(context.ip_pools.namespace_pools(&PodText::new(namespace)?).await?))
}

async fn create_service_pool(
    State(context): State<Context>,
    caller: Caller,
    body: Body,
) -> Reply<ServicePoolView> {
    Ok(Json(context.ip_pools.create_service_pool(&caller, &object(body)?).await?))
}

async fn service_pool(
    State(context): State<Context>,
    path: Segments<(String, String)>,
) -> Reply<ServicePoolView> {
    Ok(Json(context.ip_pools.service_pool(&scoped(path)?).await?))
}

async fn delete_service_pool(
    State(context): State<Context>,
    caller: Caller,
    path: Segments<(String, String)>,
) -> Reply<ServicePoolView> {
    Ok(Json(context.ip_pools.delete_service_pool(&caller, &scoped(path)?).await?))
}

/// What is malformed is told as all of this API's failures are.
fn refuse(error: ApiError) -> Response {
    match error {
        ApiError::Malformed(text) => Refusal::Malformed(text).into_response(),
        ApiError::Body(rejection) => Refusal::Malformed(rejection.body_text()).into_response(),
        error => error.into_response(),
    }
}

fn object<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let body = body.map_err(|error| Refusal::Malformed(error.body_text()))?;
    parse_object(&body).map_err(Refusal::Malformed)
}

fn scoped(path: Segments<(String, String)>) -> Result<Scoped, Refusal> {
    let Path((namespace, name)) = path.map_err(|error| Refusal::Malformed(error.body_text()))?;
    Ok(Scoped { namespace: PodText::new(namespace)?, name: PodText::new(name)? })
}

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// The body or path is malformed.
    #[error("{0}")]
    Malformed(String),
    /// A name in the path is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The use case failed.
    #[error(transparent)]
    Case(#[from] IpPoolError),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let cause = chain(&self);
        if matches!(self, Self::Case(IpPoolError::Store(_) | IpPoolError::Record(_))) {
            tracing::warn!(error = cause, "request failed");
        } else {
            tracing::debug!(error = cause, "request refused");
        }
        let error = match self {
            // Which call of which library failed is for the log.
            Self::Case(IpPoolError::Store(error)) => error.to_string(),
            Self::Malformed(_) | Self::Name(_) | Self::Case(_) => cause,
        };
        (StatusCode::BAD_REQUEST, Json(Failure { error })).into_response()
    }
}
