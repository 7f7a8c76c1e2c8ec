//! `…/inside_globals` and `…/inside_locals`: which addresses stand for each other.

use super::addresses::of_address;
use super::blocks::of_block;
use super::describe::{Addresses, Failure, NatAddresses, described, paged};
use super::document::Reply;
use super::request::{Envelope, Parameters, Segments, Site};
use super::{Answer, OK};
use crate::api::Context;
use crate::api::route::{Route, Rule};
use crate::auth::{Action, Caller, Scope};
use axum::extract::State;
use common::store::keys::melange::Side;
use common::wire::melange::NatAddress;

const GLOBALS: &str = "/v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_globals";
const GLOBAL: &str =
    "/v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_globals/{inside_globals_address}";
const LOCALS: &str = "/v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_locals";
const LOCAL: &str =
    "/v0.1/ipam/ip_blocks/{ip_block_id}/ip_addresses/{address}/inside_locals/{inside_locals_address}";

/// Whose a block is, these paths don't tell.
const READ: Rule = Rule::Needs(Action::Read, Scope::AnyTenant);
const CHANGE: Rule = Rule::Needs(Action::Change, Scope::AnyTenant);

pub(super) fn routes() -> Vec<Route> {
    let address = |route: Route| described(of_address(of_block(route)));
    let globals = [
        address(paged(Route::get(GLOBALS, READ, list_globals)))
            .summary("Lists the addresses outside that stand for an inside one"),
        address(Route::post(GLOBALS, CHANGE, assign_globals))
            .summary("Adds addresses outside that stand for an inside one"),
        address(Route::delete(GLOBALS, CHANGE, remove_globals))
            .summary("Removes all addresses outside that stand for an inside one"),
        address(Route::delete(GLOBAL, CHANGE, remove_global))
            .summary("Removes an address outside that stands for an inside one")
            .parameter::<common::openapi::Address>("inside_globals_address", "the address outside"),
    ];
    let locals = [
        address(paged(Route::get(LOCALS, READ, list_locals)))
            .summary("Lists the inside addresses that an address outside stands for"),
        address(Route::post(LOCALS, CHANGE, assign_locals))
            .summary("Adds inside addresses that an address outside stands for"),
        address(Route::delete(LOCALS, CHANGE, remove_locals))
            .summary("Removes all inside addresses that an address outside stands for"),
        address(Route::delete(LOCAL, CHANGE, remove_local))
            .summary("Removes an inside address that an address outside stands for")
            .parameter::<common::openapi::Address>("inside_locals_address", "the inside address"),
    ];
    globals.into_iter().chain(locals).map(answered).collect()
}

fn answered(route: Route) -> Route {
    match route.method.as_str() {
        "GET" => route.answers::<Addresses>(200, "a page of addresses"),
        "POST" => route
            .takes::<NatAddresses>()
            .answers::<Addresses>(200, "the addresses of the request")
            .answers::<Failure>(409, "an address is not allocated, and can't be")
            .answers::<Failure>(422, "an address is not allocated, and can't be"),
        _ => route.done("it is removed"),
    }
}

type Place = Segments<(String, String)>;
type One = Segments<(String, String, String)>;

async fn list(
    context: &Context,
    who: &Caller,
    from: &Site,
    side: Side,
    place: Place,
    mut query: Parameters,
) -> Answer {
    let Segments((block, address)) = place;
    let page = context.melange.nats(who, side, &block, &address, query.page()?).await?;
    Ok(Reply::list("ip_addresses", &page, |marker| from.next(marker)))
}

async fn assign(context: &Context, who: &Caller, side: Side, place: Place, body: Envelope) -> Answer {
    let Segments((block, address)) = place;
    let others: Vec<NatAddress> = body.open("ip_addresses")?;
    let views = context.melange.assign(who, side, &block, &address, &others).await?;
    Ok(Reply::all(OK, "ip_addresses", &views))
}

async fn remove(
    context: &Context,
    who: &Caller,
    side: Side,
    place: (&str, &str),
    other: Option<&str>,
) -> Answer {
    context.melange.unassign(who, side, place.0, place.1, other).await?;
    Ok(Reply::done())
}

async fn list_globals(
    State(context): State<Context>,
    who: Caller,
    site: Site,
    place: Place,
    query: Parameters,
) -> Answer {
    list(&context, &who, &site, Side::Global, place, query).await
}

async fn list_locals(
    State(context): State<Context>,
    who: Caller,
    site: Site,
    place: Place,
    query: Parameters,
) -> Answer {
    list(&context, &who, &site, Side::Local, place, query).await
}

async fn assign_globals(State(context): State<Context>, who: Caller, place: Place, body: Envelope) -> Answer {
    assign(&context, &who, Side::Global, place, body).await
}

async fn assign_locals(State(context): State<Context>, who: Caller, place: Place, body: Envelope) -> Answer {
    assign(&context, &who, Side::Local, place, body).await
}

async fn remove_globals(State(context): State<Context>, who: Caller, Segments(place): Place) -> Answer {
    remove(&context, &who, Side::Global, (&place.0, &place.1), None).await
}

async fn remove_locals(State(context): State<Context>, who: Caller, Segments(place): Place) -> Answer {
    remove(&context, &who, Side::Local, (&place.0, &place.1), None).await
}

async fn remove_global(State(context): State<Context>, who: Caller, Segments(one): One) -> Answer {
    remove(&context, &who, Side::Global, (&one.0, &one.1), Some(&one.2)).await
}

async fn remove_local(State(context): State<Context>, who: Caller, Segments(one): One) -> Answer {
    remove(&context, &who, Side::Local, (&one.0, &one.1), Some(&one.2)).await
}
