//! Namespaces.

use super::failure::Refusal;
use crate::api::Context;
use crate::auth::Caller;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use common::server::parse_object;
use common::wire::lastbackend::{ActivityView, NamespaceView};
use serde::de::DeserializeOwned;

pub(super) type Reply<T> = Result<Json<T>, Refusal>;
pub(super) type Body = Result<Bytes, BytesRejection>;
pub(super) type Segments<T> = Result<Path<T>, PathRejection>;

pub(super) async fn create(
    State(context): State<Context>,
    caller: Caller,
    body: Body,
) -> Reply<NamespaceView> {
    Ok(Json(context.platform.create_namespace(&caller, &object(body)?).await?))
}

pub(super) async fn list(State(context): State<Context>) -> Reply<Vec<NamespaceView>> {
    Ok(Json(context.platform.namespaces().await?))
}

pub(super) async fn show(State(context): State<Context>, path: Segments<String>) -> Reply<NamespaceView> {
    Ok(Json(context.platform.namespace(&path?).await?))
}

pub(super) async fn update(
    State(context): State<Context>,
    caller: Caller,
    path: Segments<String>,
    body: Body,
) -> Reply<NamespaceView> {
    Ok(Json(context.platform.update_namespace(&caller, &path?, &object(body)?).await?))
}

pub(super) async fn remove(
    State(context): State<Context>,
    caller: Caller,
    path: Segments<String>,
) -> Result<StatusCode, Refusal> {
    context.platform.remove_namespace(&caller, &path?).await?;
    Ok(StatusCode::OK)
}

pub(super) async fn activity(
    State(context): State<Context>,
    path: Segments<String>,
) -> Reply<Vec<ActivityView>> {
    Ok(Json(context.platform.namespace_activity(&path?).await?))
}

/// A body that is a JSON object.
pub(super) fn object<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    parse_object(&body.map_err(Refusal::Body)?).map_err(Refusal::Malformed)
}
