//! `…/policies`, and the ranges and octets that they forbid.

use super::describe::{
    ChangedOctet, ChangedPolicy, ChangedRange, Id, IpOctet, IpRange, NewOctet, NewPolicy, NewRange, Octets,
    Policies, Policy, Ranges, described, paged,
};
use super::document::Reply;
use super::request::{Envelope, Parameters, Segments, Site, brought, name};
use super::{Answer, CHANGE, CREATED, OK, READ, of_tenant};
use crate::api::Context;
use crate::api::route::Route;
use crate::auth::Caller;
use crate::melange::{OctetRule, RangeRule, Rule};
use axum::extract::State;
use common::name::TenantId;
use common::wire::melange::{IpOctetView, IpRangeView, Link, PolicyView};
use serde::Serialize;
use serde::de::DeserializeOwned;

const POLICIES: &str = "/v0.1/ipam/tenants/{tenant_id}/policies";
const POLICY: &str = "/v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}";
const RANGES: &str = "/v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_ranges";
const RANGE: &str = "/v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_ranges/{id}";
const OCTETS: &str = "/v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_octets";
const OCTET: &str = "/v0.1/ipam/tenants/{tenant_id}/policies/{policy_id}/unusable_ip_octets/{id}";

pub(super) fn routes() -> Vec<Route> {
    [policies(), ranges(), octets()].into_iter().flatten().collect()
}

fn tenant(route: Route) -> Route {
    described(route.parameter::<TenantId>("tenant_id", "the tenant"))
}

fn policy(route: Route) -> Route {
    tenant(route.parameter::<Id>("policy_id", "the policy"))
}

fn policies() -> Vec<Route> {
    vec![
        tenant(paged(Route::get(POLICIES, READ, list)))
            .summary("Lists a tenant's policies")
            .answers::<Policies>(200, "a page of policies"),
        tenant(Route::post(POLICIES, CHANGE, create))
            .summary("Makes a policy")
            .takes::<NewPolicy>()
            .answers::<Policy>(201, "the policy"),
        policy(Route::get(POLICY, READ, show)).summary("Shows a policy").answers::<Policy>(200, "the policy"),
        policy(Route::put(POLICY, CHANGE, update))
            .summary("Changes name or description of a policy")
            .takes::<ChangedPolicy>()
            .answers::<Policy>(200, "the policy as it then is"),
        policy(Route::delete(POLICY, CHANGE, delete))
            .summary("Deletes a policy; its blocks go on without one")
            .done("it is deleted"),
    ]
}

fn ranges() -> Vec<Route> {
    let range = |route: Route| policy(route.parameter::<Id>("id", "the range"));
    vec![
        policy(paged(Route::get(RANGES, READ, list_rules::<RangeRule>)))
            .summary("Lists the ranges that a policy forbids")
            .answers::<Ranges>(200, "a page of ranges"),
        policy(Route::post(RANGES, CHANGE, create_rule::<RangeRule>))
            .summary("Adds a range that a policy forbids")
            .takes::<NewRange>()
            .answers::<IpRange>(201, "the range"),
        range(Route::get(RANGE, READ, show_rule::<RangeRule>))
            .summary("Shows a range that a policy forbids")
            .answers::<IpRange>(200, "the range"),
        range(Route::put(RANGE, CHANGE, update_rule::<RangeRule>))
            .summary("Changes a range that a policy forbids")
            .takes::<ChangedRange>()
            .answers::<IpRange>(200, "the range as it then is"),
        range(Route::delete(RANGE, CHANGE, delete_rule::<RangeRule>))
            .summary("Takes a range from a policy")
            .done("it is deleted"),
    ]
}

fn octets() -> Vec<Route> {
    let octet = |route: Route| policy(route.parameter::<Id>("id", "the octet"));
    vec![
        policy(paged(Route::get(OCTETS, READ, list_rules::<OctetRule>)))
            .summary("Lists the octets that a policy forbids")
            .answers::<Octets>(200, "a page of octets"),
        policy(Route::post(OCTETS, CHANGE, create_rule::<OctetRule>))
            .summary("Adds an octet that a policy forbids")
            .takes::<NewOctet>()
            .answers::<IpOctet>(201, "the octet"),
        octet(Route::get(OCTET, READ, show_rule::<OctetRule>))
            .summary("Shows an octet that a policy forbids")
            .answers::<IpOctet>(200, "the octet"),
        octet(Route::put(OCTET, CHANGE, update_rule::<OctetRule>))
            .summary("Changes an octet that a policy forbids")
            .takes::<ChangedOctet>()
            .answers::<IpOctet>(200, "the octet as it then is"),
        octet(Route::delete(OCTET, CHANGE, delete_rule::<OctetRule>))
            .summary("Takes an octet from a policy")
            .done("it is deleted"),
    ]
}

fn with_links(site: &Site, mut view: PolicyView) -> PolicyView {
    view.links = site.links(&of_tenant(&view.tenant_id, &format!("policies/{}", view.id)));
    view
}

async fn list(
    State(context): State<Context>,
    site: Site,
    Segments(tenant): Segments<String>,
    mut parameters: Parameters,
) -> Answer {
    let page = context.melange.policies(&name(&tenant)?, parameters.page()?).await?;
    Ok(Reply::list("policies", &page, |marker| site.next(marker)))
}

async fn create(
    State(context): State<Context>,
    caller: Caller,
    site: Site,
    Segments(tenant): Segments<String>,
    body: Envelope,
) -> Answer {
    let view = context.melange.create_policy(&caller, &name(&tenant)?, &body.open("policy")?).await?;
    Ok(Reply::one(CREATED, "policy", &with_links(&site, view)))
}

type OfPolicy = Segments<(String, String)>;
type OfRule = Segments<(String, String, String)>;

async fn show(State(context): State<Context>, site: Site, Segments((tenant, policy)): OfPolicy) -> Answer {
    let view = context.melange.show_policy(&name(&tenant)?, &policy).await?;
    Ok(Reply::one(OK, "policy", &with_links(&site, view)))
}

async fn update(
    State(context): State<Context>,
    caller: Caller,
    site: Site,
    Segments((tenant, policy)): OfPolicy,
    body: Envelope,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let body = brought(body.open("policy"), context.melange.show_policy(&tenant, &policy)).await?;
    let view = context.melange.update_policy(&caller, &tenant, &policy, &body).await?;
    Ok(Reply::one(OK, "policy", &with_links(&site, view)))
}

async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Segments((tenant, policy)): OfPolicy,
) -> Answer {
    context.melange.delete_policy(&caller, &name(&tenant)?, &policy).await?;
    Ok(Reply::done())
}

/// What the paths and envelopes of ranges and octets are called.
trait Named:
    Rule<View: Shown + Send + Sync, Create: DeserializeOwned + Send, Update: DeserializeOwned + Send>
{
    const ONE: &'static str;
    const ALL: &'static str;
}

impl Named for RangeRule {
    const ONE: &'static str = "ip_range";
    const ALL: &'static str = "ip_ranges";
}

impl Named for OctetRule {
    const ONE: &'static str = "ip_octet";
    const ALL: &'static str = "ip_octets";
}

/// Something with links.
trait Shown: Serialize {
    fn id(&self) -> &str;
    fn set_links(&mut self, links: Vec<Link>);
}

impl Shown for IpRangeView {
    fn id(&self) -> &str {
        &self.id
    }

    fn set_links(&mut self, links: Vec<Link>) {
        self.links = links;
    }
}

impl Shown for IpOctetView {
    fn id(&self) -> &str {
        &self.id
    }

    fn set_links(&mut self, links: Vec<Link>) {
        self.links = links;
    }
}

fn rule_with_links<R: Named>(site: &Site, tenant: &TenantId, policy: &str, mut view: R::View) -> R::View {
    let path = format!("policies/{policy}/unusable_{}/{}", R::ALL, view.id());
    view.set_links(site.links(&of_tenant(tenant.as_str(), &path)));
    view
}

async fn list_rules<R: Named>(
    State(context): State<Context>,
    site: Site,
    Segments((tenant, policy)): OfPolicy,
    mut parameters: Parameters,
) -> Answer {
    let page = context.melange.rules::<R>(&name(&tenant)?, &policy, parameters.page()?).await?;
    Ok(Reply::list(R::ALL, &page, |marker| site.next(marker)))
}

async fn create_rule<R: Named>(
    State(context): State<Context>,
    caller: Caller,
    site: Site,
    Segments((tenant, policy)): OfPolicy,
    body: Envelope,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let body = brought(body.open(R::ONE), context.melange.show_policy(&tenant, &policy)).await?;
    let view = context.melange.create_rule::<R>(&caller, &tenant, &policy, &body).await?;
    Ok(Reply::one(CREATED, R::ONE, &rule_with_links::<R>(&site, &tenant, &policy, view)))
}

async fn show_rule<R: Named>(
    State(context): State<Context>,
    site: Site,
    Segments((tenant, policy, id)): OfRule,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let view = context.melange.show_rule::<R>(&tenant, &policy, &id).await?;
    Ok(Reply::one(OK, R::ONE, &rule_with_links::<R>(&site, &tenant, &policy, view)))
}

async fn update_rule<R: Named>(
    State(context): State<Context>,
    caller: Caller,
    site: Site,
    Segments((tenant, policy, id)): OfRule,
    body: Envelope,
) -> Answer {
    let tenant: TenantId = name(&tenant)?;
    let body = brought(body.open(R::ONE), context.melange.show_rule::<R>(&tenant, &policy, &id)).await?;
    let view = context.melange.update_rule::<R>(&caller, &tenant, &policy, &id, &body).await?;
    Ok(Reply::one(OK, R::ONE, &rule_with_links::<R>(&site, &tenant, &policy, view)))
}

async fn delete_rule<R: Named>(
    State(context): State<Context>,
    caller: Caller,
    Segments((tenant, policy, id)): OfRule,
) -> Answer {
    context.melange.delete_rule::<R>(&caller, &name(&tenant)?, &policy, &id).await?;
    Ok(Reply::done())
}
