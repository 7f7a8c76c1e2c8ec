//! Pools of namespaces and services.

use super::manifest::{NamespacePool, ServicePool};
use super::{Planned, disable, find, json};
use crate::client::{Client, Target};
use crate::exit::Failure;
use common::ipam::{RangeSpec, Span};
use common::name::PodText;
use common::wire::ip_pools::{CreateNamespacePool, CreateServicePool};
use common::wire::namespaces::{NamespacePoolSummary, NewRange, ServicePoolSummary};
use hyper::Method;
use ipnet::IpNet;

fn target(noun: &str, namespace: &PodText, name: &PodText, rest: &[&str]) -> Target {
    Target::path(&[&[noun, namespace.as_str(), name.as_str()], rest].concat())
}

/// What is to be done so that a namespace's pool is as a file says.
pub(super) async fn plan_namespace_pool(client: &Client, wanted: &NamespacePool) -> Result<Planned, Failure> {
    let target = |rest: &[&str]| target("nspools", &wanted.namespace, &wanted.name, rest);
    let mut planned = Planned::new(format!("namespace pool {}/{}", wanted.namespace, wanted.name));
    let Some(pool) = find::<NamespacePoolSummary>(client, target(&[])).await? else {
        let RangeSpec { start, end, cidr } = wanted.range();
        let body = CreateNamespacePool {
            name: wanted.name.clone(),
            namespace: wanted.namespace.clone(),
            subnet: wanted.subnet,
            start,
            end,
            cidr,
            gateway: wanted.gateway,
            vlanid: wanted.vlan,
        };
        let mut planned = planned.create(Target::root(&["nsippool"]), &body)?;
        disable(&mut planned, false, wanted.disabled, target(&["disabled"]));
        return Ok(planned);
    };
    planned.must_be("subnet", &pool.subnet, &wanted.subnet)?;
    planned.must_be("gateway", &pool.gateway, &wanted.gateway)?;
    planned.must_be("vlan", &pool.vlan, &wanted.vlan)?;
    let now = Span { start: pool.start, end: pool.end };
    set_range(&mut planned, now, wanted.range(), pool.subnet, target(&["range"]))?;
    disable(&mut planned, pool.disabled, wanted.disabled, target(&["disabled"]));
    Ok(planned)
}

/// What is to be done so that a service's pool is as a file says.
pub(super) async fn plan_service_pool(client: &Client, wanted: &ServicePool) -> Result<Planned, Failure> {
    let path = |rest: &[&str]| target("svcpools", &wanted.namespace, &wanted.name, rest);
    let mut planned = Planned::new(format!("service pool {}/{}", wanted.namespace, wanted.name));
    let Some(pool) = find::<ServicePoolSummary>(client, path(&[])).await? else {
        let RangeSpec { start, end, cidr } = wanted.range();
        let body = CreateServicePool {
            name: wanted.name.clone(),
            namespace: wanted.namespace.clone(),
            start,
            end,
            cidr,
            service_name: wanted.service.clone(),
            namespace_pool: wanted.pool.clone(),
        };
        let mut planned = planned.create(Target::root(&["serviceIPPool"]), &body)?;
        disable(&mut planned, false, wanted.disabled, path(&["disabled"]));
        return Ok(planned);
    };
    planned.must_be("pool", &pool.pool, &wanted.pool)?;
    planned.must_be("service", &pool.service, &wanted.service)?;
    let parent = target("nspools", &pool.namespace, &pool.pool, &[]);
    let NamespacePoolSummary { subnet, .. } = client.get(parent).await?;
    let now = Span { start: pool.start, end: pool.end };
    set_range(&mut planned, now, wanted.range(), subnet, path(&["range"]))?;
    disable(&mut planned, pool.disabled, wanted.disabled, path(&["disabled"]));
    Ok(planned)
}

/// Adds the change of a range, if it is another one.
fn set_range(
    planned: &mut Planned,
    now: Span,
    wanted: RangeSpec,
    subnet: IpNet,
    target: Target,
) -> Result<(), Failure> {
    let malformed = |error| Failure::Usage(format!("{}: {error}", planned.what));
    let (span, _) = wanted.resolve(subnet).map_err(malformed)?;
    let text = |span: Span| format!("{}-{}", span.start, span.end);
    if planned.differs("range", &text(now), &text(span)) {
        let RangeSpec { start, end, cidr } = wanted;
        planned.request(Method::PUT, target, Some(json(&NewRange { start, end, cidr })?));
    }
    Ok(())
}
