//! Blocks are made, shown and changed.

use super::read::{StoredBlock, id};
use super::{Kind, Melange, MelangeError, Page, PageRequest, new_id};
use crate::audit;
use crate::auth::Caller;
use crate::plan::{self, AddressPlan};
use common::clock::now_millis;
use common::ipam::tenant_block::default_gateway;
use common::ipam::{BlockType, Range};
use common::name::TenantId;
use common::store::keys::melange as keys;
use common::store::melange::unchanged;
use common::store::record::melange::{Block, Governed, Mark, Owned, Owner, PublicBlock};
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Op, Revision, Txn, record};
use common::wire::melange::{CreateIpBlock, IpBlockView, UpdateIpBlock};
use uuid::Uuid;

impl Melange {
    /// The blocks of a tenant by id, all or those of one type.
    pub async fn blocks(
        &self,
        tenant: &TenantId,
        kind: Option<BlockType>,
        page: PageRequest,
    ) -> Result<Page<IpBlockView>, MelangeError> {
        let Some(kind) = kind else {
            let Page { items, next } = self.page::<Block>(keys::blocks(tenant), page).await?;
            let stored = items.into_iter().map(|(id, block)| {
                StoredBlock { tenant: tenant.clone(), id, block, revision: 0, since: 0 }.view()
            });
            return Ok(Page { items: stored.collect(), next });
        };
        let Page { items, next } = self.page::<Mark>(keys::typed_blocks(tenant, kind), page).await?;
        let owned: Vec<Owned> =
            items.into_iter().map(|(id, _)| Owned { tenant: tenant.clone(), id }).collect();
        let blocks = self.blocks_of(&owned).await?;
        Ok(Page { items: blocks.iter().map(StoredBlock::view).collect(), next })
    }

    /// A block.
    pub async fn show_block(&self, tenant: &TenantId, block: &str) -> Result<IpBlockView, MelangeError> {
        Ok(self.block(tenant, id(block, Kind::Block)?).await?.view())
    }

    /// Makes a block.
    pub async fn create_block(
        &self,
        who: &Caller,
        tenant: &TenantId,
        body: &CreateIpBlock,
    ) -> Result<IpBlockView, MelangeError> {
        let (now, cidr) = (now_millis(), body.cidr.trunc());
        let id = new_id(now);
        let mut attempts = Attempts::new(seed(id));
        let block = loop {
            let policy = self.policy_of(&[tenant], body.policy_id.as_deref()).await?;
            let block = Block {
                cidr,
                kind: body.kind,
                network: body.network_id.clone(),
                policy: policy.as_ref().map(|(policy, _)| policy.clone()),
                gateway: body.gateway.or_else(|| default_gateway(cidr)),
                dns1: body.dns1.or(self.settings.dns1),
                dns2: body.dns2.or(self.settings.dns2),
                ancestors: Vec::new(),
                subnets: 0,
                pool: None,
                created: now,
                updated: now,
            };
            match self.try_create_block(tenant, id, &block, policy).await {
                Ok(()) => break block,
                Err(error) => attempts.after(error).await?,
            }
        };
        audit::changed(who, &format!("melange block {id} of tenant {tenant}: created"), &(), &block);
        Ok(StoredBlock { tenant: tenant.clone(), id, block, revision: 0, since: 0 }.view())
    }

    async fn try_create_block(
        &self,
        tenant: &TenantId,
        id: Uuid,
        block: &Block,
        policy: Option<(Owned, Revision)>,
    ) -> Result<(), MelangeError> {
        let txn = self.with_block(Txn::new(), tenant, id, block, policy).await?;
        if block.kind == BlockType::Private {
            self.store.txn(txn).await?;
            return Ok(());
        }
        let store = self.store.as_ref();
        let mut cached = self.plan.lock().await;
        let revision = plan::revision(store).await?;
        let known = cached.take();
        let plan = cached.insert(AddressPlan::at::<MelangeError>(store, revision, known).await?);
        plan.must_be_free(Range::of_net(block.cidr)).map_err(|taken| {
            let reason = format!("{} overlaps {} of {}", block.cidr, taken.range, taken.owner);
            MelangeError::invalid("cidr", reason)
        })?;
        let public = PublicBlock { cidr: block.cidr, tenant: tenant.clone(), block: id };
        let txn = txn
            .when(plan::unchanged(revision))
            .then(plan::changed())
            .then(Op::Put(keys::public(block.cidr.network()), record::encode(&public)));
        let written = store.txn(txn).await?;
        plan.add_block(tenant, block.cidr);
        *cached = cached.take().map(|plan| plan.written_at(written));
        Ok(())
    }

    /// Adds to a transaction that there is a block, which joins its network and has that policy.
    pub(super) async fn with_block(
        &self,
        txn: Txn,
        tenant: &TenantId,
        id: Uuid,
        block: &Block,
        policy: Option<(Owned, Revision)>,
    ) -> Result<Txn, MelangeError> {
        let owner = Owner { tenant: tenant.clone() };
        let txn = unchanged(txn, keys::block(tenant, id), 0)
            .then(Op::Put(keys::block(tenant, id), record::encode(block)))
            .then(Op::Put(keys::typed(tenant, block.kind, id), record::encode(&Mark {})))
            .then(Op::Put(keys::owner(id), record::encode(&owner)));
        let txn = governed(txn, tenant, id, policy);
        match &block.network {
            Some(network) => self.join(txn, (tenant, network), id, block).await,
            None => Ok(txn),
        }
    }

    /// The policy that a body names, which must be one of these tenants', and when it was made.
    pub(super) async fn policy_of(
        &self,
        tenants: &[&TenantId],
        policy: Option<&str>,
    ) -> Result<Option<(Owned, Revision)>, MelangeError> {
        let Some(text) = policy else { return Ok(None) };
        let unknown = || MelangeError::invalid("policy_id", format!("there is no policy {text:?}"));
        let id: Uuid = text.parse().map_err(|_| unknown())?;
        for tenant in tenants {
            if let Some(entry) = self.store.get(&keys::policy(tenant, id)).await? {
                return Ok(Some((Owned { tenant: (*tenant).clone(), id }, entry.create_revision)));
            }
        }
        Err(unknown())
    }

    /// Changes a block, and answers it as it then is.
    pub async fn update_block(
        &self,
        who: &Caller,
        tenant: &TenantId,
        block: &str,
        body: &UpdateIpBlock,
    ) -> Result<IpBlockView, MelangeError> {
        let id = id(block, Kind::Block)?;
        let mut attempts = Attempts::new(seed(id));
        let (before, after) = loop {
            match self.try_update_block(tenant, id, body).await {
                Ok(changed) => break changed,
                Err(error) => attempts.after(error).await?,
            }
        };
        if before.block != after.block {
            audit::changed(who, &format!("melange block {id}: changed"), &before.block, &after.block);
        }
        Ok(after.view())
    }

    async fn try_update_block(
        &self,
        tenant: &TenantId,
        id: Uuid,
        body: &UpdateIpBlock,
    ) -> Result<(StoredBlock, StoredBlock), MelangeError> {
        let before = self.block(tenant, id).await?;
        let mut after = before.clone();
        let policy = self.policy_of(&[tenant], body.policy_id.as_deref()).await?;
        if let Some((policy, _)) = &policy {
            after.block.policy = Some(policy.clone());
        }
        if body.network_id.is_some() {
            after.block.network.clone_from(&body.network_id);
        }
        if before == after {
            return Ok((before, after));
        }
        after.block.updated = now_millis();
        let (old, new) = (&before.block, &after.block);
        let mut txn = unchanged(Txn::new(), before.key(), before.revision)
            .then(Op::Put(before.key(), record::encode(new)));
        if old.policy != new.policy {
            let gone = old.policy.as_ref().map(|policy| Op::Delete(keys::governed(policy.id, id)));
            txn = gone.into_iter().fold(governed(txn, tenant, id, policy), Txn::then);
        }
        if old.network != new.network {
            if let Some(network) = &old.network {
                txn = self.leave(txn, (tenant, network), id).await?;
            }
            if let Some(network) = &new.network {
                txn = self.join(txn, (tenant, network), id, new).await?;
            }
        }
        self.store.txn(txn).await?;
        Ok((before, after))
    }
}

/// Adds to a transaction that a block has a policy, which still exists.
fn governed(txn: Txn, tenant: &TenantId, id: Uuid, policy: Option<(Owned, Revision)>) -> Txn {
    let Some((policy, since)) = policy else { return txn };
    let governed = Governed { tenant: tenant.clone() };
    txn.when(Compare::CreateRevision(keys::policy(&policy.tenant, policy.id), since))
        .then(Op::Put(keys::governed(policy.id, id), record::encode(&governed)))
}
