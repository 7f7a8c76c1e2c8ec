//! Blocks are deleted, with all that is in them: subnets, addresses, routes.
//!
//! From the inside out: what is left when it is cut short is a block with less in it, which can be deleted again. The
//! last transaction needs that nothing has come into the block meanwhile.

use super::read::{StoredBlock, id};
use super::{Kind, Melange, MelangeError};
use crate::audit;
use crate::auth::Caller;
use crate::paging::read_all;
use crate::plan;
use common::ipam::{BlockType, Range};
use common::name::TenantId;
use common::store::keys::melange as keys;
use common::store::melange::{Place, unchanged};
use common::store::record::melange::{Address, Block, Owned, Subnet};
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Op, Txn, list_all, record};
use std::future::Future;
use std::pin::Pin;
use uuid::Uuid;

/// What has to be done with a block that backs a pool.
const POOL_FIRST: &str = "the pool must be deleted first";
/// How many things are read and removed at once.
const BATCH: usize = 100;

impl Melange {
    /// Deletes a block with its subnets, addresses and routes.
    pub async fn delete_block(
        &self,
        who: &Caller,
        tenant: &TenantId,
        block: &str,
    ) -> Result<(), MelangeError> {
        let id = id(block, Kind::Block)?;
        let block = self.delete_with_contents(tenant, id).await?;
        audit::changed(who, &format!("melange block {id} of tenant {tenant}: deleted"), &block.block, &());
        Ok(())
    }

    /// A subnet is a block, whose subnets are blocks: so this calls itself.
    fn delete_with_contents<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: Uuid,
    ) -> Pin<Box<dyn Future<Output = Result<StoredBlock, MelangeError>> + Send + 'a>> {
        Box::pin(async move {
            let mut attempts = Attempts::new(seed(id));
            loop {
                let before = self.block(tenant, id).await?;
                self.must_be_deletable(&before).await?;
                self.empty(id).await?;
                // Emptying it has written it, if it had subnets.
                let block = self.block(tenant, id).await?;
                match self.delete_empty(&block).await {
                    Ok(()) => return Ok(before),
                    Err(error) => attempts.after(error).await?,
                }
            }
        })
    }

    /// Refuses if the block or a subnet of it backs a pool. What comes to back one from now on is not deleted either, but
    /// what lies beside it may be.
    async fn must_be_deletable(&self, block: &StoredBlock) -> Result<(), MelangeError> {
        let mut blocks = vec![block.clone()];
        while let Some(block) = blocks.pop() {
            block.must_back_nothing(POOL_FIRST)?;
            if block.block.subnets > 0 {
                let entries = list_all(self.store.as_ref(), &keys::subnets(block.id)).await?.items;
                let named = entries.iter().filter_map(|entry| Some((keys::parse_id(&entry.key)?, entry)));
                let owned = named.map(|(id, entry)| {
                    let Subnet { tenant, .. } = record::decode(&entry.key, &entry.value)?;
                    Ok(Owned { tenant, id })
                });
                let owned: Vec<Owned> = owned.collect::<Result<_, MelangeError>>()?;
                blocks.extend(self.blocks_of(&owned).await?);
            }
        }
        Ok(())
    }

    /// Removes all that is in a block.
    async fn empty(&self, id: Uuid) -> Result<(), MelangeError> {
        let store = self.store.as_ref();
        loop {
            let subnets = store.list(&keys::subnets(id), BATCH).await?.items;
            if subnets.is_empty() {
                break;
            }
            for entry in subnets {
                let Subnet { tenant, .. } = record::decode(&entry.key, &entry.value)?;
                let Some(subnet) = keys::parse_id(&entry.key) else { continue };
                match self.delete_with_contents(&tenant, subnet).await {
                    Ok(_) | Err(MelangeError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.remove_addresses(id, |record| !record.pod).await?;
        loop {
            let routes = store.list_keys(&keys::routes(id), BATCH).await?.items;
            if routes.is_empty() {
                return Ok(());
            }
            store.txn(routes.into_iter().fold(Txn::new(), |txn, route| txn.then(Op::Delete(route)))).await?;
        }
    }

    /// Removes those addresses of a block.
    pub(super) async fn remove_addresses(
        &self,
        id: Uuid,
        which: impl Fn(&Address) -> bool + Copy + Send + Sync,
    ) -> Result<(), MelangeError> {
        let mut range = keys::addresses(id);
        loop {
            let page = self.store.list_keys(&range, BATCH).await?;
            let places = page.items.iter().filter_map(|key| keys::parse_address(key));
            let places = places.map(|address| Place { block: id, address });
            read_all(places.map(|place| self.remove_if(place, which))).await?;
            match page.items.last().filter(|_| page.more) {
                Some(last) => range = range.after(last),
                None => return Ok(()),
            }
        }
    }

    /// Deletes a block that has nothing in it.
    async fn delete_empty(&self, stored: &StoredBlock) -> Result<(), MelangeError> {
        // A pool may have come since that was asked first.
        stored.must_back_nothing(POOL_FIRST)?;
        let StoredBlock { tenant, id, block, revision, .. } = stored;
        let contents = [keys::subnets(*id), keys::addresses(*id), keys::routes(*id)];
        let unchanged_block = unchanged(Txn::new(), stored.key(), *revision);
        let mut txn = contents
            .into_iter()
            .fold(unchanged_block, |txn, range| txn.when(Compare::Empty(range)))
            .then(Op::Delete(stored.key()))
            .then(Op::Delete(keys::typed(tenant, block.kind, *id)))
            .then(Op::Delete(keys::owner(*id)));
        if let Some(policy) = &block.policy {
            txn = txn.then(Op::Delete(keys::governed(policy.id, *id)));
        }
        if let Some(network) = &block.network {
            txn = self.leave(txn, (tenant, network), *id).await?;
        }
        if let Some(parent) = block.ancestors.last() {
            let parent = self.block(&parent.tenant, parent.id).await?;
            let shrunk = Block { subnets: parent.block.subnets.saturating_sub(1), ..parent.block.clone() };
            txn = unchanged(txn, parent.key(), parent.revision)
                .then(Op::Put(parent.key(), record::encode(&shrunk)))
                .then(Op::Delete(keys::subnet(parent.id, *id)));
        }
        if block.kind == BlockType::Private || !block.ancestors.is_empty() {
            self.store.txn(txn).await?;
            return Ok(());
        }
        self.delete_public(block, txn).await
    }

    /// Deletes a block of the address plan.
    async fn delete_public(&self, block: &Block, txn: Txn) -> Result<(), MelangeError> {
        let store = self.store.as_ref();
        let mut cached = self.plan.lock().await;
        let at = plan::revision(store).await?;
        let txn = txn
            .when(plan::unchanged(at))
            .then(plan::changed())
            .then(Op::Delete(keys::public(block.cidr.network())));
        let written = store.txn(txn).await?;
        if let Some(plan) = cached.take_if(|plan| plan.is_of(at)) {
            let mut plan = plan.written_at(written);
            plan.remove(Range::of_net(block.cidr));
            *cached = Some(plan);
        }
        Ok(())
    }
}
