//! NAT: which addresses outside stand for an inside one, and the other way round. Nothing is translated here; it is
//! written down, for those who do.

use super::interfaces::Holder;
use super::read::{StoredAddress, StoredBlock, id, place};
use super::{Kind, Melange, MelangeError, Page, PageRequest};
use crate::audit;
use crate::auth::{Action, Caller, Owner};
use common::store::keys::melange::{self as keys, Side};
use common::store::melange::{Joined, Place, join, part};
use common::store::record::melange::Nat;
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Pages, Store, StoreError, Txn, record};
use common::wire::melange::{IpAddressView, NatAddress};
use std::net::IpAddr;
use uuid::Uuid;

/// How many addresses are joined or parted by one transaction.
const BATCH: usize = 30;
/// How many one request may name.
const MOST: usize = 100;
/// How often an address is looked for again that was allocated or deallocated meanwhile.
const ATTEMPTS: u32 = 16;

impl Melange {
    /// The addresses that an address has on a side, by id.
    pub async fn nats(
        &self,
        who: &Caller,
        side: Side,
        block: &str,
        address: &str,
        page: PageRequest,
    ) -> Result<Page<IpAddressView>, MelangeError> {
        let own = self.nat_address(who, Action::Read, block, address).await?;
        let Place { block, address } = own.place;
        let Page { items, next } = self.page::<Nat>(keys::nats(side, block, address), page).await?;
        let places: Vec<Place> =
            items.iter().map(|(_, nat)| Place { block: nat.block, address: nat.address }).collect();
        Ok(Page { items: self.addresses_at(&places).await?, next }.views())
    }

    /// Joins an address to others, which are allocated if nobody has them. Answers the others.
    pub async fn assign(
        &self,
        who: &Caller,
        side: Side,
        block: &str,
        address: &str,
        others: &[NatAddress],
    ) -> Result<Vec<IpAddressView>, MelangeError> {
        if others.is_empty() || others.len() > MOST {
            let reason = format!("it has {} items, and must have 1 to {MOST}", others.len());
            return Err(MelangeError::invalid("ip_addresses", reason));
        }
        let block = id(block, Kind::Block)?;
        let own = self.of_caller(who, Action::Change, block).await?;
        let own_place = place(block, address)?;
        let mut blocks = Vec::new();
        for other in others {
            let block = self.of_caller(who, Action::Change, id(&other.ip_block_id, Kind::Block)?).await?;
            blocks.push((block, other.ip_address));
        }
        let own = self.find_or_allocate(who, &own, own_place.address).await?;
        let mut joined = Vec::new();
        for (block, address) in &blocks {
            joined.push(self.find_or_allocate(who, block, *address).await?);
        }
        for batch in joined.chunks(BATCH) {
            let txn = batch.iter().fold(Txn::new(), |txn, other| match side {
                Side::Global => join(txn, as_joined(&own), as_joined(other)),
                Side::Local => join(txn, as_joined(other), as_joined(&own)),
            });
            match self.store.txn(once(txn)).await {
                // One of them was removed meanwhile.
                Err(StoreError::Conflict) => return Err(MelangeError::NotFound(Kind::Address)),
                outcome => outcome?,
            };
        }
        let others: Vec<IpAddressView> = joined.iter().map(StoredAddress::view).collect();
        audit::changed(who, &format!("melange address {}: NAT assigned", own_place.address), &(), &others);
        Ok(others)
    }

    /// Parts an address from one of those on a side, or from all.
    pub async fn unassign(
        &self,
        who: &Caller,
        side: Side,
        block: &str,
        address: &str,
        other: Option<&str>,
    ) -> Result<(), MelangeError> {
        let own = self.nat_address(who, Action::Change, block, address).await?;
        let other: Option<IpAddr> =
            other.map(str::parse).transpose().map_err(|_| MelangeError::NotFound(Kind::Address))?;
        let parted = part_all(self.store.as_ref(), own.place, side, other).await?;
        if parted.is_empty() && other.is_some() {
            return Err(MelangeError::NotFound(Kind::Address));
        }
        if !parted.is_empty() {
            audit::changed(who, &format!("melange address {}: NAT removed", own.place.address), &parted, &());
        }
        Ok(())
    }

    /// A block that the caller may do this to. The paths of NAT don't tell whose a block is.
    async fn of_caller(
        &self,
        who: &Caller,
        action: Action,
        block: Uuid,
    ) -> Result<StoredBlock, MelangeError> {
        let block = self.block_of_anybody(block).await?;
        let owner = Owner::Tenant(block.tenant.to_string());
        if who.may(action, &owner) { Ok(block) } else { Err(MelangeError::NotFound(Kind::Block)) }
    }

    async fn nat_address(
        &self,
        who: &Caller,
        action: Action,
        block: &str,
        address: &str,
    ) -> Result<StoredAddress, MelangeError> {
        let block = self.of_caller(who, action, id(block, Kind::Block)?).await?;
        self.address(place(block.id, address)?).await
    }

    /// An address that is held; if nobody has it, the block's tenant gets it.
    async fn find_or_allocate(
        &self,
        who: &Caller,
        block: &StoredBlock,
        address: IpAddr,
    ) -> Result<StoredAddress, MelangeError> {
        let holder = Holder { tenant: block.tenant.clone(), device: None, interface: None, mac: None };
        for _ in 0..ATTEMPTS {
            match self.address(Place { block: block.id, address }).await {
                Ok(found) if found.record.freed.is_none() => return Ok(found),
                Ok(_) => {
                    let text = format!("address {address} is deallocated; it must be restored first");
                    return Err(MelangeError::Unprocessable(text));
                }
                Err(MelangeError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
            let block = self.block(&block.tenant, block.id).await?;
            let choice = match self.choose(block, &holder, Some(address)).await {
                // Somebody was faster.
                Err(MelangeError::Taken { reason: "is allocated already", .. }) => continue,
                choice => choice?,
            };
            match self.give(&holder, None, &[choice]).await {
                Ok(given) => {
                    tracing::debug!(%address, %who, "allocated for a NAT");
                    if let Some(given) = given.into_iter().next() {
                        return Ok(given);
                    }
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}

/// Parts an address from all others, before it is removed.
pub(super) async fn part_from_all(store: &dyn Store, place: Place) -> Result<(), MelangeError> {
    for side in [Side::Global, Side::Local] {
        let mut attempts = Attempts::new(seed(place.block));
        while let Err(error) = part_all(store, place, side, None).await {
            attempts.after(error).await?;
        }
    }
    Ok(())
}

/// Parts an address from those on a side, all or those that are one address. Answers which.
async fn part_all(
    store: &dyn Store,
    own: Place,
    side: Side,
    only: Option<IpAddr>,
) -> Result<Vec<Nat>, MelangeError> {
    let mut pages = Pages::of(store, keys::nats(side, own.block, own.address), BATCH);
    let mut parted = Vec::new();
    while let Some(page) = pages.next().await? {
        let mut txn = Txn::new();
        for entry in &page.items {
            let Some(other) = keys::parse_id(&entry.key) else { continue };
            let nat: Nat = record::decode(&entry.key, &entry.value)?;
            if only.is_none_or(|only| nat.address == only) {
                txn = part(txn, side, own, other, &nat);
                parted.push(nat);
            }
        }
        if !txn.ops.is_empty() {
            store.txn(txn).await?;
        }
    }
    Ok(parted)
}

fn as_joined(address: &StoredAddress) -> Joined {
    Joined { place: address.place, id: address.record.id, since: address.entry.create_revision }
}

/// The transaction with each comparison, and each write, once: an address may be named twice.
fn once(mut txn: Txn) -> Txn {
    let mut compares: Vec<Compare> = Vec::new();
    for compare in txn.compares.drain(..) {
        if !compares.contains(&compare) {
            compares.push(compare);
        }
    }
    let mut written = std::collections::HashSet::new();
    txn.ops.retain(|op| written.insert(op.key().to_owned()));
    Txn { compares, ..txn }
}
