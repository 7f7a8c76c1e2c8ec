//! `/v1/`, the API for operators (`docs/api/admin.md`).

mod addresses;
mod nodes;
mod pools;

use super::Context;
use axum::Router;
use axum::routing::{get, post, put};

pub(super) fn router() -> Router<Context> {
    Router::new()
        .route("/pools", get(pools::list).post(pools::create))
        .route("/pools/{pool}", get(pools::show).delete(pools::delete))
        .route("/pools/{pool}/subnets", post(pools::add_subnet).delete(pools::remove_subnet))
        .route("/pools/{pool}/disabled", put(pools::disable).delete(pools::enable))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{node}", get(nodes::show).delete(nodes::remove))
        .route("/blocks", get(nodes::blocks))
        .route("/addresses", get(addresses::list))
        .route("/addresses/{address}", get(addresses::show).delete(addresses::evict))
}
