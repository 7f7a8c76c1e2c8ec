//! Changes of pools, each of them one transaction.
//!
//! Invariant: the subnets of all pools are disjoint. Every change of any pool's subnets writes `plan`, and every
//! one that adds addresses compares it, so that of two changes at the same instant one sees the other. Nodes
//! compare a pool's revision when they lease a block of it, so that a lease never meets a change of its pool. A pool that
//! a tenant's block backs is made and deleted together with what the block's record says of it.

use super::{Stored, all, get, rules, usage, view};
use crate::audit;
use crate::auth::Caller;
use crate::error::{Error, Rule};
use crate::melange::BackingError;
use crate::melange::backing::{self, Backing};
use common::ipam::{Family, NamespacePool, Pool, Range, Unit, UnitRun};
use common::name::{NodeName, PoolName};
use common::store::record::melange::PublicBlock;
use common::store::record::{self, Lease, Plan};
use common::store::retry::{Attempts, seed};
use common::store::{Compare, KeyRange, Op, Revision, Store, Txn, keys, list_all};
use common::wire::admin::{AddSubnet, PoolView};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt;

/// A change of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Makes it, unless its name or an address of it is taken.
    Create(Pool),
    /// Adds a subnet, and exclusions in it.
    AddSubnet(AddSubnet),
    /// Removes a subnet of which no block is leased, with the exclusions in it.
    RemoveSubnet(IpNet),
    /// Makes that nothing new is given, or that it is again.
    SetDisabled(bool),
    /// Deletes it if no block of it is leased.
    Delete,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(Pool { from_block: Some(block), .. }) => write!(f, "created from block {block}"),
            Self::Create(pool) => {
                let subnets: Vec<String> = pool.subnets.iter().map(IpNet::to_string).collect();
                write!(f, "created with {}", subnets.join(", "))
            }
            Self::AddSubnet(body) => write!(f, "subnet {} added", body.subnet),
            Self::RemoveSubnet(subnet) => write!(f, "subnet {subnet} removed"),
            Self::SetDisabled(true) => f.write_str("disabled"),
            Self::SetDisabled(false) => f.write_str("enabled"),
            Self::Delete => f.write_str("deleted"),
        }
    }
}

/// Makes a change, and answers the pool as it then is, or last was.
pub async fn apply(
    store: &dyn Store,
    who: &Caller,
    name: &PoolName,
    change: &Change,
) -> Result<PoolView, Error> {
    let mut attempts = Attempts::new(seed(name));
    let Changed { before, after } = loop {
        match attempt(store, name, change).await {
            Ok(changed) => break changed,
            Err(error) => attempts.after(error).await?,
        }
    };
    if before != after {
        audit::changed(who, &format!("pool {name}: {change}"), &before, &after);
    }
    match (after, before) {
        (Some(pool), _) => view(store, name, &pool).await,
        (None, before) => {
            let pool = before.ok_or_else(|| Error::UnknownPool(name.clone()))?;
            let usage = usage::unleased(&pool, name)?;
            Ok(PoolView { name: name.clone(), pool, usage })
        }
    }
}

/// A pool before and after a change.
struct Changed {
    before: Option<Pool>,
    after: Option<Pool>,
}

async fn attempt(store: &dyn Store, name: &PoolName, change: &Change) -> Result<Changed, Error> {
    match change {
        Change::Create(pool) => create(store, name, pool).await,
        Change::AddSubnet(body) => add_subnet(store, name, body).await,
        Change::RemoveSubnet(subnet) => remove_subnet(store, name, *subnet).await,
        Change::SetDisabled(disabled) => set_disabled(store, name, *disabled).await,
        Change::Delete => delete(store, name).await,
    }
}

async fn create(store: &dyn Store, name: &PoolName, pool: &Pool) -> Result<Changed, Error> {
    let mut pool = pool.clone();
    let backing = backed(store, &mut pool).await?;
    rules::validate(&pool)?;
    let plan = revision_of_plan(store).await?;
    if store.get(&keys::pool(name)).await?.is_some() {
        return Err(Error::PoolExists(name.clone()));
    }
    let others = all(store).await?;
    rules::no_overlap(&pool.subnets, others.iter().map(|other| (&other.name, &other.pool)))?;
    no_namespace_pool(store, &pool.subnets).await?;
    no_public_block(store, &pool.subnets, backing.as_ref()).await?;
    let txn = Txn::new()
        .when(Compare::ModRevision(keys::PLAN.to_owned(), plan))
        .when(Compare::Absent(keys::pool(name)))
        .then(Op::Put(keys::pool(name), record::encode(&pool)))
        .then(put_plan());
    let txn = match &backing {
        Some(backing) => backing.back(txn, name),
        None => txn,
    };
    store.txn(txn).await?;
    Ok(Changed { before: None, after: Some(pool) })
}

/// Gives a pool the addresses of the block that backs it, if one does, and excludes what the block would not give.
async fn backed(store: &dyn Store, pool: &mut Pool) -> Result<Option<Backing>, Error> {
    let Some(of) = &pool.from_block else { return Ok(None) };
    if !pool.subnets.is_empty() {
        return Err(Rule::SubnetsOfBlock.into());
    }
    let backing = backing::read(store, of).await?;
    let room = rules::MAX.saturating_sub(pool.exclude.len());
    let too_much = || BackingError::TooMuchForbidden { block: of.clone(), most: rules::MAX };
    pool.exclude.extend(backing.exclusions(room).ok_or_else(too_much)?);
    let cidr = backing.cidr();
    pool.subnets.push(cidr);
    // A block that is smaller than the pool's is leased as a whole.
    let size = if cidr.addr().is_ipv4() { &mut pool.block_size } else { &mut pool.block_size_v6 };
    *size = cidr.prefix_len().max(*size);
    Ok(Some(backing))
}

/// Checks that the subnets of a pool are its own.
fn not_a_blocks(name: &PoolName, pool: &Pool) -> Result<(), Error> {
    match &pool.from_block {
        Some(block) => Err(Error::Backed { pool: name.clone(), block: block.clone() }),
        None => Ok(()),
    }
}

async fn add_subnet(store: &dyn Store, name: &PoolName, body: &AddSubnet) -> Result<Changed, Error> {
    let subnet = body.subnet;
    for exclude in &body.exclude {
        rules::validate_exclusion(*exclude, &[subnet])?;
    }
    let plan = revision_of_plan(store).await?;
    let Stored { mut pool, revision, .. } = get(store, name).await?;
    not_a_blocks(name, &pool)?;
    let before = Some(pool.clone());
    if pool.subnets.contains(&subnet) {
        return Err(Error::SubnetExists { pool: name.clone(), subnet });
    }
    pool.subnets.push(subnet);
    pool.exclude.extend(&body.exclude);
    rules::validate(&pool)?;
    let others = all(store).await?;
    let others = others.iter().filter(|other| other.name != *name);
    rules::no_overlap(&[subnet], others.map(|other| (&other.name, &other.pool)))?;
    no_namespace_pool(store, &[subnet]).await?;
    no_public_block(store, &[subnet], None).await?;
    let txn = Txn::new()
        .when(Compare::ModRevision(keys::PLAN.to_owned(), plan))
        .when(Compare::ModRevision(keys::pool(name), revision))
        .then(Op::Put(keys::pool(name), record::encode(&pool)))
        .then(put_plan());
    store.txn(txn).await?;
    Ok(Changed { before, after: Some(pool) })
}

async fn remove_subnet(store: &dyn Store, name: &PoolName, subnet: IpNet) -> Result<Changed, Error> {
    let Stored { mut pool, revision, .. } = get(store, name).await?;
    not_a_blocks(name, &pool)?;
    let before = Some(pool.clone());
    if !pool.subnets.contains(&subnet) {
        return Err(Error::UnknownSubnet { pool: name.clone(), subnet, has: pool.subnets });
    }
    if pool.subnets.len() == 1 {
        return Err(Error::LastSubnet { pool: name.clone(), subnet });
    }
    let leases = keys::leases_between(name, units_of(&pool, subnet));
    refuse_if_leased(store, name, &format!("subnet {subnet} of pool {name}"), &leases).await?;
    pool.subnets.retain(|other| *other != subnet);
    pool.exclude.retain(|exclude| !subnet.contains(exclude));
    let txn = Txn::new()
        .when(Compare::ModRevision(keys::pool(name), revision))
        .when(Compare::Empty(leases))
        .then(Op::Put(keys::pool(name), record::encode(&pool)))
        .then(put_plan());
    store.txn(txn).await?;
    Ok(Changed { before, after: Some(pool) })
}

async fn set_disabled(store: &dyn Store, name: &PoolName, disabled: bool) -> Result<Changed, Error> {
    let Stored { mut pool, revision, .. } = get(store, name).await?;
    let before = Some(pool.clone());
    if pool.disabled != disabled {
        pool.disabled = disabled;
        let txn = Txn::new()
            .when(Compare::ModRevision(keys::pool(name), revision))
            .then(Op::Put(keys::pool(name), record::encode(&pool)));
        store.txn(txn).await?;
    }
    Ok(Changed { before, after: Some(pool) })
}

async fn delete(store: &dyn Store, name: &PoolName) -> Result<Changed, Error> {
    let Stored { pool, revision, .. } = get(store, name).await?;
    let leases = keys::leases(name);
    refuse_if_leased(store, name, &format!("pool {name}"), &leases).await?;
    let txn = Txn::new()
        .when(Compare::ModRevision(keys::pool(name), revision))
        .when(Compare::Empty(leases))
        .then(Op::Delete(keys::pool(name)))
        .then(put_plan());
    let txn = match &pool.from_block {
        Some(of) => backing::stop(store, txn, of, name).await?,
        None => txn,
    };
    store.txn(txn).await?;
    Ok(Changed { before: Some(pool), after: None })
}

async fn revision_of_plan(store: &dyn Store) -> Result<Revision, Error> {
    Ok(store.get(keys::PLAN).await?.map_or(0, |entry| entry.mod_revision))
}

/// Checks that the subnets share no address with a namespace's pool.
async fn no_namespace_pool(store: &dyn Store, subnets: &[IpNet]) -> Result<(), Error> {
    for entry in list_all(store, &keys::namespace_pools()).await?.items {
        let Some(pool) = keys::parse_namespace_pool(&entry.key) else { continue };
        let NamespacePool { span, .. } = record::decode(&entry.key, &entry.value)?;
        let range = span.range();
        if let Some(subnet) = subnets.iter().find(|subnet| Range::of_net(**subnet).overlaps(&range)) {
            return Err(Error::OverlapsNamespacePool { subnet: *subnet, pool, range });
        }
    }
    Ok(())
}

/// Checks that the subnets share no address with a tenant's public block, but for the one that backs the pool.
async fn no_public_block(
    store: &dyn Store,
    subnets: &[IpNet],
    backing: Option<&Backing>,
) -> Result<(), Error> {
    for entry in list_all(store, &keys::melange::public_blocks()).await?.items {
        let PublicBlock { cidr, tenant, block } = record::decode(&entry.key, &entry.value)?;
        if backing.is_some_and(|backing| backing.lies_in(block)) {
            continue;
        }
        let range = Range::of_net(cidr);
        if let Some(subnet) = subnets.iter().find(|subnet| Range::of_net(**subnet).overlaps(&range)) {
            return Err(Error::OverlapsPublicBlock { subnet: *subnet, tenant, cidr });
        }
    }
    Ok(())
}

fn put_plan() -> Op {
    Op::Put(keys::PLAN.to_owned(), record::encode(&Plan {}))
}

/// The units of a subnet, which has whole ones only.
fn units_of(pool: &Pool, subnet: IpNet) -> UnitRun {
    let family = Family::of(subnet.addr());
    let (bits, range) = (pool.block_bits(family), Range::of_net(subnet));
    let last = Unit::containing(subnet.broadcast(), bits);
    UnitRun { family, bits, first: range.first(), last: last.first_number() }
}

/// The refusal that names who leases; the transaction makes sure that nobody does.
async fn refuse_if_leased(
    store: &dyn Store,
    pool: &PoolName,
    what: &str,
    leases: &KeyRange,
) -> Result<(), Error> {
    let some = store.list(leases, 100).await?;
    if some.items.is_empty() {
        return Ok(());
    }
    let count = if some.more { store.count(leases).await? } else { some.items.len() as u64 };
    let nodes: BTreeSet<NodeName> = some
        .items
        .iter()
        .filter_map(|entry| record::decode::<Lease>(&entry.key, &entry.value).ok())
        .filter_map(|lease| lease.node.parse().ok())
        .collect();
    Err(Error::InUse {
        pool: pool.clone(),
        what: what.to_owned(),
        leased: count,
        nodes: nodes.into_iter().collect(),
    })
}
