//! What is read of the store: records by their ids, and pages of lists in the order of ids.

use super::{Kind, Melange, MelangeError};
use crate::paging::read_all;
use common::name::TenantId;
use common::store::keys::melange::{self as keys, List};
use common::store::melange::{Place, unchanged};
use common::store::record::melange::{Address, Block, Listed, Owned, Owner};
use common::store::record::{self, RecordError};
use common::store::{self, Entry, KeyRange, Revision, Store, StoreError, Txn, spread};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::net::IpAddr;
use uuid::Uuid;

/// How many single keys are read by one call: no more operations fit a transaction of etcd. Several calls share the work
/// evenly, as they are under way at the same time.
const AT_ONCE: usize = Txn::MAX;

/// What page of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Items at most.
    pub limit: usize,
    /// The id of the last item that was seen.
    pub marker: Option<Uuid>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The marker of the next page, if there is one.
    pub next: Option<Uuid>,
}

/// A block as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredBlock {
    pub(super) tenant: TenantId,
    pub(super) id: Uuid,
    pub(super) block: Block,
    pub(super) revision: Revision,
    /// When it was made.
    pub(super) since: Revision,
}

impl StoredBlock {
    pub(super) fn key(&self) -> String {
        keys::block(&self.tenant, self.id)
    }

    pub(super) fn owned(&self) -> Owned {
        Owned { tenant: self.tenant.clone(), id: self.id }
    }

    /// Adds to a transaction that the block is as it was read, and its policy as at that revision.
    pub(super) fn guard(&self, txn: Txn, policy: Revision) -> Txn {
        let txn = unchanged(txn, self.key(), self.revision);
        match &self.block.policy {
            Some(of) => unchanged(txn, keys::policy(&of.tenant, of.id), policy),
            None => txn,
        }
    }

    /// Refuses if the block backs a pool, for a reason that goes on from there.
    pub(super) fn must_back_nothing(&self, reason: &str) -> Result<(), MelangeError> {
        let Some(pool) = &self.block.pool else { return Ok(()) };
        let text = format!("block {} backs pool {pool}: {reason}", self.block.cidr);
        Err(MelangeError::Unprocessable(text))
    }

    /// Reads a block.
    pub(super) async fn read(store: &dyn Store, tenant: &TenantId, id: Uuid) -> Result<Self, MelangeError> {
        let entry = store.get(&keys::block(tenant, id)).await?;
        Self::parse(tenant, id, &entry.ok_or(MelangeError::NotFound(Kind::Block))?)
    }

    fn parse(tenant: &TenantId, id: Uuid, entry: &Entry) -> Result<Self, MelangeError> {
        let block = record::decode(&entry.key, &entry.value)?;
        let (revision, since) = (entry.mod_revision, entry.create_revision);
        Ok(Self { tenant: tenant.clone(), id, block, revision, since })
    }
}

impl StoredAddress {
    pub(super) fn parse(place: Place, entry: Entry) -> Result<Self, RecordError> {
        let record = record::decode(&entry.key, &entry.value)?;
        Ok(Self { place, entry, record })
    }
}

/// An address as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredAddress {
    pub(super) place: Place,
    pub(super) entry: Entry,
    pub(super) record: Address,
}

/// What is after the page's marker in a list.
fn rest(range: KeyRange, page: PageRequest) -> KeyRange {
    match page.marker {
        Some(marker) => KeyRange { from: format!("{}{marker}\0", range.from), to: range.to },
        None => range,
    }
}

/// The records of a page, by their ids.
fn parsed<T: DeserializeOwned>(found: &store::Page<Entry>) -> Result<Page<(Uuid, T)>, MelangeError> {
    let next = found.last_of_more().and_then(|last| keys::parse_id(&last.key));
    let named = found.items.iter().filter_map(|entry| Some((keys::parse_id(&entry.key)?, entry)));
    let records = named.map(|(id, entry)| Ok((id, record::decode(&entry.key, &entry.value)?)));
    Ok(Page { items: records.collect::<Result<_, MelangeError>>()?, next })
}

impl Melange {
    pub(super) async fn block(&self, tenant: &TenantId, id: Uuid) -> Result<StoredBlock, MelangeError> {
        StoredBlock::read(self.store.as_ref(), tenant, id).await
    }

    /// A block, whoever has it.
    pub(super) async fn block_of_anybody(&self, id: Uuid) -> Result<StoredBlock, MelangeError> {
        let entry = self.store.get(&keys::owner(id)).await?.ok_or(MelangeError::NotFound(Kind::Block))?;
        let Owner { tenant } = record::decode(&entry.key, &entry.value)?;
        self.block(&tenant, id).await
    }

    /// Blocks that were found in an index; what is gone meanwhile is left out.
    pub(super) async fn blocks_of(&self, owned: &[Owned]) -> Result<Vec<StoredBlock>, MelangeError> {
        let keys = owned.iter().map(|owned| keys::block(&owned.tenant, owned.id)).collect();
        let entries = self.entries(keys).await?;
        let found = owned.iter().zip(entries).filter_map(|(owned, entry)| Some((owned, entry?)));
        found.map(|(owned, entry)| StoredBlock::parse(&owned.tenant, owned.id, &entry)).collect()
    }

    /// An address, held or deallocated.
    pub(super) async fn address(&self, place: Place) -> Result<StoredAddress, MelangeError> {
        let entry = self.store.get(&place.key()).await?.ok_or(MelangeError::NotFound(Kind::Address))?;
        let record = record::decode(&entry.key, &entry.value)?;
        Ok(StoredAddress { place, entry, record })
    }

    /// Single keys.
    async fn entries(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, StoreError> {
        let ranges: Vec<KeyRange> = keys.into_iter().map(KeyRange::key).collect();
        let calls = ranges.len().div_ceil(AT_ONCE).max(1);
        let each = ranges.len().div_ceil(calls).max(1);
        let found = read_all(ranges.chunks(each).map(|some| self.store.snapshot(some))).await?;
        let found = found.into_iter().flat_map(|snapshot| snapshot.ranges);
        Ok(found.map(|mut range| range.pop()).collect())
    }

    /// A page of records which are all of what a range has.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        range: KeyRange,
        page: PageRequest,
    ) -> Result<Page<(Uuid, T)>, MelangeError> {
        parsed(&self.store.list(&rest(range, page), page.limit).await?)
    }

    /// A page of a list of addresses.
    pub(super) async fn addresses(
        &self,
        list: List<'_>,
        page: PageRequest,
    ) -> Result<Page<StoredAddress>, MelangeError> {
        let store = self.store.as_ref();
        let found = spread::list(store, &keys::list(list).from, page.marker, page.limit).await?;
        let Page { items, next } = parsed::<Listed>(&found)?;
        let places: Vec<Place> = items
            .iter()
            .map(|(_, Listed { block, address })| Place { block: *block, address: *address })
            .collect();
        let found = items.iter().zip(self.live(&places).await?);
        let found = found.filter_map(|((id, _), stored)| Some((*id, stored?)));
        // It may have been deallocated, or have another holder, since the list was read.
        let is_listed = |id: Uuid, stored: &StoredAddress| {
            stored.record.id == id && (stored.record.freed.is_none() || matches!(list, List::Block(_)))
        };
        let items = found.filter(|(id, stored)| is_listed(*id, stored)).map(|(_, stored)| stored).collect();
        Ok(Page { items, next })
    }

    /// Addresses of which the places are known; those that are gone are left out.
    pub(super) async fn addresses_at(&self, places: &[Place]) -> Result<Vec<StoredAddress>, MelangeError> {
        Ok(self.live(places).await?.into_iter().flatten().collect())
    }

    /// The addresses at some places, as far as they and their blocks are there: of a block that was deleted, some may not
    /// be removed yet.
    async fn live(&self, places: &[Place]) -> Result<Vec<Option<StoredAddress>>, MelangeError> {
        let blocks: BTreeSet<Uuid> = places.iter().map(|place| place.block).collect();
        let owners = blocks.iter().map(|block| keys::owner(*block));
        let mut entries =
            self.entries(places.iter().map(|place| place.key()).chain(owners).collect()).await?;
        let owners = entries.split_off(places.len());
        let there: BTreeSet<Uuid> =
            blocks.iter().zip(owners).filter_map(|(block, owner)| owner.map(|_| *block)).collect();
        let parse = |(place, entry): (&Place, Option<Entry>)| {
            let entry = entry.filter(|_| there.contains(&place.block));
            entry.map(|entry| StoredAddress::parse(*place, entry)).transpose()
        };
        Ok(places.iter().zip(entries).map(parse).collect::<Result<_, RecordError>>()?)
    }
}

/// The id in a path. What is no id names nothing.
pub(super) fn id(text: &str, kind: Kind) -> Result<Uuid, MelangeError> {
    text.parse().map_err(|_| MelangeError::NotFound(kind))
}

/// The address in a path. What is no address names nothing.
pub(super) fn place(block: Uuid, address: &str) -> Result<Place, MelangeError> {
    let address: IpAddr = address.parse().map_err(|_| MelangeError::NotFound(Kind::Address))?;
    Ok(Place { block, address })
}
