//! `/v0.1/`, the tenants' API (`docs/api/melange.md`): blocks, addresses, policies, routes and NAT in JSON and XML.
//!
//! * [`format`](mod@format), [`document`], [`xml`]: one model of bodies, and a form for it at the edge
//! * [`request`]: what a request brings
//! * [`describe`]: how a route describes its bodies
//! * [`versions`]: what there is of this API
//! * [`blocks`], [`addresses`], [`routes`], [`networks`], [`nat`], [`policies`]: the resources

mod addresses;
mod blocks;
mod describe;
mod document;
mod format;
mod nat;
mod networks;
mod policies;
mod request;
mod routes;
mod versions;
mod xml;

pub(super) use document::refuse;
pub(super) use format::{is_ours, negotiate};

use super::route::{Route, Rule};
use crate::auth::{Action, Scope};
use axum::http::StatusCode;
use common::pool_id::encoded;
use document::{Refusal, Reply};

/// What a handler answers.
type Answer = Result<Reply, Refusal>;

/// Shows something of a tenant.
const READ: Rule = Rule::Needs(Action::Read, Scope::Tenant("tenant_id"));
/// Changes something of a tenant.
const CHANGE: Rule = Rule::Needs(Action::Change, Scope::Tenant("tenant_id"));

/// All routes of this API.
pub(super) fn all() -> Vec<Route> {
    [
        versions::routes(),
        blocks::routes(),
        addresses::routes(),
        routes::routes(),
        networks::routes(),
        nat::routes(),
        policies::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const CREATED: StatusCode = StatusCode::CREATED;
const OK: StatusCode = StatusCode::OK;

/// The path of something of a tenant, below the version.
fn of_tenant(tenant: &str, rest: &str) -> String {
    format!("/ipam/tenants/{}/{rest}", encoded(tenant))
}
