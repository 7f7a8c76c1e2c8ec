//! Which address of a block somebody gets.

use super::interfaces::Holder;
use super::read::StoredBlock;
use super::{Melange, MelangeError};
use common::ipam::tenant_block::broadcast;
use common::ipam::{Family, Forbidden, Space, Unit};
use common::store::keys::melange as keys;
use common::store::leases::FreeUnits;
use common::store::melange::Place;
use common::store::{Revision, Txn};
use common::wire::melange::expanded;
use std::net::IpAddr;

/// An address that was chosen, and what the choice depends on.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) block: StoredBlock,
    /// The policy's revision.
    policy: Revision,
    pub(super) address: IpAddr,
    /// Whether it is one of several that would do.
    pub(super) next: bool,
}

impl Choice {
    pub(super) fn place(&self) -> Place {
        Place { block: self.block.id, address: self.address }
    }

    /// Adds to a transaction that block and policy are as they were read.
    pub(super) fn guard(&self, txn: Txn) -> Txn {
        self.block.guard(txn, self.policy)
    }
}

impl Melange {
    /// An address of a block that somebody can get: the one that is wanted, or the next one.
    pub(super) async fn choose(
        &self,
        block: StoredBlock,
        holder: &Holder,
        wanted: Option<IpAddr>,
    ) -> Result<Choice, MelangeError> {
        let cidr = block.block.cidr;
        if block.block.subnets > 0 {
            let text = format!("block {cidr} has subnets, and gives no addresses itself");
            return Err(MelangeError::Unprocessable(text));
        }
        block.must_back_nothing("its addresses are given to pods")?;
        let (forbidden, policy) = self.forbidden_in(&block.block).await?;
        let address = if let Some(address) = wanted {
            self.specific(&block, &forbidden, address).await?
        } else {
            let space = || forbidden.space(cidr, block.block.gateway);
            let found = match Family::of(cidr.addr()) {
                Family::V4 => self.cursors.candidate(self.store.as_ref(), block.id, policy, space).await?,
                Family::V6 => self.generated(&block, holder, &space()).await?,
            };
            let full = || MelangeError::Unprocessable(format!("no address of block {cidr} is free"));
            found.ok_or_else(full)?
        };
        Ok(Choice { block, policy, address, next: wanted.is_none() })
    }

    /// An address that is asked for by itself.
    async fn specific(
        &self,
        block: &StoredBlock,
        forbidden: &Forbidden,
        address: IpAddr,
    ) -> Result<IpAddr, MelangeError> {
        let (cidr, shown) = (block.block.cidr, expanded(address));
        let taken = |reason| MelangeError::Taken { address: shown.clone(), reason };
        if !cidr.contains(&address) {
            return Err(MelangeError::Unprocessable(format!("address {shown} is not in block {cidr}")));
        }
        if block.block.gateway == Some(address) {
            return Err(taken("is the gateway of its block"));
        }
        if broadcast(cidr) == Some(address) {
            return Err(taken("is the broadcast address of its block"));
        }
        if forbidden.forbids(cidr, address) {
            let text = format!("the policy of block {cidr} forbids address {shown}");
            return Err(MelangeError::Unprocessable(text));
        }
        match self.store.get(&Place { block: block.id, address }.key()).await? {
            Some(_) => Err(taken("is allocated already")),
            None => Ok(address),
        }
    }

    /// The address that is generated for an interface, or the next free one behind it.
    async fn generated(
        &self,
        block: &StoredBlock,
        holder: &Holder,
        space: &Space,
    ) -> Result<Option<IpAddr>, MelangeError> {
        let mac = holder.mac.ok_or_else(|| {
            MelangeError::invalid("mac_address", "it is missing, and an IPv6 address is generated of it")
        })?;
        let first = self.settings.generator.address(block.block.cidr, &holder.tenant, mac);
        let start = match space.index_of(Unit::containing(first, 0)) {
            Some(index) => index,
            // It is never given: the next one that is.
            None => space.index_at_or_before(first).map_or(0, |before| before + 1),
        };
        let prefix = keys::addresses(block.id).from;
        let free = FreeUnits::below(self.store.as_ref(), prefix, space, start).next().await?;
        Ok(free.map(|unit| unit.first()))
    }
}
