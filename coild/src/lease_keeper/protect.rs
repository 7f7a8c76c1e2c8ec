//! Fenced blocks whose addresses are held: the node gives nothing from them, and sees to it that nobody else does.
//!
//! Where the lease of such a block has no holder, the node creates it again, in a life of its own. The block stays
//! fenced. When its last address is free it leaves the state, and the lease goes as one that the journal does
//! not know.

use super::reconcile::Leased;
use super::{LeaseError, LeaseKeeper};
use crate::state::{BlockId, Standing, State};
use common::ipam::{NamespacePool, Pool};
use common::name::PodText;
use common::pool_id::PoolId;
use common::store::leases::addresses::keep;
use common::store::record::{self, BlockMirror, Claim};
use common::store::{Entry, StoreError, Txn, keys, leases};
use std::collections::BTreeMap;

/// How far that was possible; the greater, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protection {
    /// The node has the leases.
    Complete,
    /// Another node has one of the leases, or the pool is gone.
    Barred,
    /// Something changed meanwhile.
    Unsettled,
}

impl LeaseKeeper {
    /// Protects what is fenced, given the node's indexes in the store.
    pub(super) async fn protect(&self, leased: &Leased) -> Result<Protection, LeaseError> {
        let mut worst = Protection::Complete;
        for (id, fenced) in self.allocator.run(|state, _| fenced(state)).await? {
            worst = worst.max(self.protect_one(&id, fenced, leased.get(&id)).await?);
        }
        Ok(worst)
    }

    async fn protect_one(
        &self,
        id: &BlockId,
        fenced: Fenced,
        index: Option<&(Entry, BlockMirror)>,
    ) -> Result<Protection, LeaseError> {
        let Fenced { mirror, pod } = fenced;
        let lease = self.store.get(&keys::lease(&id.pool, id.unit)).await?;
        let (txn, then) = match (&lease, index) {
            (Some(lease), Some((entry, known))) if lease.mod_revision == entry.create_revision => {
                if *known == mirror {
                    return Ok(Protection::Complete);
                }
                (leases::adopt(&id.pool, id.unit, entry, &mirror), Protection::Complete)
            }
            (Some(_), _) => {
                tracing::error!(
                    pool = %id.pool, block = %id.unit, addresses = mirror.held.len(),
                    "containers of this node hold addresses of a block that another node leases"
                );
                let Some((entry, _)) = index else { return Ok(Protection::Barred) };
                (leases::discard(entry, lease.as_ref()), Protection::Barred)
            }
            (None, _) => {
                let Some((pool, service_pool)) = self.pool_of(id).await? else {
                    return Ok(Protection::Barred);
                };
                let entry = index.map(|(entry, _)| entry);
                tracing::info!(pool = %id.pool, block = %id.unit, "claims the lease of a fenced block again");
                let pod = pod.map(|claim| Claim { service_pool, ..claim });
                let kept = pod.clone().filter(|claim| claim.fixed);
                let claim = leases::protect(&self.node, (&id.pool, &pool), id.unit, entry, pod, &mirror);
                let claim = match kept {
                    Some(pod) => self.keep_again(claim, id, &pod).await?,
                    None => claim,
                };
                (claim, Protection::Complete)
            }
        };
        match self.store.txn(txn).await {
            Ok(_) => Ok(then),
            Err(StoreError::Conflict) => Ok(Protection::Unsettled),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds that a fixed address is kept for its pod again, unless another one is.
    async fn keep_again(&self, claim: Txn, id: &BlockId, pod: &Claim) -> Result<Txn, LeaseError> {
        let kept = self.store.get(&keys::fixed(&pod.pod(), id.unit.family())).await?;
        Ok(if kept.is_some() { claim } else { keep(claim, &id.pool, id.unit, pod, 0) })
    }

    /// The record of a block's pool, and the service's pool that has the address, if the block is still one of the
    /// pool's units.
    async fn pool_of(&self, id: &BlockId) -> Result<Option<(Entry, Option<PodText>)>, LeaseError> {
        let key = match &id.pool {
            PoolId::Coil(pool) => keys::pool(pool),
            PoolId::Namespace(pool) => keys::namespace_pool(pool),
        };
        let Some(entry) = self.store.get(&key).await? else { return Ok(None) };
        let (has, service_pool) = match &id.pool {
            PoolId::Coil(_) => {
                let pool = record::decode::<Pool>(&entry.key, &entry.value).ok();
                let space = pool.and_then(|pool| pool.space(id.unit.family()).ok());
                (space.is_some_and(|space| space.index_of(id.unit).is_some()), None)
            }
            PoolId::Namespace(_) => {
                let address = id.unit.first();
                let pool = record::decode::<NamespacePool>(&entry.key, &entry.value).ok();
                let has = pool.as_ref().is_some_and(|pool| pool.span.range().contains(address));
                (has, pool.and_then(|pool| pool.service_of(address).map(|service| service.name.clone())))
            }
        };
        Ok(has.then_some((entry, service_pool)))
    }
}

/// What the store should say of a fenced block.
struct Fenced {
    mirror: BlockMirror,
    /// Of an address of a namespace's pool: who holds it.
    pod: Option<Claim>,
}

/// The fenced blocks, with the allocations in them.
fn fenced(state: &State) -> BTreeMap<BlockId, Fenced> {
    let fenced = state.leases().into_iter().filter(|(_, (_, standing))| *standing == Standing::Fenced);
    let empty = |id: BlockId| {
        let (prefix, segment) = (id.unit.net().prefix_len(), state.segment(&id).cloned());
        (id, Fenced { mirror: BlockMirror { prefix, segment, held: Vec::new() }, pod: None })
    };
    let mut blocks: BTreeMap<BlockId, Fenced> = fenced.map(|(id, _)| empty(id)).collect();
    for (id, address, holder) in state.allocations() {
        if let (Some(fenced), Some(offset)) = (blocks.get_mut(id), id.unit.offset_of(address)) {
            fenced.mirror.held.push(holder.to_record(offset));
            fenced.pod = id.pool.coil().is_none().then(|| Claim {
                namespace: holder.namespace.clone(),
                name: holder.pod.clone(),
                service_pool: None,
                fixed: holder.fixed,
                changed: holder.since,
            });
        }
    }
    blocks
}
