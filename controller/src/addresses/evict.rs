//! Freeing an address by force. The address is its node's to free: the controller writes an order that names
//! the exact allocation, and waits a while for the node to follow it.

use super::{Located, locate};
use crate::audit;
use crate::auth::Caller;
use crate::blocks::mirror;
use crate::error::Error;
use crate::nodes::is_alive;
use common::name::NodeName;
use common::store::leases::addresses;
use common::store::record::{self, Allocation, Evict};
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Event, KeyRange, Op, Revision, Store, StoreError, Txn, keys};
use common::wire::admin::{AddressDetail, AddressState, Eviction};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;

/// Orders the node to free an address, and waits up to `patience` until it has.
pub async fn evict(
    store: &dyn Store,
    who: &Caller,
    address: IpAddr,
    patience: Duration,
) -> Result<Eviction, Error> {
    let mut attempts = Attempts::new(seed(address));
    let (located, node, ordered) = loop {
        let located = locate(store, address).await?;
        if located.detail.state == AddressState::Kept {
            match give_up(store, who, &located).await {
                Ok(eviction) => return Ok(eviction),
                Err(error) => {
                    attempts.after(error).await?;
                    continue;
                }
            }
        }
        match order(store, &located).await {
            Ok((node, revision)) => break (located, node, revision),
            Err(error) => attempts.after(error).await?,
        }
    };
    audit::changed(
        who,
        &format!("address {address}: node {node} was ordered to free it"),
        &located.detail.attachment,
        &(),
    );
    let key = keys::evict(&node, address);
    let mut detail = located.detail;
    if !is_alive(store, &node).await? {
        let message = format!(
            "node {node} is not alive: it will free {address} when it is back; if it is gone for good, run `coilctl \
             node remove {node}`"
        );
        return Ok(Eviction { detail, message });
    }
    let done = match timeout(patience, deleted(store, &key, ordered)).await {
        Ok(done) => done? || store.get(&key).await?.is_none(),
        Err(_) => false,
    };
    if let (true, Some(held)) = (done, &located.held) {
        // What is shown next should agree; when it does so late, that is no failure.
        let block = keys::block(&node, &detail.pool, located.unit);
        let _ = timeout(MIRROR_TIME, mirrored(store, &block, held, ordered)).await;
    }
    let message = if done {
        detail.state = AddressState::Free;
        format!("node {node} has freed {address}")
    } else {
        format!(
            "node {node} was told to free {address}, and has not confirmed it yet; it will do so when it can"
        )
    };
    Ok(Eviction { detail, message })
}

/// Writes the order, if the block is still leased to the node that reported the allocation.
async fn order(store: &dyn Store, located: &Located) -> Result<(NodeName, Revision), Error> {
    let Located { detail, lease, held, kept, .. } = located;
    let not_held = || Error::NotHeld { address: detail.address, node: detail.node.clone() };
    let (Some(node), Some(lease), Some(held)) = (&detail.node, lease, held) else { return Err(not_held()) };
    let order = Evict { sequence: held.sequence, container: held.container.clone() };
    let txn = Txn::new()
        .when(Compare::ModRevision(lease.key.clone(), lease.mod_revision))
        .then(Op::Put(keys::evict(node, detail.address), record::encode(&order)));
    // It is not kept for the next pod either.
    let txn = match kept {
        Some(kept) => kept.give_up(txn),
        None => txn,
    };
    Ok((node.clone(), store.txn(txn).await?))
}

/// Gives up an address that is kept for a pod that is away.
async fn give_up(store: &dyn Store, who: &Caller, located: &Located) -> Result<Eviction, Error> {
    let Located { detail, lease, kept, .. } = located;
    let Some(lease) = lease else { return Err(Error::NotHeld { address: detail.address, node: None }) };
    store.txn(addresses::give_up(lease, kept.as_ref())).await?;
    audit::changed(who, &format!("address {}: given up", detail.address), detail, &());
    let message = match &detail.kept_for {
        Some(pod) => {
            format!("{} was kept for pod {}/{}, and is free now", detail.address, pod.namespace, pod.name)
        }
        None => format!("{} was kept, and is free now", detail.address),
    };
    Ok(Eviction { detail: AddressDetail { state: AddressState::Unleased, ..detail.clone() }, message })
}

/// How long to wait for the mirror to show that an address is free.
const MIRROR_TIME: Duration = Duration::from_secs(2);

/// Waits until the node's mirror does not show an allocation any more.
async fn mirrored(
    store: &dyn Store,
    block: &str,
    held: &Allocation,
    since: Revision,
) -> Result<(), StoreError> {
    let only = KeyRange { from: block.to_owned(), to: format!("{block}\0") };
    let mut events = store.watch(std::slice::from_ref(&only), since + 1).await?;
    while let Some(event) = events.recv().await {
        match event? {
            Event::Put(entry) => {
                let mirror = mirror(block, &entry.value).unwrap_or_default();
                if !mirror.held.iter().any(|other| other.sequence == held.sequence) {
                    return Ok(());
                }
            }
            Event::Delete(..) => return Ok(()),
        }
    }
    Ok(())
}

/// Waits until the order is gone.
async fn deleted(store: &dyn Store, key: &str, ordered: Revision) -> Result<bool, StoreError> {
    let only = KeyRange { from: key.to_owned(), to: format!("{key}\0") };
    let mut events = store.watch(std::slice::from_ref(&only), ordered + 1).await?;
    while let Some(event) = events.recv().await {
        if let Event::Delete(..) = event? {
            return Ok(true);
        }
    }
    Ok(false)
}
