//! Blocks are deleted, with all that is in them: subnets, addresses, routes.
//!
//! The subnets go first. Then one transaction takes the block away from everybody: it is found no more, nor are its
//! addresses, and gives none. `melange/gone` remembers it until all that is left of it is removed: by the request as far
//! as there is time, and then with what is [purged](super::purge). Its part of the address plan is free after that.

use super::read::{StoredBlock, id};
use super::{Kind, Melange, MelangeError};
use crate::audit;
use crate::auth::Caller;
use common::error::chain;
use common::ipam::BlockType;
use common::name::TenantId;
use common::store::keys::melange as keys;
use common::store::melange::unchanged;
use common::store::record::melange::{Block, Gone, Owned, Subnet};
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Op, Txn, list_all, record};
use std::future::Future;
use std::pin::Pin;
use tokio::time::Instant;
use uuid::Uuid;

/// What has to be done with a block that backs a pool.
const POOL_FIRST: &str = "the pool must be deleted first";
/// How many subnets are read at once.
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
        let until = Instant::now() + self.patience;
        let block = self.delete_with_subnets(tenant, id, until).await?;
        audit::changed(who, &format!("melange block {id} of tenant {tenant}: deleted"), &block.block, &());
        Ok(())
    }

    /// A subnet is a block, whose subnets are blocks: so this calls itself.
    fn delete_with_subnets<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: Uuid,
        until: Instant,
    ) -> Pin<Box<dyn Future<Output = Result<StoredBlock, MelangeError>> + Send + 'a>> {
        Box::pin(async move {
            let mut attempts = Attempts::new(seed(id));
            let before = loop {
                let before = self.block(tenant, id).await?;
                self.must_be_deletable(&before).await?;
                self.delete_subnets(id, until).await?;
                // That has written it, if it had some.
                let block = self.block(tenant, id).await?;
                match self.take_away(&block).await {
                    Ok(()) => break before,
                    Err(error) => attempts.after(error).await?,
                }
            };
            if let Err(error) = self.clear_block(id, until).await {
                tracing::warn!(block = %id, error = chain(&error), "what is left of a deleted block is removed later");
            }
            Ok(before)
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

    async fn delete_subnets(&self, id: Uuid, until: Instant) -> Result<(), MelangeError> {
        loop {
            let subnets = self.store.list(&keys::subnets(id), BATCH).await?.items;
            if subnets.is_empty() {
                return Ok(());
            }
            for entry in subnets {
                let Subnet { tenant, .. } = record::decode(&entry.key, &entry.value)?;
                let Some(subnet) = keys::parse_id(&entry.key) else { continue };
                match self.delete_with_subnets(&tenant, subnet, until).await {
                    Ok(_) | Err(MelangeError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Takes a block that has no subnets away from everybody.
    async fn take_away(&self, stored: &StoredBlock) -> Result<(), MelangeError> {
        // A pool may have come since that was asked first.
        stored.must_back_nothing(POOL_FIRST)?;
        let StoredBlock { tenant, id, block, revision, .. } = stored;
        let is_planned = block.kind == BlockType::Public && block.ancestors.is_empty();
        let gone = Gone { public: is_planned.then_some(block.cidr) };
        let mut txn = unchanged(Txn::new(), stored.key(), *revision)
            .when(Compare::Empty(keys::subnets(*id)))
            .then(Op::Delete(stored.key()))
            .then(Op::Delete(keys::typed(tenant, block.kind, *id)))
            .then(Op::Delete(keys::owner(*id)))
            .then(Op::Put(keys::gone(*id), record::encode(&gone)));
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
        self.store.txn(txn).await?;
        Ok(())
    }
}
