//! `/v1/pools`

use crate::api::request::{Named, Object, Parameters};
use crate::api::{ApiError, Context};
use crate::auth::Caller;
use crate::pools::{self, Change};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use common::name::PoolName;
use common::wire::admin::{AddSubnet, CreatePool, List, PoolView, RemoveSubnet};

type Reply<T> = Result<Json<T>, ApiError>;

/// `GET /v1/pools`
pub(super) async fn list(
    State(context): State<Context>,
    mut parameters: Parameters,
) -> Reply<List<PoolView>> {
    let page = parameters.page()?;
    parameters.finish()?;
    Ok(Json(pools::list(context.store.as_ref(), &page).await?))
}

/// `POST /v1/pools`
pub(super) async fn create(
    State(context): State<Context>,
    caller: Caller,
    Object(body): Object<CreatePool>,
) -> Result<(StatusCode, Json<PoolView>), ApiError> {
    let (name, pool) = body.into_pool();
    let view = pools::apply(context.store.as_ref(), &caller, &name, &Change::Create(pool)).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// `GET /v1/pools/{pool}`
pub(super) async fn show(State(context): State<Context>, Named(pool): Named<PoolName>) -> Reply<PoolView> {
    Ok(Json(pools::show(context.store.as_ref(), &pool).await?))
}

/// `DELETE /v1/pools/{pool}`
pub(super) async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Named(pool): Named<PoolName>,
) -> Reply<PoolView> {
    Ok(Json(pools::apply(context.store.as_ref(), &caller, &pool, &Change::Delete).await?))
}

/// `POST /v1/pools/{pool}/subnets`
pub(super) async fn add_subnet(
    State(context): State<Context>,
    caller: Caller,
    Named(pool): Named<PoolName>,
    Object(body): Object<AddSubnet>,
) -> Reply<PoolView> {
    Ok(Json(pools::apply(context.store.as_ref(), &caller, &pool, &Change::AddSubnet(body)).await?))
}

/// `DELETE /v1/pools/{pool}/subnets`
pub(super) async fn remove_subnet(
    State(context): State<Context>,
    caller: Caller,
    Named(pool): Named<PoolName>,
    Object(body): Object<RemoveSubnet>,
) -> Reply<PoolView> {
    Ok(Json(pools::apply(context.store.as_ref(), &caller, &pool, &Change::RemoveSubnet(body.subnet)).await?))
}

/// `PUT /v1/pools/{pool}/disabled`
pub(super) async fn disable(
    State(context): State<Context>,
    caller: Caller,
    Named(pool): Named<PoolName>,
) -> Reply<PoolView> {
    Ok(Json(pools::apply(context.store.as_ref(), &caller, &pool, &Change::SetDisabled(true)).await?))
}

/// `DELETE /v1/pools/{pool}/disabled`
pub(super) async fn enable(
    State(context): State<Context>,
    caller: Caller,
    Named(pool): Named<PoolName>,
) -> Reply<PoolView> {
    Ok(Json(pools::apply(context.store.as_ref(), &caller, &pool, &Change::SetDisabled(false)).await?))
}
