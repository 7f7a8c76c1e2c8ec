//! Removal of a node: its blocks go back to the pools. The node's record goes last, so that a removal which was
//! cut short is seen, and finished by asking again.
//!
//! Invariant: a lease is removed only together with the node's index of it, and only that very lease: the
//! transaction compares both. An address that is kept for a pod stays kept.

use crate::addresses;
use crate::audit;
use crate::auth::Caller;
use crate::blocks::mirror;
use crate::error::Error;
use crate::nodes::is_alive;
use crate::paging::{READ, read_all};
use common::ipam::{Family, Unit};
use common::name::NodeName;
use common::store::leases::addresses::Kept;
use common::store::record::{self, BlockMirror};
use common::store::{Compare, Entry, Op, Store, StoreError, Txn, keys, leases};
use common::wire::admin::Removal;
use ipnet::IpNet;

/// Blocks released by one transaction: each takes two operations, and two compares, or three if it is kept for a pod.
const AT_ONCE: usize = (Txn::MAX - 2) / 3;
/// How often the removal starts over because the node leases blocks, or changes them, meanwhile.
const ROUNDS: usize = 20;

/// Removes a node. While it is alive this is refused unless forced; a node that comes back to life in the
/// middle keeps what it then has.
pub async fn remove(store: &dyn Store, who: &Caller, node: &NodeName, force: bool) -> Result<Removal, Error> {
    let known = store.get(&keys::node(node)).await?.is_some()
        || !store.list_keys(&keys::blocks(node), 1).await?.items.is_empty();
    if !known {
        return Err(Error::UnknownNode(node.clone()));
    }
    let mut removal = Removal { node: node.clone(), released: Vec::new(), allocated: 0 };
    let outcome = try_to_remove(store, node, force, &mut removal).await;
    let done = match &outcome {
        Ok(()) if force => "removed by force",
        Ok(()) => "removed",
        Err(_) => "not removed, but blocks of it were released",
    };
    if outcome.is_ok() || !removal.released.is_empty() {
        audit::changed(who, &format!("node {node}: {done}"), &removal, &());
    }
    outcome.map(|()| removal)
}

async fn try_to_remove(
    store: &dyn Store,
    node: &NodeName,
    force: bool,
    removal: &mut Removal,
) -> Result<(), Error> {
    for _ in 0..ROUNDS {
        if !force && is_alive(store, node).await? {
            return Err(Error::NodeAlive { node: node.clone(), released: removal.released.len() });
        }
        match remove_all(store, node, force, removal).await {
            Err(Error::Store(StoreError::Conflict)) => {}
            outcome => return outcome,
        }
    }
    Err(Error::NodeActive { node: node.clone(), released: removal.released.len() })
}

async fn remove_all(
    store: &dyn Store,
    node: &NodeName,
    force: bool,
    removal: &mut Removal,
) -> Result<(), Error> {
    loop {
        let blocks = store.list(&keys::blocks(node), READ.min(AT_ONCE)).await?.items;
        if blocks.is_empty() {
            break;
        }
        let leased = read_leases(store, &blocks).await?;
        let mut txn = leases::unless_alive(node, force);
        for (block, (lease, kept)) in blocks.iter().zip(&leased) {
            txn = leases::reclaim(txn, node, block, lease.as_ref(), kept.as_ref());
        }
        store.txn(txn).await?;
        for block in &blocks {
            let mirror = mirror(&block.key, &block.value);
            removal.allocated += mirror.as_ref().map_or(0, |mirror| mirror.held.len() as u64);
            removal.released.extend(net_of(block, mirror.as_ref()));
        }
    }
    remove_orders(store, node).await?;
    let last = leases::unless_alive(node, force)
        .when(Compare::Empty(keys::blocks(node)))
        .when(Compare::Empty(keys::evictions(node)))
        .then(Op::Delete(keys::node(node)));
    store.txn(last).await?;
    Ok(())
}

/// A lease, and by what its address is kept for its pod.
type Leased = (Option<Entry>, Option<Kept>);

/// The leases that the index keys name.
async fn read_leases(store: &dyn Store, blocks: &[Entry]) -> Result<Vec<Leased>, Error> {
    read_all(blocks.iter().map(|block| read_lease(store, block))).await
}

async fn read_lease(store: &dyn Store, block: &Entry) -> Result<Leased, Error> {
    let Some((_, pool, first)) = keys::parse_block(&block.key) else { return Ok((None, None)) };
    // A unit is named by its first address, whatever its size.
    let unit = Unit::containing(first, 0);
    let Some(entry) = store.get(&keys::lease(&pool, unit)).await? else { return Ok((None, None)) };
    let kept = match record::decode(&entry.key, &entry.value) {
        Ok(lease) => addresses::kept(store, &pool, unit, &lease).await?,
        // Whose it is can't be told, and so it stays.
        Err(_) => None,
    };
    Ok((Some(entry), kept))
}

fn net_of(block: &Entry, mirror: Option<&BlockMirror>) -> Option<IpNet> {
    let (_, _, first) = keys::parse_block(&block.key)?;
    let prefix = mirror.map_or(Family::of(first).bits(), |mirror| mirror.prefix);
    IpNet::new(first, prefix).ok()
}

/// Nobody is left to follow them.
async fn remove_orders(store: &dyn Store, node: &NodeName) -> Result<(), Error> {
    loop {
        let orders = store.list_keys(&keys::evictions(node), Txn::MAX).await?.items;
        if orders.is_empty() {
            return Ok(());
        }
        let txn = orders.into_iter().fold(Txn::new(), |txn, key| txn.then(Op::Delete(key)));
        store.txn(txn).await?;
    }
}
