//! `…/ip_addresses` of a block, and the addresses that are allocated to a tenant or at all.

use super::blocks::of_block;
use super::describe::{Address, Addresses, Failure, NewAddress, described, paged};
use super::document::Reply;
use super::request::{Envelope, Parameters, Segments, Site, brought, name};
use super::{Answer, CHANGE, CREATED, OK, READ, of_tenant};
use crate::api::Context;
use crate::api::route::{self, Route};
use crate::auth::Caller;
use axum::extract::State;
use common::name::{OpaqueId, TenantId};
use common::wire::melange::IpAddressView;

const ADDRESSES: &str = "/v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_addresses";
const ADDRESS: &str = "/v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_addresses/{address}";
const RESTORE: &str = "/v0.1/ipam/tenants/{tenant_id}/ip_blocks/{ip_block_id}/ip_addresses/{address}/restore";
const OF_TENANT: &str = "/v0.1/ipam/tenants/{tenant_id}/allocated_ip_addresses";
const OF_ALL: &str = "/v0.1/ipam/allocated_ip_addresses";
const OF_TENANTS_INSTANCE: &str = "/v0.1/ipam/tenants/{tenant_id}/instances/{instance_id}/ip_addresses";
const OF_INSTANCE: &str = "/v0.1/ipam/instances/{instance_id}/ip_addresses";

pub(super) fn routes() -> Vec<Route> {
    let tenant = |route: Route| described(route.parameter::<TenantId>("tenant_id", "the tenant"));
    let block = |route: Route| tenant(of_block(route));
    let address = |route: Route| block(of_address(route));
    vec![
        block(paged(Route::get(ADDRESSES, READ, list)))
            .summary("Lists the addresses of a block, allocated and deallocated")
            .answers::<Addresses>(200, "a page of addresses"),
        block(Route::post(ADDRESSES, CHANGE, allocate))
            .summary("Allocates an address of a block")
            .takes::<NewAddress>()
            .answers::<Address>(201, "the address")
            .answers::<Failure>(409, "the address is taken")
            .answers::<Failure>(422, "no address can be given, or not this one"),
        address(Route::get(ADDRESS, READ, show))
            .summary("Shows an address of a block")
            .answers::<Address>(200, "the address"),
        address(Route::delete(ADDRESS, CHANGE, deallocate))
            .summary("Deallocates an address; it can be restored for some days")
            .done("it is deallocated"),
        address(Route::put(RESTORE, CHANGE, restore))
            .summary("Restores a deallocated address")
            .answers::<Address>(200, "the address"),
        filtered(tenant(paged(Route::get(OF_TENANT, READ, of_tenants))))
            .summary("Lists the addresses that are allocated to a tenant"),
        filtered(described(paged(Route::get(OF_ALL, route::READ, of_all))))
            .summary("Lists the addresses that are allocated to anybody"),
        instance(tenant(paged(Route::get(OF_TENANTS_INSTANCE, READ, of_tenants_instance))))
            .summary("Lists the addresses that a tenant has for an instance"),
        instance(described(paged(Route::get(OF_INSTANCE, route::READ, of_instance))))
            .summary("Lists the addresses of an instance"),
    ]
}

/// The parameter of an address.
pub(super) fn of_address(route: Route) -> Route {
    route.parameter::<common::openapi::Address>("address", "the address")
}

fn filtered(route: Route) -> Route {
    let route = route.query::<OpaqueId>("used_by_device", "only those of this device");
    route.answers::<Addresses>(200, "a page of addresses")
}

fn instance(route: Route) -> Route {
    let route = route.parameter::<OpaqueId>("instance_id", "the instance, or any other device");
    route.answers::<Addresses>(200, "a page of addresses")
}

fn with_links(site: &Site, tenant: &TenantId, mut view: IpAddressView) -> IpAddressView {
    let path = format!("ip_blocks/{}/ip_addresses/{}", view.ip_block_id, view.address);
    view.links = site.links(&of_tenant(tenant.as_str(), &path));
    view
}

async fn list(
    State(context): State<Context>,
    site: Site,
    Segments((tenant, block)): Segments<(String, String)>,
    mut parameters: Parameters,
) -> Answer {
    let page = context.melange.addresses_of_block(&name(&tenant)?, &block, parameters.page()?).await?;
    Ok(Reply::list("ip_addresses", &page, |marker| site.next(marker)))
}

async fn allocate(
    State(context): State<Context>,
    caller: Caller,
    site: Site,
    Segments((tenant, block)): Segments<(String, String)>,
    body: Envelope,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let body = body.open_if_any("ip_address");
    let body = brought(body, context.melange.show_block(&tenant, &block)).await?;
    let view = context.melange.allocate(&caller, &tenant, &block, &body).await?;
    Ok(Reply::one(CREATED, "ip_address", &with_links(&site, &tenant, view)))
}

async fn show(
    State(context): State<Context>,
    site: Site,
    Segments((tenant, block, address)): Segments<(String, String, String)>,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let view = context.melange.show_address(&tenant, &block, &address).await?;
    Ok(Reply::one(OK, "ip_address", &with_links(&site, &tenant, view)))
}

async fn deallocate(
    State(context): State<Context>,
    caller: Caller,
    Segments((tenant, block, address)): Segments<(String, String, String)>,
) -> Answer {
    context.melange.deallocate(&caller, &name(&tenant)?, &block, &address).await?;
    Ok(Reply::done())
}

async fn restore(
    State(context): State<Context>,
    caller: Caller,
    site: Site,
    Segments((tenant, block, address)): Segments<(String, String, String)>,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let view = context.melange.restore(&caller, &tenant, &block, &address).await?;
    Ok(Reply::one(OK, "ip_address", &with_links(&site, &tenant, view)))
}

async fn of_tenants(
    State(context): State<Context>,
    site: Site,
    Segments(tenant): Segments<String>,
    parameters: Parameters,
) -> Answer {
    allocated(&context, &site, Some(&name(&tenant)?), None, parameters).await
}

async fn of_all(State(context): State<Context>, site: Site, parameters: Parameters) -> Answer {
    allocated(&context, &site, None, None, parameters).await
}

async fn of_tenants_instance(
    State(context): State<Context>,
    site: Site,
    Segments((tenant, instance)): Segments<(String, String)>,
    parameters: Parameters,
) -> Answer {
    allocated(&context, &site, Some(&name(&tenant)?), Some(name(&instance)?), parameters).await
}

async fn of_instance(
    State(context): State<Context>,
    site: Site,
    Segments(instance): Segments<String>,
    parameters: Parameters,
) -> Answer {
    allocated(&context, &site, None, Some(name(&instance)?), parameters).await
}

async fn allocated(
    context: &Context,
    site: &Site,
    tenant: Option<&TenantId>,
    instance: Option<OpaqueId>,
    mut parameters: Parameters,
) -> Answer {
    let device = match instance {
        Some(instance) => Some(instance),
        None => parameters.take("used_by_device")?,
    };
    let page = context.melange.allocated(tenant, device.as_ref(), parameters.page()?).await?;
    Ok(Reply::list("ip_addresses", &page, |marker| site.next(marker)))
}
