//! Networks: the blocks of a tenant that name the same network. They do not overlap, unless one is a subnet of the
//! other, and have one type.
//!
//! A network's record has nothing in it. It is written whenever a block joins or leaves, so that of two changes at the
//! same instant one sees the other.

use super::read::StoredBlock;
use super::{Melange, MelangeError};
use common::ipam::Range;
use common::name::{OpaqueId, TenantId};
use common::store::keys::melange as keys;
use common::store::melange::unchanged;
use common::store::record::melange::{Block, Mark, Owned};
use common::store::{Op, Revision, StoreError, Txn, list_all, record};
use uuid::Uuid;

impl Melange {
    /// The blocks of a network, by id.
    pub(super) async fn members(
        &self,
        tenant: &TenantId,
        network: &OpaqueId,
    ) -> Result<Vec<StoredBlock>, MelangeError> {
        let entries = list_all(self.store.as_ref(), &keys::members(tenant, network)).await?.items;
        let ids = entries.iter().filter_map(|entry| keys::parse_id(&entry.key));
        let owned: Vec<Owned> = ids.map(|id| Owned { tenant: tenant.clone(), id }).collect();
        self.blocks_of(&owned).await
    }

    /// Adds to a transaction that a block joins a network, if it may.
    pub(super) async fn join(
        &self,
        txn: Txn,
        (tenant, network): (&TenantId, &OpaqueId),
        id: Uuid,
        block: &Block,
    ) -> Result<Txn, MelangeError> {
        let revision = self.revision_of(tenant, network).await?;
        for member in self.members(tenant, network).await? {
            may_be_with(&member, id, block)?;
        }
        let (guard, mark) = (keys::network(tenant, network), record::encode(&Mark {}));
        Ok(unchanged(txn, guard.clone(), revision)
            .then(Op::Put(guard, mark.clone()))
            .then(Op::Put(keys::member(tenant, network, id), mark)))
    }

    /// Adds to a transaction that a block leaves its network.
    pub(super) async fn leave(
        &self,
        txn: Txn,
        (tenant, network): (&TenantId, &OpaqueId),
        id: Uuid,
    ) -> Result<Txn, MelangeError> {
        let revision = self.revision_of(tenant, network).await?;
        let members = self.store.list_keys(&keys::members(tenant, network), 2).await?.items;
        let guard = keys::network(tenant, network);
        let txn = unchanged(txn, guard.clone(), revision).then(Op::Delete(keys::member(tenant, network, id)));
        Ok(txn.then(match members.len() {
            0 | 1 => Op::Delete(guard),
            _ => Op::Put(guard, record::encode(&Mark {})),
        }))
    }

    async fn revision_of(&self, tenant: &TenantId, network: &OpaqueId) -> Result<Revision, StoreError> {
        let entry = self.store.get(&keys::network(tenant, network)).await?;
        Ok(entry.map_or(0, |entry| entry.mod_revision))
    }
}

fn may_be_with(member: &StoredBlock, id: Uuid, block: &Block) -> Result<(), MelangeError> {
    let other = &member.block;
    if other.kind != block.kind {
        let reason = format!("the blocks of a network have one type, and {} is {}", other.cidr, other.kind);
        return Err(MelangeError::invalid("type", reason));
    }
    let is_in = |id: Uuid, ancestors: &[Owned]| ancestors.iter().any(|ancestor| ancestor.id == id);
    let related = is_in(member.id, &block.ancestors) || is_in(id, &other.ancestors);
    if !related && Range::of_net(other.cidr).overlaps(&Range::of_net(block.cidr)) {
        let reason = format!("{} overlaps {} of the same network", block.cidr, other.cidr);
        return Err(MelangeError::invalid("cidr", reason));
    }
    Ok(())
}
