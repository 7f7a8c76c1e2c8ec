//! Subnets: blocks that are parts of others.

use super::read::{StoredBlock, id};
use super::{Kind, Melange, MelangeError, Page, PageRequest, new_id};
use crate::audit;
use crate::auth::Caller;
use common::clock::now_millis;
use common::ipam::Range;
use common::ipam::tenant_block::default_gateway;
use common::name::TenantId;
use common::store::keys::melange as keys;
use common::store::melange::unchanged;
use common::store::record::melange::{Block, Owned, Subnet};
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Op, Txn, list_all, record};
use common::wire::melange::{CreateSubnet, IpBlockView};
use uuid::Uuid;

impl Melange {
    /// The subnets of a block by id, whoever has them.
    pub async fn subnets(
        &self,
        tenant: &TenantId,
        block: &str,
        page: PageRequest,
    ) -> Result<Page<IpBlockView>, MelangeError> {
        let parent = self.block(tenant, id(block, Kind::Block)?).await?;
        let Page { items, next } = self.page::<Subnet>(keys::subnets(parent.id), page).await?;
        let owned: Vec<Owned> =
            items.into_iter().map(|(id, subnet)| Owned { tenant: subnet.tenant, id }).collect();
        let subnets = self.blocks_of(&owned).await?;
        Ok(Page { items: subnets.iter().map(StoredBlock::view).collect(), next })
    }

    /// Makes a subnet of a block.
    pub async fn create_subnet(
        &self,
        who: &Caller,
        tenant: &TenantId,
        block: &str,
        body: &CreateSubnet,
    ) -> Result<IpBlockView, MelangeError> {
        let (parent, now) = (id(block, Kind::Block)?, now_millis());
        let id = new_id(now);
        let mut attempts = Attempts::new(seed(id));
        let subnet = loop {
            match self.try_create_subnet(tenant, parent, id, now, body).await {
                Ok(subnet) => break subnet,
                Err(error) => attempts.after(error).await?,
            }
        };
        let what = format!("melange block {id} of tenant {}: created as a subnet of {parent}", subnet.tenant);
        audit::changed(who, &what, &(), &subnet.block);
        Ok(subnet.view())
    }

    async fn try_create_subnet(
        &self,
        tenant: &TenantId,
        parent: Uuid,
        id: Uuid,
        now: u64,
        body: &CreateSubnet,
    ) -> Result<StoredBlock, MelangeError> {
        let parent = self.block(tenant, parent).await?;
        parent.must_back_nothing("it can't have subnets")?;
        let owner = body.tenant_id.as_ref().unwrap_or(tenant);
        let policy = self.policy_of(&[owner, tenant], body.policy_id.as_deref()).await?;
        let cidr = body.cidr.trunc();
        self.must_fit(&parent, cidr).await?;
        let mut ancestors = parent.block.ancestors.clone();
        ancestors.push(parent.owned());
        let block = Block {
            cidr,
            kind: parent.block.kind,
            network: body.network_id.clone().or_else(|| parent.block.network.clone()),
            policy: policy.as_ref().map(|(policy, _)| policy.clone()),
            gateway: default_gateway(cidr),
            dns1: self.settings.dns1,
            dns2: self.settings.dns2,
            ancestors,
            subnets: 0,
            pool: None,
            created: now,
            updated: now,
        };
        let grown = Block { subnets: parent.block.subnets + 1, ..parent.block.clone() };
        let subnet = Subnet { tenant: owner.clone(), cidr };
        let txn = unchanged(Txn::new(), parent.key(), parent.revision)
            .when(Compare::Empty(keys::addresses(parent.id)))
            .then(Op::Put(parent.key(), record::encode(&grown)))
            .then(Op::Put(keys::subnet(parent.id, id), record::encode(&subnet)));
        let txn = self.with_block(txn, owner, id, &block, policy).await?;
        self.store.txn(txn).await?;
        Ok(StoredBlock { tenant: owner.clone(), id, block, revision: 0, since: 0 })
    }

    /// Checks that a subnet lies in its block, beside the others and on no address that was given.
    async fn must_fit(&self, parent: &StoredBlock, cidr: ipnet::IpNet) -> Result<(), MelangeError> {
        let store = self.store.as_ref();
        let whole = parent.block.cidr;
        if !whole.contains(&cidr) {
            return Err(MelangeError::invalid("cidr", format!("{cidr} does not lie in {whole}")));
        }
        for entry in list_all(store, &keys::subnets(parent.id)).await?.items {
            let other: Subnet = record::decode(&entry.key, &entry.value)?;
            if Range::of_net(other.cidr).overlaps(&Range::of_net(cidr)) {
                return Err(MelangeError::invalid("cidr", format!("{cidr} overlaps subnet {}", other.cidr)));
            }
        }
        if !store.list_keys(&keys::addresses(parent.id), 1).await?.items.is_empty() {
            let reason = format!("{whole} has addresses that are allocated, and can't have subnets");
            return Err(MelangeError::invalid("cidr", reason));
        }
        Ok(())
    }
}
