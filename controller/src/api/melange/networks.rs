//! `…/ip_allocations`: what an interface holds in a network.

use super::describe::{Allocations, Failure, NewAllocations, described, paged};
use super::document::Reply;
use super::request::{Envelope, Parameters, Segments, Site, name};
use super::{Answer, CHANGE, CREATED, READ};
use crate::api::Context;
use crate::api::route::Route;
use crate::auth::Caller;
use axum::extract::State;
use common::name::{OpaqueId, TenantId};

const ALLOCATIONS: &str =
    "/v0.1/ipam/tenants/{tenant_id}/networks/{network_id}/interfaces/{interface_id}/ip_allocations";

pub(super) fn routes() -> Vec<Route> {
    let interface = |route: Route| {
        described(route)
            .parameter::<TenantId>("tenant_id", "the tenant")
            .parameter::<OpaqueId>("network_id", "the network")
            .parameter::<OpaqueId>("interface_id", "the interface")
    };
    vec![
        interface(paged(Route::get(ALLOCATIONS, READ, list)))
            .summary("Lists the addresses that an interface has in a network")
            .answers::<Allocations>(200, "a page of addresses"),
        interface(Route::post(ALLOCATIONS, CHANGE, allocate))
            .summary("Allocates addresses of a network for an interface: one of each family, or those named")
            .takes::<NewAllocations>()
            .answers::<Allocations>(201, "the addresses")
            .answers::<Failure>(409, "an address is taken")
            .answers::<Failure>(422, "no address can be given, or not these"),
        interface(Route::delete(ALLOCATIONS, CHANGE, deallocate))
            .summary("Deallocates the addresses that an interface has in a network")
            .done("they are deallocated"),
    ]
}

/// Tenant, network and interface.
type Place = Segments<(String, String, String)>;

fn parsed(
    Segments((tenant, network, interface)): Place,
) -> Result<(TenantId, OpaqueId, OpaqueId), super::Refusal> {
    Ok((name(&tenant)?, name(&network)?, name(&interface)?))
}

async fn list(
    State(context): State<Context>,
    site: Site,
    place: Place,
    mut parameters: Parameters,
) -> Answer {
    let (tenant, network, interface) = parsed(place)?;
    let page = context.melange.allocations(&tenant, &network, &interface, parameters.page()?).await?;
    Ok(Reply::list("ip_addresses", &page, |marker| site.next(marker)))
}

async fn allocate(State(context): State<Context>, caller: Caller, place: Place, body: Envelope) -> Answer {
    let (tenant, network, interface) = parsed(place)?;
    let body = match body.open_if_any("network") {
        Ok(body) => body,
        // That there is no such network is said first.
        Err(malformed) => {
            context.melange.must_have_network(&tenant, &network).await?;
            return Err(malformed);
        }
    };
    let views = context.melange.allocate_in_network(&caller, &tenant, &network, &interface, &body).await?;
    Ok(Reply::all(CREATED, "ip_addresses", &views))
}

async fn deallocate(State(context): State<Context>, caller: Caller, place: Place) -> Answer {
    let (tenant, network, interface) = parsed(place)?;
    context.melange.deallocate_in_network(&caller, &tenant, &network, &interface).await?;
    Ok(Reply::done())
}
