//! Giving addresses.

use super::origin::{ListedBy, Origin};
use super::stock::Stock;
use super::{BlockId, Change, Holder, Place, Standing, State};
use crate::annotations::Choice;
use common::ipam::{BlockGateway, Family, Pool, Segment, TakeError, Unit};
use common::name::{PodText, PoolName};
use common::wire::node::{AssignedAddress, AttachmentId, Route};
use ipnet::IpNet;
use std::net::IpAddr;

/// What an attachment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Container and interface.
    pub attachment: AttachmentId,
    /// Namespace of the pod.
    pub namespace: PodText,
    /// Name of the pod.
    pub pod: PodText,
    /// Families to give one address of each; IPv4 first, without repetition, not empty.
    pub families: Vec<Family>,
    /// The pools of its namespace that the pod's annotations choose; they go before `origin`.
    pub choice: Option<Choice>,
    /// The pools otherwise.
    pub origin: Origin,
    /// These addresses and no others; one of a family at most, each of a family in `families`.
    pub addresses: Vec<IpAddr>,
    /// Whether the container has these addresses already, by another ipam: a disabled pool gives them too.
    pub adopt: bool,
    /// CNI network.
    pub network: Option<String>,
    /// Path of the network namespace.
    pub netns: Option<String>,
}

/// Why no address is given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// The attachment has an address already.
    #[error("container {} holds {address} on {} already", .attachment.container_id, .attachment.interface)]
    Held {
        /// Who.
        attachment: AttachmentId,
        /// The address it holds.
        address: IpAddr,
    },
    /// There is no such pool.
    #[error("there is no pool {pool}{}", if *.by_namespace { " and none named like the namespace" } else { "" })]
    NoPool {
        /// The pool.
        pool: PoolName,
        /// Whether the request left the choice to the namespace.
        by_namespace: bool,
    },
    /// An operator disabled the pool.
    #[error("pool {0} is disabled")]
    Disabled(PoolName),
    /// The pool has no subnet of this family.
    #[error("pool {0} has no {1} subnet")]
    NoFamily(PoolName, Family),
    /// None of the pools of a list gives an address.
    #[error("{by}: {reasons}")]
    NoneListed {
        /// Who named them.
        by: ListedBy,
        /// For each pool, why not.
        reasons: String,
        /// Whether one of them is not known to the node.
        unknown: bool,
        /// Whether one of them would do, and all its addresses are in use.
        full: bool,
    },
    /// The annotation of the namespace is no list of pools.
    #[error("{by}: {reason}")]
    WrongChoice {
        /// The namespace.
        by: ListedBy,
        /// What is wrong.
        reason: String,
    },
    /// Nothing is free in the blocks that the node holds: a block must be leased.
    #[error(
        "no {family} address is free in the {blocks} blocks of pool {pool} that this node holds ({used} used)"
    )]
    NothingFree {
        /// The pool.
        pool: PoolName,
        /// The family.
        family: Family,
        /// Blocks held.
        blocks: usize,
        /// Addresses used in them.
        used: usize,
        /// Whether an address could be given by cutting its cooldown short.
        resting: bool,
    },
    /// The address asked for is in a block that the node does not hold.
    #[error("{address} is in a block of pool {pool} that this node does not hold")]
    NotLeased {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: PoolName,
        /// Its block.
        unit: Unit,
    },
    /// The address asked for is none of the pool's.
    #[error("address: {0} is not an address of pool {1}")]
    Outside(IpAddr, PoolName),
    /// The address asked for is in none of the pools of a list.
    #[error("address: {0} is not an address of a pool that is named for the pod")]
    OutsideAll(IpAddr),
    /// The address asked for is an exclusion, a gateway or a broadcast address.
    #[error("address: {0} is reserved in pool {1}")]
    Reserved(IpAddr, PoolName),
    /// The address asked for has a holder.
    #[error("{0} is held by another container")]
    Taken(IpAddr),
    /// The block of the address asked for is fenced or quarantined.
    #[error("{0} is in a block from which nothing is given at the moment")]
    Closed(IpAddr),
}

impl State {
    /// Gives an attachment one address of each family that it asks for, or none at all. With `wake`, an
    /// address that still rests is given when all others are held.
    pub fn allocate(
        &mut self,
        ask: &Ask,
        wake: bool,
        now: u64,
    ) -> Result<Vec<AssignedAddress>, AllocateError> {
        if let Some((_, address, _)) = self.held_by(&ask.attachment).next() {
            return Err(AllocateError::Held { attachment: ask.attachment.clone(), address });
        }
        // All are chosen before any is taken, so that a failure leaves nothing behind.
        let places = self.places(ask, wake, now)?;
        let mut given = Vec::with_capacity(places.len());
        for place in places {
            given.extend(self.take(&place, ask, now));
        }
        Ok(given)
    }

    /// What attachment and pod hold: all addresses with their details, IPv4 first. Empty if the container is
    /// unknown or is another pod's.
    pub fn get(&self, attachment: &AttachmentId, namespace: &PodText, pod: &PodText) -> Vec<AssignedAddress> {
        self.held_by(attachment)
            .filter(|(_, _, holder)| holder.namespace == *namespace && holder.pod == *pod)
            .map(|(place, address, _)| self.details(&place.id, address))
            .collect()
    }

    pub(super) fn choose_exactly(&self, address: IpAddr, pool: &PoolName) -> Result<Place, AllocateError> {
        let outside = || AllocateError::Outside(address, pool.clone());
        let spec = self.pools.get(pool).ok_or_else(outside)?;
        let space = spec.space(Family::of(address)).map_err(|_| outside())?;
        if !spec.subnets.iter().any(|subnet| subnet.contains(&address)) {
            return Err(outside());
        }
        let reserved = || AllocateError::Reserved(address, pool.clone());
        let unit = space.unit_of(address).ok_or_else(reserved)?;
        let offset = unit.offset_of(address).ok_or_else(reserved)?;
        if spec.unusable(unit, &space).iter().any(|(first, last)| (*first..=*last).contains(&offset)) {
            return Err(reserved());
        }
        let id = BlockId { pool: pool.clone().into(), unit };
        match self.blocks.get(&id) {
            None => Err(AllocateError::NotLeased { address, pool: pool.clone(), unit }),
            Some(held) if held.standing != Standing::Open => Err(AllocateError::Closed(address)),
            Some(held) if held.block.holder(offset).is_some() => Err(AllocateError::Taken(address)),
            Some(_) => Ok(Place { id, offset }),
        }
    }

    /// The rotation goes on in the block of the last address, then in those behind it, then from the first on.
    pub(super) fn choose_next(
        &self,
        pool: &PoolName,
        family: Family,
        wake: bool,
    ) -> Result<Place, AllocateError> {
        let stock = self.stock(pool, family);
        let current = self.current.get(&(pool.clone(), family)).copied();
        let block = |unit| BlockId { pool: pool.clone().into(), unit };
        if let Some(id) = stock.and_then(|stock| stock.next(current)).map(block)
            && let Some(offset) = self.blocks.get(&id).and_then(|held| held.block.next_free())
        {
            return Ok(Place { id, offset });
        }
        let longest_resting = stock.and_then(Stock::longest_resting);
        match longest_resting {
            Some((unit, offset)) if wake || stock.is_some_and(Stock::rests_enough) => {
                Ok(Place { id: block(unit), offset })
            }
            resting => Err(AllocateError::NothingFree {
                pool: pool.clone(),
                family,
                blocks: self.blocks_of(pool, family).count(),
                used: self.blocks_of(pool, family).map(|(_, held)| held.block.held().len()).sum(),
                resting: resting.is_some(),
            }),
        }
    }

    pub(super) fn take(&mut self, place: &Place, ask: &Ask, now: u64) -> Option<AssignedAddress> {
        self.sequence += 1;
        let holder = Box::new(Holder {
            sequence: self.sequence,
            attachment: ask.attachment.clone(),
            namespace: ask.namespace.clone(),
            pod: ask.pod.clone(),
            network: ask.network.clone(),
            netns: ask.netns.clone(),
            fixed: ask.choice.as_ref().is_some_and(|choice| choice.fixed) && place.id.pool.coil().is_none(),
            conflict: false,
            since: now,
        });
        self.hold(place, holder, now)?;
        let address = place.id.unit.address(place.offset)?;
        if let Some(key) = place.id.stock() {
            self.current.insert(key, place.id.unit);
        }
        Some(self.details(&place.id, address))
    }

    /// Makes somebody the holder of an address that is free.
    pub(super) fn hold(&mut self, place: &Place, holder: Box<Holder>, now: u64) -> Option<()> {
        let taken: Result<(), TakeError> =
            self.change(&place.id, place.offset, |block| block.take(place.offset, holder.clone()))?;
        debug_assert_eq!(taken, Ok(()), "a place that was chosen is free");
        taken.ok()?;
        self.kept.remove(&place.id);
        self.touch(&place.id, now);
        self.attachments.entry(holder.attachment.clone()).or_default().push(place.clone());
        self.changes.push(Change::Hold(place.id.clone(), place.offset, holder));
        Some(())
    }

    fn details(&self, id: &BlockId, address: IpAddr) -> AssignedAddress {
        if let Some(segment) = self.blocks.get(id).and_then(|held| held.segment.as_deref()) {
            return of_segment(address, segment, id);
        }
        let pool = id.pool.coil().and_then(|name| self.pools.get(name));
        let gateway = pool.and_then(|pool| block_gateway(pool, id.unit));
        let prefix = match gateway {
            Some(_) => id.unit.net().prefix_len(),
            None => id.unit.family().bits(),
        };
        AssignedAddress { address, prefix, gateway, routes: Vec::new(), vlan: None, pool: id.pool.clone() }
    }
}

/// An address of a namespace's pool, with what its interface needs.
fn of_segment(address: IpAddr, segment: &Segment, id: &BlockId) -> AssignedAddress {
    let everything = IpNet::new(Family::of(address).address(0), 0).ok();
    let route = everything.map(|dst| Route { dst, gw: Some(segment.gateway) });
    AssignedAddress {
        address,
        prefix: segment.prefix,
        gateway: Some(segment.gateway),
        routes: Vec::from_iter(route),
        vlan: Some(segment.vlan),
        pool: id.pool.clone(),
    }
}

fn block_gateway(pool: &Pool, unit: Unit) -> Option<IpAddr> {
    match pool.block_gateway {
        BlockGateway::None => None,
        BlockGateway::First => Some(unit.first()),
    }
}
