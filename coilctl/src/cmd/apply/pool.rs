//! Pools that are cut in blocks.

use super::manifest::Pool;
use super::{Planned, disable, find, json};
use crate::client::{Client, Target};
use crate::exit::Failure;
use common::ipam;
use common::wire::admin::{AddSubnet, CreatePool, PoolView, RemoveSubnet};
use hyper::Method;
use ipnet::IpNet;
use std::collections::BTreeSet;

/// What is to be done so that a pool is as a file says.
pub(super) async fn plan(client: &Client, wanted: &Pool) -> Result<Planned, Failure> {
    let target = |rest: &[&str]| Target::path(&[&["pools", wanted.name.as_str()], rest].concat());
    let mut planned = Planned::new(format!("pool {}", wanted.name));
    let Some(PoolView { pool, .. }) = find::<PoolView>(client, target(&[])).await? else {
        let body = CreatePool {
            name: wanted.name.clone(),
            subnets: wanted.subnets.clone(),
            from_block: None,
            block_size: wanted.block_size.unwrap_or(ipam::Pool::BLOCK_SIZE),
            block_size_v6: wanted.block_size_v6.unwrap_or(ipam::Pool::BLOCK_SIZE_V6),
            exclude: wanted.exclude.clone().unwrap_or_default(),
            block_gateway: wanted.block_gateway.unwrap_or_default(),
            disabled: wanted.disabled.unwrap_or(false),
        };
        return planned.create(Target::path(&["pools"]), &body);
    };
    let size = wanted.block_size.unwrap_or(pool.block_size);
    planned.must_be("block_size", &pool.block_size, &size)?;
    let size = wanted.block_size_v6.unwrap_or(pool.block_size_v6);
    planned.must_be("block_size_v6", &pool.block_size_v6, &size)?;
    let gateway = wanted.block_gateway.unwrap_or(pool.block_gateway);
    planned.must_be("block_gateway", &word(pool.block_gateway), &word(gateway))?;
    let added = missing(&wanted.subnets, &pool.subnets);
    let removed = missing(&pool.subnets, &wanted.subnets);
    let kept: Vec<IpNet> =
        pool.exclude.iter().copied().filter(|exclude| !within(&removed, exclude)).collect();
    let excluded = exclusions(&planned, wanted, &kept, &added)?;
    if !(added.is_empty() && removed.is_empty()) {
        planned.differs("subnets", &list(&pool.subnets), &list(&wanted.subnets));
        planned.differs("exclude", &list(&pool.exclude), &list(&[kept, excluded.clone()].concat()));
    }
    // First more, then less: a pool keeps one subnet at least.
    for subnet in added {
        let exclude = excluded.iter().copied().filter(|exclude| subnet.contains(exclude)).collect();
        let body = json(&AddSubnet { subnet, exclude })?;
        planned.request(Method::POST, target(&["subnets"]), Some(body));
    }
    for subnet in removed {
        planned.request(Method::DELETE, target(&["subnets"]), Some(json(&RemoveSubnet { subnet })?));
    }
    disable(&mut planned, pool.disabled, wanted.disabled, target(&["disabled"]));
    Ok(planned)
}

/// What is excluded of the subnets that are added. Exclusions go with their subnets, and those of a subnet that stays,
/// `kept`, do not change.
fn exclusions(
    planned: &Planned,
    wanted: &Pool,
    kept: &[IpNet],
    added: &[IpNet],
) -> Result<Vec<IpNet>, Failure> {
    let Some(exclude) = &wanted.exclude else { return Ok(Vec::new()) };
    let (new, stay): (Vec<IpNet>, Vec<IpNet>) =
        exclude.iter().copied().partition(|exclude| within(added, exclude));
    let sorted = |nets: &[IpNet]| {
        let sorted: BTreeSet<IpNet> = nets.iter().copied().collect();
        list(&sorted.into_iter().collect::<Vec<_>>())
    };
    planned.must_be("exclude", &sorted(kept), &sorted(&stay))?;
    Ok(new)
}

fn within(subnets: &[IpNet], net: &IpNet) -> bool {
    subnets.iter().any(|subnet| subnet.contains(net))
}

/// Those of some networks that are not among others.
fn missing(nets: &[IpNet], others: &[IpNet]) -> Vec<IpNet> {
    nets.iter().filter(|net| !others.contains(net)).copied().collect()
}

fn list(nets: &[IpNet]) -> String {
    if nets.is_empty() {
        return "none".to_owned();
    }
    nets.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}

fn word(gateway: ipam::BlockGateway) -> &'static str {
    match gateway {
        ipam::BlockGateway::None => "none",
        ipam::BlockGateway::First => "first",
    }
}
