//! `/v1/nspools` and `/v1/svcpools`

use crate::api::request::{Named, NamedIn, Object, Parameters};
use crate::api::route::{READ, Route, Rule};
use crate::api::{ApiError, Context};
use crate::auth::{Action, Caller, Scope};
use crate::ip_pools::Change;
use axum::extract::State;
use axum::response::Json;
use common::name::PodText;
use common::wire::admin::List;
use common::wire::namespaces::{
    NamespacePoolDetail, NamespacePoolSummary, NewRange, ServicePoolDetail, ServicePoolSummary,
};

const READ_OWN: Rule = Rule::Needs(Action::Read, Scope::Namespace("namespace"));
const CHANGE_OWN: Rule = Rule::Needs(Action::Change, Scope::Namespace("namespace"));

pub(super) fn routes() -> Vec<Route> {
    [namespace_pools(), service_pools()].into_iter().flatten().collect()
}

fn namespace_pools() -> Vec<Route> {
    let changed = |route: Route| {
        of_pool(route)
            .answers::<NamespacePoolSummary>(200, "the pool as it then is")
            .fails(&[(404, "there is no such pool")])
    };
    vec![
        super::paged(Route::get("/v1/nspools", READ, list_namespace_pools))
            .summary("Lists the pools of all namespaces")
            .lists::<NamespacePoolSummary>("a page of pools, by namespace and name"),
        super::paged(Route::get("/v1/nspools/{namespace}", READ_OWN, list_namespace_pools_of))
            .summary("Lists the pools of a namespace")
            .parameter::<PodText>("namespace", "the namespace")
            .lists::<NamespacePoolSummary>("a page of pools, by name"),
        of_pool(Route::get("/v1/nspools/{namespace}/{name}", READ_OWN, show_namespace_pool))
            .summary("Shows a pool of a namespace address by address")
            .answers::<NamespacePoolDetail>(200, "the pool")
            .fails(&[(404, "there is no such pool")]),
        changed(Route::put("/v1/nspools/{namespace}/{name}/range", CHANGE_OWN, set_range_of_namespace_pool))
            .summary("Extends or shrinks the range of a namespace's pool")
            .takes::<NewRange>()
            .fails(&[(409, "another pool has an address of it, or what goes is leased or a service's")]),
        changed(Route::put("/v1/nspools/{namespace}/{name}/disabled", CHANGE_OWN, disable_namespace_pool))
            .summary("Gives nothing new from a namespace's pool, but from the service pools in it"),
        changed(Route::delete("/v1/nspools/{namespace}/{name}/disabled", CHANGE_OWN, enable_namespace_pool))
            .summary("Gives addresses from a namespace's pool again"),
    ]
}

fn service_pools() -> Vec<Route> {
    let changed = |route: Route| {
        of_pool(route)
            .answers::<ServicePoolSummary>(200, "the pool as it then is")
            .fails(&[(404, "there is no such pool")])
    };
    vec![
        super::paged(Route::get("/v1/svcpools", READ, list_service_pools))
            .summary("Lists the service pools of all namespaces")
            .lists::<ServicePoolSummary>("a page of pools, by namespace and name"),
        super::paged(Route::get("/v1/svcpools/{namespace}", READ_OWN, list_service_pools_of))
            .summary("Lists the service pools of a namespace")
            .parameter::<PodText>("namespace", "the namespace")
            .lists::<ServicePoolSummary>("a page of pools, by name"),
        of_pool(Route::get("/v1/svcpools/{namespace}/{name}", READ_OWN, show_service_pool))
            .summary("Shows a service's pool address by address")
            .answers::<ServicePoolDetail>(200, "the pool")
            .fails(&[(404, "there is no such pool")]),
        changed(Route::put("/v1/svcpools/{namespace}/{name}/range", CHANGE_OWN, set_range_of_service_pool))
            .summary("Extends or shrinks the range of a service's pool")
            .takes::<NewRange>()
            .fails(&[(409, "it is not within its namespace's pool, another service has an address of it, or what goes or comes is leased")]),
        changed(Route::put("/v1/svcpools/{namespace}/{name}/disabled", CHANGE_OWN, disable_service_pool))
            .summary("Gives nothing new from a service's pool"),
        changed(Route::delete("/v1/svcpools/{namespace}/{name}/disabled", CHANGE_OWN, enable_service_pool))
            .summary("Gives addresses from a service's pool again"),
    ]
}

fn of_pool(route: Route) -> Route {
    route
        .parameter::<PodText>("namespace", "the namespace")
        .parameter::<PodText>("name", "name of the pool, unique within the namespace")
}

type Reply<T> = Result<Json<T>, ApiError>;

async fn list_namespace_pools(
    State(context): State<Context>,
    mut parameters: Parameters,
) -> Reply<List<NamespacePoolSummary>> {
    let page = parameters.page()?;
    parameters.finish()?;
    Ok(Json(context.ip_pools.list_namespace_pools(None, &page).await?))
}

async fn list_namespace_pools_of(
    State(context): State<Context>,
    Named(namespace): Named<PodText>,
    mut parameters: Parameters,
) -> Reply<List<NamespacePoolSummary>> {
    let page = parameters.page()?;
    parameters.finish()?;
    Ok(Json(context.ip_pools.list_namespace_pools(Some(&namespace), &page).await?))
}

async fn show_namespace_pool(
    State(context): State<Context>,
    NamedIn(id): NamedIn,
) -> Reply<NamespacePoolDetail> {
    Ok(Json(context.ip_pools.map_namespace_pool(&id).await?))
}

async fn set_range_of_namespace_pool(
    State(context): State<Context>,
    caller: Caller,
    NamedIn(id): NamedIn,
    Object(range): Object<NewRange>,
) -> Reply<NamespacePoolSummary> {
    let change = Change::Range(range.spec());
    Ok(Json(context.ip_pools.change_namespace_pool(&caller, &id, &change).await?))
}

async fn disable_namespace_pool(
    State(context): State<Context>,
    caller: Caller,
    NamedIn(id): NamedIn,
) -> Reply<NamespacePoolSummary> {
    let change = Change::SetDisabled(true);
    Ok(Json(context.ip_pools.change_namespace_pool(&caller, &id, &change).await?))
}

async fn enable_namespace_pool(
    State(context): State<Context>,
    caller: Caller,
    NamedIn(id): NamedIn,
) -> Reply<NamespacePoolSummary> {
    let change = Change::SetDisabled(false);
    Ok(Json(context.ip_pools.change_namespace_pool(&caller, &id, &change).await?))
}

async fn list_service_pools(
    State(context): State<Context>,
    mut parameters: Parameters,
) -> Reply<List<ServicePoolSummary>> {
    let page = parameters.page()?;
    parameters.finish()?;
    Ok(Json(context.ip_pools.list_service_pools(None, &page).await?))
}

async fn list_service_pools_of(
    State(context): State<Context>,
    Named(namespace): Named<PodText>,
    mut parameters: Parameters,
) -> Reply<List<ServicePoolSummary>> {
    let page = parameters.page()?;
    parameters.finish()?;
    Ok(Json(context.ip_pools.list_service_pools(Some(&namespace), &page).await?))
}

async fn show_service_pool(State(context): State<Context>, NamedIn(id): NamedIn) -> Reply<ServicePoolDetail> {
    Ok(Json(context.ip_pools.map_service_pool(&id).await?))
}

async fn set_range_of_service_pool(
    State(context): State<Context>,
    caller: Caller,
    NamedIn(id): NamedIn,
    Object(range): Object<NewRange>,
) -> Reply<ServicePoolSummary> {
    let change = Change::Range(range.spec());
    Ok(Json(context.ip_pools.change_service_pool(&caller, &id, &change).await?))
}

async fn disable_service_pool(
    State(context): State<Context>,
    caller: Caller,
    NamedIn(id): NamedIn,
) -> Reply<ServicePoolSummary> {
    let change = Change::SetDisabled(true);
    Ok(Json(context.ip_pools.change_service_pool(&caller, &id, &change).await?))
}

async fn enable_service_pool(
    State(context): State<Context>,
    caller: Caller,
    NamedIn(id): NamedIn,
) -> Reply<ServicePoolSummary> {
    let change = Change::SetDisabled(false);
    Ok(Json(context.ip_pools.change_service_pool(&caller, &id, &change).await?))
}
