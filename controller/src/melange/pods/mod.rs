//! What pods have of the blocks that back pools.
//!
//! Nodes decide which pod has which address; their mirrors tell. The addresses of such a block follow the mirrors, so
//! that its tenant sees them in the lists where it sees all others: one for each allocation, with the container as the
//! device, and the name of its interface. They are views: nobody gives or takes an address by them.
//!
//! * [`follower`]: which units of which pools have to be looked at; one controller does it, by a [`crate::turn`]
//!
//! Whatever happened, a unit is read anew: its lease names the node, and the node's mirror what is held. What is written
//! compares all of that. So a controller that was slow, or two at the same time, write nothing that is not so.

mod follower;

use super::read::StoredAddress;
use super::remove::{BATCH, parse_all, remove_all};
use super::{MelangeError, new_address_id};
use common::ipam::{Family, Pool, Unit};
use common::name::{NodeName, OpaqueId, PoolName, TenantId};
use common::store::keys::melange::{self as melange_keys, Side};
use common::store::melange::{Place, give, unchanged};
use common::store::record::melange::{Address, Block};
use common::store::record::{self, Allocation, BlockMirror, Lease};
use common::store::retry::{Attempts, seed};
use common::store::{Entry, KeyRange, Pages, Revision, Store, Txn, keys};
use std::collections::BTreeMap;
use std::net::IpAddr;
use uuid::Uuid;

/// A pool, and the block that backs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Backed {
    name: PoolName,
    pool: Pool,
    /// Whose the block is.
    tenant: TenantId,
    block: Uuid,
}

impl Backed {
    fn of(name: PoolName, pool: Pool) -> Option<Self> {
        let from = pool.from_block.as_ref()?;
        let (tenant, block) = (from.tenant.clone(), from.block.as_str().parse().ok()?);
        Some(Self { name, pool, tenant, block })
    }

    fn unit(&self, address: IpAddr) -> Unit {
        Unit::containing(address, self.pool.block_bits(Family::of(address)))
    }

    /// How the tenant sees what a container holds.
    fn view(&self, held: &Allocation) -> Address {
        Address {
            id: new_address_id(),
            owner: self.tenant.clone(),
            tenant: self.tenant.clone(),
            device: OpaqueId::new(held.container.as_str()).ok(),
            interface: OpaqueId::new(held.interface.as_str()).ok(),
            created: held.since,
            updated: held.since,
            freed: None,
            pod: true,
        }
    }
}

/// Whether an address is the view of an allocation.
fn shows(record: &Address, held: &Allocation) -> bool {
    let is = |id: &Option<OpaqueId>, text: &str| id.as_ref().is_some_and(|id| id.as_str() == text);
    record.created == held.since
        && is(&record.device, held.container.as_str())
        && is(&record.interface, held.interface.as_str())
}

/// Makes the addresses of a unit what its node says that pods hold.
async fn follow(store: &dyn Store, backed: &Backed, unit: Unit) -> Result<(), MelangeError> {
    let mut attempts = Attempts::new(seed(unit));
    while let Err(error) = try_follow(store, backed, unit).await {
        attempts.after(error).await?;
    }
    Ok(())
}

async fn try_follow(store: &dyn Store, backed: &Backed, unit: Unit) -> Result<(), MelangeError> {
    let Some(Seen { guard, mut held, shown, joined }) = Seen::read(store, backed, unit).await? else {
        return Ok(());
    };
    let is_held = |stored: &StoredAddress| {
        held.get(&stored.place.address).is_some_and(|held| shows(&stored.record, held))
    };
    let (stay, gone): (Vec<_>, Vec<_>) = shown.into_iter().partition(is_held);
    remove_all(store, &gone, joined).await?;
    for stored in stay {
        held.remove(&stored.place.address);
    }
    let given: Vec<(IpAddr, Allocation)> = held.into_iter().collect();
    for batch in given.chunks(BATCH) {
        let txn = batch.iter().fold(guard.clone(), |txn, (address, held)| {
            give(txn, Place { block: backed.block, address: *address }, &backed.view(held))
        });
        store.txn(txn).await?;
    }
    Ok(())
}

/// What was read of a unit.
struct Seen {
    /// That the lease, the mirror and the block are as they were read.
    guard: Txn,
    /// What pods hold.
    held: BTreeMap<IpAddr, Allocation>,
    /// What tenants see.
    shown: Vec<StoredAddress>,
    /// Whether any of that has a NAT.
    joined: bool,
}

impl Seen {
    /// Reads a unit; nothing if its block does not back the pool any more.
    async fn read(store: &dyn Store, backed: &Backed, unit: Unit) -> Result<Option<Self>, MelangeError> {
        let lease_key = keys::lease(&backed.name, unit);
        let lease = store.get(&lease_key).await?;
        let node = lease.as_ref().map(node_of).transpose()?.flatten();
        let block_key = melange_keys::block(&backed.tenant, backed.block);
        let mut ranges = vec![
            KeyRange::key(block_key.clone()),
            melange_keys::addresses_in(backed.block, unit),
            melange_keys::nats_in(Side::Global, backed.block, unit),
            melange_keys::nats_in(Side::Local, backed.block, unit),
        ];
        let mirror_key = node.map(|node| keys::block(&node, &backed.name, unit));
        ranges.extend(mirror_key.clone().map(KeyRange::key));
        let mut read = store.snapshot(&ranges).await?.ranges.into_iter();
        let mut next = || read.next().unwrap_or_default();
        let (block, addresses, global, local) = (next().pop(), next(), next(), next());
        let Some(block) = block else { return Ok(None) };
        let Block { pool, .. } = record::decode(&block.key, &block.value)?;
        if pool.as_ref() != Some(&backed.name) {
            return Ok(None);
        }
        let mut guard = unchanged(Txn::new(), block_key, block.mod_revision);
        guard = unchanged(guard, lease_key, revision(lease.as_ref()));
        let mut held = BTreeMap::new();
        if let Some(key) = mirror_key {
            let mirror = next().pop();
            guard = unchanged(guard, key, revision(mirror.as_ref()));
            held = mirror.map(|entry| held_in(&entry, unit)).transpose()?.unwrap_or_default();
        }
        let shown = parse_all(backed.block, addresses)?;
        Ok(Some(Self { guard, held, shown, joined: !(global.is_empty() && local.is_empty()) }))
    }
}

fn revision(entry: Option<&Entry>) -> Revision {
    entry.map_or(0, |entry| entry.mod_revision)
}

/// The node that a lease names.
fn node_of(entry: &Entry) -> Result<Option<NodeName>, MelangeError> {
    let Lease { node, .. } = record::decode(&entry.key, &entry.value)?;
    Ok(NodeName::new(node).ok())
}

/// What a mirror says that pods hold.
fn held_in(entry: &Entry, unit: Unit) -> Result<BTreeMap<IpAddr, Allocation>, MelangeError> {
    let BlockMirror { held, .. } = record::decode(&entry.key, &entry.value)?;
    // What is set aside is nobody's.
    let held = held.into_iter().filter(|allocation| !allocation.conflict);
    Ok(held.filter_map(|allocation| Some((unit.address(allocation.offset)?, allocation))).collect())
}

/// Removes all that pods have of a block.
pub(super) async fn forget(store: &dyn Store, block: Uuid) -> Result<(), MelangeError> {
    let mut pages = Pages::of(store, melange_keys::addresses(block), BATCH);
    while let Some(page) = pages.next().await? {
        let mut gone = parse_all(block, page.items)?;
        gone.retain(|stored| stored.record.pod);
        remove_all(store, &gone, true).await?;
    }
    Ok(())
}
