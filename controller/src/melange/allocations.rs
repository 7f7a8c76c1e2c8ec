//! What an interface holds in a network: one address of each family that the network has.

use super::choose::Choice;
use super::interfaces::Holder;
use super::read::{Page, StoredAddress, StoredBlock};
use super::{Kind, Melange, MelangeError, PageRequest, view};
use crate::auth::Caller;
use common::ipam::Family;
use common::name::{OpaqueId, TenantId};
use common::store::keys::melange::{self as keys, List};
use common::store::record::melange::Route;
use common::store::retry::{Attempts, seed};
use common::store::{StoreError, list_all, record};
use common::wire::melange::{AllocationView, CreateAllocations, NetworkBlockView, expanded};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use uuid::Uuid;

/// How many addresses one request may name: they are given by one transaction.
const MOST: usize = 8;
/// How often addresses are chosen anew when others were faster.
const ATTEMPTS: u32 = 1_000;

impl Melange {
    /// Allocates addresses of a network for an interface, all of them or none.
    pub async fn allocate_in_network(
        &self,
        who: &Caller,
        tenant: &TenantId,
        network: &OpaqueId,
        interface: &OpaqueId,
        body: &CreateAllocations,
    ) -> Result<Vec<AllocationView>, MelangeError> {
        must_differ(&body.addresses)?;
        let holder = Holder {
            tenant: body.tenant_id.clone().unwrap_or_else(|| tenant.clone()),
            device: body.used_by_device.clone(),
            interface: Some(interface.clone()),
            mac: body.mac_address,
        };
        let seed = seed(interface);
        for tried in 0..ATTEMPTS {
            let (blocks, plug) = tokio::join!(self.network_blocks(tenant, network), self.plug_of(&holder));
            let (blocks, plug) = (blocks?, plug?);
            let plug = self.interface_after(plug, &holder, Some(network)).await?;
            let choices = self.choose_in_network(&blocks, &holder, &body.addresses).await?;
            match self.give(&holder, plug.as_ref(), &choices).await {
                Ok(given) => {
                    Self::tell(who, &given);
                    return self.allocation_views(&given, &blocks).await;
                }
                Err(StoreError::Conflict) => self.lost(&choices, seed, tried).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// What an interface holds in a network.
    pub async fn allocations(
        &self,
        tenant: &TenantId,
        network: &OpaqueId,
        interface: &OpaqueId,
        page: PageRequest,
    ) -> Result<Page<AllocationView>, MelangeError> {
        let blocks = self.network_blocks(tenant, network).await?;
        let Page { items, next } = self.addresses(List::Interface(interface), page).await?;
        let items = self.allocation_views(&items, &blocks).await?;
        Ok(Page { items, next })
    }

    /// Deallocates what an interface holds in a network.
    pub async fn deallocate_in_network(
        &self,
        who: &Caller,
        tenant: &TenantId,
        network: &OpaqueId,
        interface: &OpaqueId,
    ) -> Result<(), MelangeError> {
        let blocks = self.network_blocks(tenant, network).await?;
        let mut page = PageRequest { limit: 100, marker: None };
        loop {
            let Page { items, next } = self.addresses(List::Interface(interface), page).await?;
            for held in items.iter().filter(|held| find(&blocks, held.place.block).is_some()) {
                let mut attempts = Attempts::new(seed(held.record.id));
                loop {
                    match self.try_deallocate(who, held.place).await {
                        // Somebody else did it.
                        Ok(()) | Err(MelangeError::NotFound(_)) => break,
                        Err(error) => attempts.after(error).await?,
                    }
                }
            }
            match next {
                Some(_) => page.marker = next,
                None => return Ok(()),
            }
        }
    }

    /// Checks that a network has blocks.
    pub async fn must_have_network(&self, tenant: &TenantId, network: &OpaqueId) -> Result<(), MelangeError> {
        self.network_blocks(tenant, network).await.map(drop)
    }

    async fn network_blocks(
        &self,
        tenant: &TenantId,
        network: &OpaqueId,
    ) -> Result<Vec<StoredBlock>, MelangeError> {
        let blocks = self.members(tenant, network).await?;
        if blocks.is_empty() { Err(MelangeError::NotFound(Kind::Network)) } else { Ok(blocks) }
    }

    async fn choose_in_network(
        &self,
        blocks: &[StoredBlock],
        holder: &Holder,
        wanted: &[IpAddr],
    ) -> Result<Vec<Choice>, MelangeError> {
        // A block with subnets gives nothing itself; its subnets do if they are of the network.
        let leaves: Vec<&StoredBlock> = blocks.iter().filter(|block| block.block.subnets == 0).collect();
        let mut choices = Vec::new();
        for address in wanted {
            let block = leaves.iter().find(|block| block.block.cidr.contains(address));
            let text = || format!("address {} is in no block of the network", expanded(*address));
            let block = block.ok_or_else(|| MelangeError::Unprocessable(text()))?;
            choices.push(self.choose((*block).clone(), holder, Some(*address)).await?);
        }
        if !wanted.is_empty() {
            return Ok(choices);
        }
        // Those that back a pool give theirs to pods.
        let givers = leaves.iter().filter(|block| block.block.pool.is_none());
        let givers: Vec<&StoredBlock> = givers.copied().collect();
        for family in Family::BOTH {
            let of_family = givers.iter().filter(|block| Family::of(block.block.cidr.addr()) == family);
            let of_family: Vec<StoredBlock> = of_family.map(|block| (*block).clone()).collect();
            choices.extend(self.first_free(of_family, holder).await?);
        }
        if choices.is_empty() {
            let text = "all blocks of the network have subnets in other networks, or back pools".to_owned();
            return Err(MelangeError::Unprocessable(text));
        }
        Ok(choices)
    }

    /// The next address of the first of some blocks that has one; nothing if there are no blocks.
    async fn first_free(
        &self,
        blocks: Vec<StoredBlock>,
        holder: &Holder,
    ) -> Result<Option<Choice>, MelangeError> {
        let mut full = None;
        for block in blocks {
            match self.choose(block, holder, None).await {
                Ok(choice) => return Ok(Some(choice)),
                Err(MelangeError::Unprocessable(text)) => full = Some(text),
                Err(error) => return Err(error),
            }
        }
        full.map_or(Ok(None), |text| Err(MelangeError::Unprocessable(text)))
    }

    /// Addresses with their blocks and the routes of these; those of other blocks are left out.
    async fn allocation_views(
        &self,
        addresses: &[StoredAddress],
        blocks: &[StoredBlock],
    ) -> Result<Vec<AllocationView>, MelangeError> {
        let mut shown: HashMap<Uuid, NetworkBlockView> = HashMap::new();
        let mut views = Vec::new();
        for address in addresses {
            let Some(block) = find(blocks, address.place.block) else { continue };
            if let Entry::Vacant(vacant) = shown.entry(block.id) {
                let routes = list_all(self.store.as_ref(), &keys::routes(block.id)).await?.items;
                let named = routes.iter().filter_map(|entry| Some((keys::parse_id(&entry.key)?, entry)));
                let routes = named.map(|(id, entry)| {
                    let route: Route = record::decode(&entry.key, &entry.value)?;
                    Ok(view::route(block.id, id, &route))
                });
                let ip_routes = routes.collect::<Result<_, MelangeError>>()?;
                vacant.insert(NetworkBlockView { block: block.view(), ip_routes });
            }
            let ip_block = shown.get(&block.id).cloned();
            views.extend(ip_block.map(|ip_block| AllocationView { address: address.view(), ip_block }));
        }
        Ok(views)
    }
}

fn find(blocks: &[StoredBlock], id: Uuid) -> Option<&StoredBlock> {
    blocks.iter().find(|block| block.id == id)
}

fn must_differ(addresses: &[IpAddr]) -> Result<(), MelangeError> {
    if addresses.len() > MOST {
        let reason = format!("{} addresses at once; at most {MOST} are allowed", addresses.len());
        return Err(MelangeError::invalid("addresses", reason));
    }
    let twice = addresses.iter().enumerate().find(|(place, address)| addresses[..*place].contains(address));
    match twice {
        Some((_, address)) => Err(MelangeError::invalid("addresses", format!("{address} is there twice"))),
        None => Ok(()),
    }
}
