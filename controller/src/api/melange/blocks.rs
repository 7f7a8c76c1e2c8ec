//! `…/ip_blocks`, their subnets, and how much of them is used.

use super::describe::{
    Block, Blocks, ChangedBlock, Id, NewBlock, NewSubnet, Subnet, Subnets, Usage, described, paged,
};
use super::document::Reply;
use super::request::{Envelope, Parameters, Segments, Site, brought, name};
use super::{Answer, CHANGE, CREATED, OK, READ, of_tenant};
use crate::api::Context;
use crate::api::route::Route;
use crate::auth::Caller;
use axum::extract::State;
use common::ipam::BlockType;
use common::name::TenantId;
use common::wire::melange::IpBlockView;

const BLOCKS: &str = "/v0.1/ipam/tenants/{tenant_id}/ip_blocks";
const BLOCK: &str = "/v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}";
const SUBNETS: &str = "/v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/subnets";
const USAGE: &str = "/v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/usage";

pub(super) fn routes() -> Vec<Route> {
    let tenant = |route: Route| described(route.parameter::<TenantId>("tenant_id", "the tenant"));
    let block = |route: Route| tenant(of_block(route));
    vec![
        tenant(paged(Route::get(BLOCKS, READ, list)))
            .summary("Lists a tenant's blocks")
            .query::<BlockType>("type", "only of this type")
            .answers::<Blocks>(200, "a page of blocks"),
        tenant(Route::post(BLOCKS, CHANGE, create))
            .summary("Makes a block")
            .takes::<NewBlock>()
            .answers::<Block>(201, "the block"),
        block(Route::get(BLOCK, READ, show)).summary("Shows a block").answers::<Block>(200, "the block"),
        block(Route::put(BLOCK, CHANGE, update))
            .summary("Changes network or policy of a block")
            .takes::<ChangedBlock>()
            .answers::<Block>(200, "the block as it then is"),
        block(Route::delete(BLOCK, CHANGE, delete))
            .summary("Deletes a block with its subnets, addresses and routes")
            .done("it is deleted"),
        block(paged(Route::get(SUBNETS, READ, subnets)))
            .summary("Lists the subnets of a block")
            .answers::<Subnets>(200, "a page of subnets"),
        block(Route::post(SUBNETS, CHANGE, create_subnet))
            .summary("Makes a subnet of a block")
            .takes::<NewSubnet>()
            .answers::<Subnet>(201, "the subnet"),
        block(Route::get(USAGE, READ, usage))
            .summary("Tells how much of a block is used")
            .answers::<Usage>(200, "the numbers"),
    ]
}

/// The parameter of a block.
pub(super) fn of_block(route: Route) -> Route {
    route.parameter::<Id>("ip_block_id", "the block")
}

fn with_links(site: &Site, mut view: IpBlockView) -> IpBlockView {
    view.links = site.links(&of_tenant(&view.tenant_id, &format!("ip_blocks/{}", view.id)));
    view
}

async fn list(
    State(context): State<Context>,
    site: Site,
    Segments(tenant): Segments<String>,
    mut parameters: Parameters,
) -> Answer {
    let (kind, page) = (parameters.take("type")?, parameters.page()?);
    let page = context.melange.blocks(&name(&tenant)?, kind, page).await?;
    Ok(Reply::list("ip_blocks", &page, |marker| site.next(marker)))
}

async fn create(
    State(context): State<Context>,
    caller: Caller,
    site: Site,
    Segments(tenant): Segments<String>,
    body: Envelope,
) -> Answer {
    let view = context.melange.create_block(&caller, &name(&tenant)?, &body.open("ip_block")?).await?;
    Ok(Reply::one(CREATED, "ip_block", &with_links(&site, view)))
}

async fn show(
    State(context): State<Context>,
    site: Site,
    Segments((tenant, block)): Segments<(String, String)>,
) -> Answer {
    let view = context.melange.show_block(&name(&tenant)?, &block).await?;
    Ok(Reply::one(OK, "ip_block", &with_links(&site, view)))
}

async fn update(
    State(context): State<Context>,
    caller: Caller,
    site: Site,
    Segments((tenant, block)): Segments<(String, String)>,
    body: Envelope,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let body = brought(body.open("ip_block"), context.melange.show_block(&tenant, &block)).await?;
    let view = context.melange.update_block(&caller, &tenant, &block, &body).await?;
    Ok(Reply::one(OK, "ip_block", &with_links(&site, view)))
}

async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Segments((tenant, block)): Segments<(String, String)>,
) -> Answer {
    context.melange.delete_block(&caller, &name(&tenant)?, &block).await?;
    Ok(Reply::done())
}

async fn subnets(
    State(context): State<Context>,
    site: Site,
    Segments((tenant, block)): Segments<(String, String)>,
    mut parameters: Parameters,
) -> Answer {
    let page = context.melange.subnets(&name(&tenant)?, &block, parameters.page()?).await?;
    Ok(Reply::list("subnets", &page, |marker| site.next(marker)))
}

async fn create_subnet(
    State(context): State<Context>,
    caller: Caller,
    site: Site,
    Segments((tenant, block)): Segments<(String, String)>,
    body: Envelope,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let body = brought(body.open("subnet"), context.melange.show_block(&tenant, &block)).await?;
    let view = context.melange.create_subnet(&caller, &tenant, &block, &body).await?;
    Ok(Reply::one(CREATED, "subnet", &with_links(&site, view)))
}

async fn usage(
    State(context): State<Context>,
    Segments((tenant, block)): Segments<(String, String)>,
) -> Answer {
    Ok(Reply::one(OK, "usage", &context.melange.usage(&name(&tenant)?, &block).await?))
}
