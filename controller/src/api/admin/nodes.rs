//! `/v1/nodes` and `/v1/blocks`

use crate::api::request::{Named, Parameters};
use crate::api::{ApiError, Context};
use crate::auth::Caller;
use crate::{blocks, nodes, reclaim};
use axum::extract::State;
use axum::response::Json;
use common::name::NodeName;
use common::wire::admin::{BlockView, List, NodeDetail, NodeView, Removal};

type Reply<T> = Result<Json<T>, ApiError>;

/// `GET /v1/nodes`
pub(super) async fn list(
    State(context): State<Context>,
    mut parameters: Parameters,
) -> Reply<List<NodeView>> {
    let page = parameters.page()?;
    parameters.finish()?;
    Ok(Json(nodes::list(context.store.as_ref(), &page).await?))
}

/// `GET /v1/nodes/{node}`
pub(super) async fn show(State(context): State<Context>, Named(node): Named<NodeName>) -> Reply<NodeDetail> {
    Ok(Json(nodes::show(context.store.as_ref(), &node).await?))
}

/// `DELETE /v1/nodes/{node}?force=`
pub(super) async fn remove(
    State(context): State<Context>,
    caller: Caller,
    Named(node): Named<NodeName>,
    mut parameters: Parameters,
) -> Reply<Removal> {
    let force = parameters.take("force")?.unwrap_or(false);
    parameters.finish()?;
    Ok(Json(reclaim::remove(context.store.as_ref(), &caller, &node, force).await?))
}

/// `GET /v1/blocks?pool=&node=`
pub(super) async fn blocks(
    State(context): State<Context>,
    mut parameters: Parameters,
) -> Reply<List<BlockView>> {
    let (page, filter) = (parameters.page()?, parameters.filter()?);
    parameters.finish()?;
    Ok(Json(blocks::list(context.store.as_ref(), &filter, &page).await?))
}
