//! `/v1/`, the API for operators (`docs/api/admin.md`).

mod addresses;
mod check;
mod namespaces;
mod nodes;
mod pools;

use super::route::{CHANGE, FORCE, READ, Route};
use crate::paging::{DEFAULT_LIMIT, MAX_LIMIT};
use common::name::{NodeName, PoolName};
use common::openapi::Address;
use common::wire::admin::{
    AddSubnet, AddressDetail, AddressView, BlockView, CreatePool, Eviction, NodeDetail, NodeView, PoolView,
    Removal, RemoveSubnet,
};
use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// The parameter `limit`, for the description.
struct Limit;

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).default(Some(DEFAULT_LIMIT.into()));
        number.minimum(Some(1)).maximum(Some(MAX_LIMIT)).into()
    }
}

pub(super) fn routes() -> Vec<Route> {
    [pools(), nodes(), addresses(), namespaces::routes(), check::routes()].into_iter().flatten().collect()
}

fn pools() -> Vec<Route> {
    vec![
        paged(Route::get("/v1/pools", READ, pools::list))
            .summary("Lists the pools by name")
            .lists::<PoolView>("a page of pools"),
        Route::post("/v1/pools", CHANGE, pools::create)
            .summary("Makes a pool")
            .takes::<CreatePool>()
            .answers::<PoolView>(201, "the pool")
            .fails(&[(409, "the name or an address is taken")]),
        of_pool(Route::get("/v1/pools/{pool}", READ, pools::show))
            .summary("Shows a pool, with the number of addresses held in it"),
        of_pool(Route::delete("/v1/pools/{pool}", CHANGE, pools::delete))
            .summary("Deletes a pool of which no block is leased")
            .fails(&[(409, "blocks are leased")]),
        of_pool(Route::post("/v1/pools/{pool}/subnets", CHANGE, pools::add_subnet))
            .summary("Adds a subnet to a pool")
            .takes::<AddSubnet>()
            .fails(&[(409, "the pool has the subnet already, or another pool has an address of it")]),
        of_pool(Route::delete("/v1/pools/{pool}/subnets", CHANGE, pools::remove_subnet))
            .summary("Removes a subnet of which no block is leased, and the exclusions in it")
            .takes::<RemoveSubnet>()
            .fails(&[(409, "blocks are leased, or it is the last subnet")]),
        of_pool(Route::put("/v1/pools/{pool}/disabled", CHANGE, pools::disable))
            .summary("Gives nothing new from a pool"),
        of_pool(Route::delete("/v1/pools/{pool}/disabled", CHANGE, pools::enable))
            .summary("Gives addresses from a pool again"),
    ]
}

fn nodes() -> Vec<Route> {
    let (name, text) = ("node", "name of the node");
    vec![
        paged(Route::get("/v1/nodes", READ, nodes::list))
            .summary("Lists the nodes by name")
            .lists::<NodeView>("a page of nodes"),
        Route::get("/v1/nodes/{node}", READ, nodes::show)
            .summary("Shows a node with its blocks")
            .parameter::<NodeName>(name, text)
            .answers::<NodeDetail>(200, "the node")
            .fails(&[(404, "there is no such node")]),
        Route::delete("/v1/nodes/{node}", FORCE, nodes::remove)
            .summary("Gives the blocks of a node that is gone back to their pools, and forgets the node")
            .parameter::<NodeName>(name, text)
            .query::<bool>("force", "also if it is alive")
            .answers::<Removal>(200, "what went back to the pools")
            .fails(&[(404, "there is no such node"), (409, "the node is alive, or goes on leasing blocks")]),
        filtered(paged(Route::get("/v1/blocks", READ, nodes::blocks)))
            .summary("Lists the leased blocks")
            .lists::<BlockView>("a page of blocks"),
    ]
}

fn addresses() -> Vec<Route> {
    let (name, text) = ("address", "the address");
    vec![
        filtered(paged(Route::get("/v1/addresses", READ, addresses::list)))
            .summary("Lists the addresses that are held")
            .lists::<AddressView>("a page of addresses"),
        Route::get("/v1/addresses/{address}", READ, addresses::show)
            .summary("Shows where an address belongs, and who holds it")
            .parameter::<Address>(name, text)
            .answers::<AddressDetail>(200, "the address")
            .fails(&[(404, "it is in no pool")]),
        Route::delete("/v1/addresses/{address}", FORCE, addresses::evict)
            .summary("Frees an address by force, although its container may still use it")
            .parameter::<Address>(name, text)
            .answers::<Eviction>(200, "it is freed")
            .answers::<Eviction>(202, "its node was told to, and has not done it yet")
            .fails(&[(404, "it is in no pool, or nobody holds it")]),
    ]
}

fn of_pool(route: Route) -> Route {
    route
        .parameter::<PoolName>("pool", "name of the pool")
        .answers::<PoolView>(200, "the pool as it then is, or last was")
        .fails(&[(404, "there is no such pool or subnet")])
}

fn paged(route: Route) -> Route {
    route
        .query::<Limit>("limit", "items at most; 500 if not given")
        .query::<String>("continue", "`continue` of the page before")
}

fn filtered(route: Route) -> Route {
    route
        .query::<PoolName>("pool", "only of this pool")
        .query::<NodeName>("node", "only of this node")
        .fails(&[(404, "there is no such pool or node")])
}
