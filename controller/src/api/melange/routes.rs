//! `…/ip_routes`: static routes of a block.

use super::blocks::of_block;
use super::describe::{ChangedRoute, Id, IpRoute, NewRoute, Routes, described, paged};
use super::document::Reply;
use super::request::{Envelope, Parameters, Segments, Site, brought, name};
use super::{Answer, CHANGE, CREATED, OK, READ, of_tenant};
use crate::api::Context;
use crate::api::route::Route;
use crate::auth::Caller;
use axum::extract::State;
use common::name::TenantId;
use common::wire::melange::IpRouteView;

const ROUTES: &str = "/v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_routes";
const ROUTE: &str = "/v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_routes/{id}";

pub(super) fn routes() -> Vec<Route> {
    let block = |route: Route| described(of_block(route.parameter::<TenantId>("tenant_id", "the tenant")));
    let route = |route: Route| block(route.parameter::<Id>("id", "the route"));
    vec![
        block(paged(Route::get(ROUTES, READ, list)))
            .summary("Lists the static routes of a block")
            .answers::<Routes>(200, "a page of routes"),
        block(Route::post(ROUTES, CHANGE, create))
            .summary("Makes a static route of a block")
            .takes::<NewRoute>()
            .answers::<IpRoute>(201, "the route"),
        route(Route::get(ROUTE, READ, show))
            .summary("Shows a static route")
            .answers::<IpRoute>(200, "the route"),
        route(Route::put(ROUTE, CHANGE, update))
            .summary("Changes a static route")
            .takes::<ChangedRoute>()
            .answers::<IpRoute>(200, "the route as it then is"),
        route(Route::delete(ROUTE, CHANGE, delete)).summary("Deletes a static route").done("it is deleted"),
    ]
}

fn with_links(site: &Site, tenant: &TenantId, mut view: IpRouteView) -> IpRouteView {
    let path = format!("ip_blocks/{}/ip_routes/{}", view.source_block_id, view.id);
    view.links = site.links(&of_tenant(tenant.as_str(), &path));
    view
}

async fn list(
    State(context): State<Context>,
    site: Site,
    Segments((tenant, block)): Segments<(String, String)>,
    mut parameters: Parameters,
) -> Answer {
    let page = context.melange.routes(&name(&tenant)?, &block, parameters.page()?).await?;
    Ok(Reply::list("ip_routes", &page, |marker| site.next(marker)))
}

async fn create(
    State(context): State<Context>,
    caller: Caller,
    site: Site,
    Segments((tenant, block)): Segments<(String, String)>,
    body: Envelope,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let body = brought(body.open("ip_route"), context.melange.show_block(&tenant, &block)).await?;
    let view = context.melange.create_route(&caller, &tenant, &block, &body).await?;
    Ok(Reply::one(CREATED, "ip_route", &with_links(&site, &tenant, view)))
}

async fn show(
    State(context): State<Context>,
    site: Site,
    Segments((tenant, block, id)): Segments<(String, String, String)>,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let view = context.melange.show_route(&tenant, &block, &id).await?;
    Ok(Reply::one(OK, "ip_route", &with_links(&site, &tenant, view)))
}

async fn update(
    State(context): State<Context>,
    caller: Caller,
    site: Site,
    Segments((tenant, block, id)): Segments<(String, String, String)>,
    body: Envelope,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let body = brought(body.open("ip_route"), context.melange.show_route(&tenant, &block, &id)).await?;
    let view = context.melange.update_route(&caller, &tenant, &block, &id, &body).await?;
    Ok(Reply::one(OK, "ip_route", &with_links(&site, &tenant, view)))
}

async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Segments((tenant, block, id)): Segments<(String, String, String)>,
) -> Answer {
    context.melange.delete_route(&caller, &name(&tenant)?, &block, &id).await?;
    Ok(Reply::done())
}
