//! `/v1/addresses`

use crate::addresses;
use crate::api::request::{Address, Parameters};
use crate::api::{ApiError, Context};
use crate::auth::Caller;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use common::wire::admin::{AddressDetail, AddressState, AddressView, Eviction, List};
use std::time::Duration;

/// How long a request waits for the node to free an address.
const PATIENCE: Duration = Duration::from_secs(5);

/// `GET /v1/addresses?pool=&node=`
pub(super) async fn list(
    State(context): State<Context>,
    mut parameters: Parameters,
) -> Result<Json<List<AddressView>>, ApiError> {
    let (page, filter) = (parameters.page()?, parameters.filter()?);
    parameters.finish()?;
    Ok(Json(addresses::list(context.store.as_ref(), &filter, &page).await?))
}

/// `GET /v1/addresses/{address}`
pub(super) async fn show(
    State(context): State<Context>,
    Address(address): Address,
) -> Result<Json<AddressDetail>, ApiError> {
    Ok(Json(addresses::show(context.store.as_ref(), address).await?))
}

/// `DELETE /v1/addresses/{address}`
pub(super) async fn evict(
    State(context): State<Context>,
    caller: Caller,
    Address(address): Address,
) -> Result<(StatusCode, Json<Eviction>), ApiError> {
    let eviction = addresses::evict(context.store.as_ref(), &caller, address, PATIENCE).await?;
    let status = match eviction.detail.state {
        AddressState::Held => StatusCode::ACCEPTED,
        AddressState::Free | AddressState::Unleased | AddressState::Excluded | AddressState::Kept => {
            StatusCode::OK
        }
    };
    Ok((status, Json(eviction)))
}
