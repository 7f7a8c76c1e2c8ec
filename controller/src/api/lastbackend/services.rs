//! Services, their specs and their output.

use super::failure::Refusal;
use super::namespaces::{Body, Reply, Segments, object};
use crate::api::request::Parameters;
use crate::api::{ApiError, Context};
use crate::auth::Caller;
use crate::lastbackend::logs::Which;
use crate::lastbackend::{PlatformError, service_id};
use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use common::lastbackend::ServiceId;
use common::wire::lastbackend::{ActivityView, ServiceView};

pub(super) async fn create(
    State(context): State<Context>,
    caller: Caller,
    path: Segments<String>,
    body: Body,
) -> Reply<ServiceView> {
    Ok(Json(context.platform.create_service(&caller, &path?, &object(body)?).await?))
}

pub(super) async fn list(State(context): State<Context>, path: Segments<String>) -> Reply<Vec<ServiceView>> {
    Ok(Json(context.platform.services(&path?).await?))
}

pub(super) async fn show(
    State(context): State<Context>,
    path: Segments<(String, String)>,
) -> Reply<ServiceView> {
    Ok(Json(context.platform.service(&id(path)?).await?))
}

pub(super) async fn update(
    State(context): State<Context>,
    caller: Caller,
    path: Segments<(String, String)>,
    body: Body,
) -> Reply<ServiceView> {
    let body = object(body)?;
    Ok(Json(context.platform.update_service(&caller, &id(path)?, &body).await?))
}

pub(super) async fn remove(
    State(context): State<Context>,
    caller: Caller,
    path: Segments<(String, String)>,
) -> Result<StatusCode, Refusal> {
    context.platform.remove_service(&caller, &id(path)?).await?;
    Ok(StatusCode::OK)
}

pub(super) async fn activity(
    State(context): State<Context>,
    path: Segments<(String, String)>,
) -> Reply<Vec<ActivityView>> {
    let Path((namespace, name)) = path?;
    Ok(Json(context.platform.service_activity(&namespace, &name).await?))
}

pub(super) async fn logs(
    State(context): State<Context>,
    path: Segments<(String, String)>,
    parameters: Result<Parameters, ApiError>,
) -> Result<Response, Refusal> {
    let Path((namespace, name)) = path?;
    let which = which(parameters).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let output = context.platform.logs(&namespace, &name, &which).await?;
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, HttpBody::from_stream(output)).into_response())
}

fn which(parameters: Result<Parameters, ApiError>) -> Result<Which, ApiError> {
    let mut parameters = parameters?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let which = Which {
        pod: given(parameters.take("pod")?),
        container: given(parameters.take("container")?),
        follow: parameters.take("follow")?.unwrap_or(true),
    };
    parameters.finish()?;
    Ok(which)
}

pub(super) async fn add_spec(
    State(context): State<Context>,
    caller: Caller,
    path: Segments<(String, String)>,
    body: Body,
) -> Reply<ServiceView> {
    let body = object(body)?;
    Ok(Json(context.platform.add_spec(&caller, &id(path)?, &body).await?))
}

pub(super) async fn update_spec(
    State(context): State<Context>,
    caller: Caller,
    path: Segments<(String, String, String)>,
    body: Body,
) -> Reply<ServiceView> {
    let Path((namespace, name, spec)) = path?;
    let body = object(body)?;
    Ok(Json(context.platform.update_spec(&caller, &service_id(&namespace, &name)?, &spec, &body).await?))
}

pub(super) async fn remove_spec(
    State(context): State<Context>,
    caller: Caller,
    path: Segments<(String, String, String)>,
) -> Result<StatusCode, Refusal> {
    let Path((namespace, name, spec)) = path?;
    context.platform.remove_spec(&caller, &service_id(&namespace, &name)?, &spec).await?;
    Ok(StatusCode::OK)
}

/// The service that a path names, which need not exist.
fn id(path: Segments<(String, String)>) -> Result<ServiceId, Refusal> {
    let Path((namespace, name)) = path?;
    service_id(&namespace, &name).map_err(|error: PlatformError| error.into())
}
