//! Leases of single addresses of namespaces' pools: one for each pod that gets one, given back when it goes.
//!
//! Nothing is leased ahead of need, and no node watches these pools: the record of a pool is read when an address of
//! it is wanted, remembered, and compared by the transaction that leases the address.

use super::give_back::Found;
use super::target::{Shown, Target};
use super::{LeaseError, LeaseKeeper};
use crate::annotations::Chosen;
use crate::state::{Ask, LeasedAddress, Standing, State};
use common::clock;
use common::ipam::{Family, Space, Unit};
use common::name::PodText;
use common::pool_id::{PoolId, Scoped};
use common::store::leases::FreeUnits;
use common::store::leases::addresses::acquire;
use common::store::{Entry, Revision, StoreError, keys};
use common::wire::node::AssignedAddress;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// How often an address is tried for that another node was first to take.
const ATTEMPTS: u32 = 64;
/// So many leases tell which address was leased last; in a pool with more, the node goes on from its own last one.
const SMALL: usize = 256;
/// After a lost race the search goes on so many addresses further at most, so that nodes don't meet again.
const STRIDE: u64 = 16;

/// Why a pool gives no address, so that the next one that the pod names is tried.
enum Unmet {
    /// For a person.
    Reason(String),
    /// The address asked for is none of the pool's.
    Outside,
}

impl LeaseKeeper {
    /// Leases the addresses that a pod asks for in the pools that it names, and gives them to it.
    pub(super) async fn lease_addresses(&mut self, ask: &Ask) -> Result<Vec<AssignedAddress>, LeaseError> {
        self.is_same_store().await?;
        let any = ask.choice.as_ref().is_some_and(|choice| choice.any_family);
        let families: Vec<Option<Family>> =
            if any { vec![None] } else { ask.families.iter().copied().map(Some).collect() };
        let (mut leased, mut failed) = (Vec::new(), None);
        for family in families {
            match self.lease_address(ask, family).await {
                Ok(address) => leased.push(address),
                Err(error) => failed = Some(error),
            }
        }
        // If it went back meanwhile, the next reconciliation gives the leases back.
        self.is_same_store().await?;
        self.metrics.acquired.inc_by(leased.len() as u64);
        let ask = ask.clone();
        if let Some(error) = failed {
            // All or nothing: what was leased is the node's, and given back as nobody holds it.
            for address in leased {
                let LeasedAddress { id, token, segment } = address;
                let add = move |state: &mut State, now| {
                    state.add_address(&id, token, Standing::Open, segment, Vec::new(), now);
                };
                self.allocator.run(add).await?;
            }
            self.allocator.signals().freed.notify_one();
            return Err(error);
        }
        let given = self.allocator.run(move |state, now| state.give(&leased, &ask, now)).await?;
        if given.is_err() {
            self.allocator.signals().freed.notify_one();
        }
        given.map_err(LeaseError::Refused)
    }

    async fn lease_address(
        &mut self,
        ask: &Ask,
        family: Option<Family>,
    ) -> Result<LeasedAddress, LeaseError> {
        let Some(choice) = &ask.choice else {
            return Err(LeaseError::NoAddress("no pool is chosen".to_owned()));
        };
        let mut stale = Vec::new();
        if choice.fixed {
            match self.return_fixed(ask, family).await? {
                Found::Here(address) => return Ok(address),
                Found::Stale(entries) => stale = entries,
                Found::Nowhere => {}
            }
        }
        let mut reasons = Vec::new();
        let mut outside = 0;
        for chosen in &choice.pools {
            match self.lease_from(chosen, ask, family, &stale).await? {
                Ok(address) => return Ok(address),
                Err(Unmet::Outside) => outside += 1,
                Err(Unmet::Reason(reason)) => reasons.push(reason),
            }
        }
        let asked = ask.addresses.iter().find(|address| family.is_none_or(|of| of == Family::of(**address)));
        match asked {
            Some(address) if outside == choice.pools.len() => Err(LeaseError::Outside(*address)),
            _ => Err(LeaseError::NoAddress(reasons.join("; "))),
        }
    }

    /// The pool with this record, as it was read last or is now.
    pub(super) async fn target(
        &mut self,
        namespace: &PodText,
        chosen: &Chosen,
        fresh: bool,
    ) -> Result<Option<Arc<Target>>, LeaseError> {
        let key = match chosen {
            Chosen::Service(pool) => keys::service_pool(pool),
            Chosen::Namespace(pool) => keys::namespace_pool(pool),
        };
        if let Some(target) = self.targets.get(&key).filter(|_| !fresh) {
            return Ok(Some(target));
        }
        let Some(entry) = self.store.get(&key).await? else {
            self.targets.forget(&key);
            return Ok(None);
        };
        let unreadable = |error| LeaseError::ChosenRecord(Shown(chosen).to_string(), Arc::new(error));
        let target = Arc::new(Target::parse(namespace, chosen, &entry).map_err(unreadable)?);
        self.targets.learn(&target);
        Ok(Some(target))
    }

    /// Leases an address of one pool. What was remembered of the pool is enough to lease, but not to refuse.
    async fn lease_from(
        &mut self,
        chosen: &Chosen,
        ask: &Ask,
        family: Option<Family>,
        stale: &[Entry],
    ) -> Result<Result<LeasedAddress, Unmet>, LeaseError> {
        let mut start = None;
        let mut fresh = false;
        for attempt in 0..ATTEMPTS {
            let target = self.target(&ask.namespace, chosen, fresh).await?;
            let Some(target) = target else {
                return Ok(Err(Unmet::Reason(format!("there is no {}", Shown(chosen)))));
            };
            let found = match refusal(&target, ask, family) {
                None => self.find(&target, ask, start).await?,
                Some(unmet) => Err(unmet),
            };
            let unit = match found {
                Ok(unit) => unit,
                Err(_) if !fresh => {
                    fresh = true;
                    continue;
                }
                Err(unmet) => return Ok(Err(unmet)),
            };
            if !self.knows(&target, unit).await?
                && let Some(leased) = self.try_lease(&target, unit, ask, stale).await?
            {
                self.targets.leased(&target, leased.token, unit);
                return Ok(Ok(leased));
            }
            // Another node was first, or the pool has changed.
            fresh = true;
            let index = target.space.index_of(unit).unwrap_or(0);
            start = Some(index.saturating_add(1 + u128::from(self.jitter(attempt))));
        }
        Ok(Err(Unmet::Reason(format!(
            "{} is contended: other nodes lease its last addresses",
            Shown(chosen)
        ))))
    }

    /// Whether an address is known here though its lease is free: it was taken away, and its holder is not gone.
    async fn knows(&self, target: &Target, unit: Unit) -> Result<bool, LeaseError> {
        let id = target.block(unit);
        Ok(self.allocator.run(move |state, _| state.knows(&id)).await?)
    }

    /// An address without a lease: the one asked for, or the next after the last that was leased.
    async fn find(
        &self,
        target: &Target,
        ask: &Ask,
        start: Option<u128>,
    ) -> Result<Result<Unit, Unmet>, LeaseError> {
        let space = &target.space;
        let asked = ask.addresses.iter().find(|address| Family::of(**address) == space.family());
        if let Some(address) = asked {
            let unit = Unit::containing(*address, 0);
            let lease = self.store.get(&keys::lease(&target.id, unit)).await?;
            return Ok(match lease {
                None => Ok(unit),
                Some(_) => Err(Unmet::Reason(format!("{address} of {target} is leased"))),
            });
        }
        let full = || Unmet::Reason(format!("every address of {target} is leased"));
        let Some((whole, last)) = target.whole().zip(space.last_index()) else { return Ok(Err(full())) };
        let mut from = self.targets.last(target);
        if last < SMALL as u128 || from.is_none() {
            let page = self.store.list(&keys::leases_between(&target.id, whole), SMALL).await?;
            let leased = page.items.iter().filter_map(|entry| {
                let (_, unit) = keys::parse_lease(&entry.key, |_| 0)?;
                Some((entry.create_revision, unit))
            });
            let leased: Vec<(Revision, Unit)> =
                leased.filter(|(_, unit)| space.index_of(*unit).is_some()).collect();
            from = leased.iter().copied().chain(from).max();
            if !page.more {
                let taken: Vec<u128> = leased.iter().filter_map(|(_, unit)| space.index_of(*unit)).collect();
                return Ok(next_gap(&taken, start.or_else(|| after(space, from)), last)
                    .and_then(|index| space.unit_at(index))
                    .ok_or_else(full));
            }
        }
        let start = start.or_else(|| after(space, from)).unwrap_or(0);
        let mut free = FreeUnits::new(self.store.as_ref(), &target.id, space, start);
        Ok(free.next().await?.ok_or_else(full))
    }

    /// Leases an address unless it has a lease, or what this was decided upon has changed. Of a fixed address that is
    /// not chosen any more, index and lease go.
    async fn try_lease(
        &self,
        target: &Target,
        unit: Unit,
        ask: &Ask,
        stale: &[Entry],
    ) -> Result<Option<LeasedAddress>, LeaseError> {
        let wanted = target.wanted(ask, unit);
        let txn = acquire(&self.node, (&target.key, target.revision), &wanted, stale);
        match self.store.txn(txn).await {
            Ok(token) => Ok(Some(LeasedAddress::of(wanted, token))),
            Err(StoreError::Conflict) if self.is_settling().await? => Err(LeaseError::Restored),
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The pool among those that a pod names that an address is of.
    pub(super) async fn chosen_target(
        &mut self,
        ask: &Ask,
        pool: &PoolId,
        address: IpAddr,
    ) -> Result<Option<Arc<Target>>, LeaseError> {
        let chosen: Vec<Chosen> = ask.choice.iter().flat_map(|choice| choice.pools.clone()).collect();
        for chosen in chosen {
            let target = self.target(&ask.namespace, &chosen, true).await?;
            let of = |target: &Arc<Target>| target.id == *pool && target.space.contains(address);
            if let Some(target) = target.filter(of) {
                return Ok(Some(target));
            }
        }
        Ok(None)
    }

    /// How much further than the next address to go after an attempt; other nodes go elsewhere.
    fn jitter(&self, attempt: u32) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.node.as_str(), attempt, clock::now_millis()).hash(&mut hasher);
        hasher.finish() % STRIDE
    }
}

/// The pod that asks.
pub(super) fn pod_of(ask: &Ask) -> Scoped {
    Scoped { namespace: ask.namespace.clone(), name: ask.pod.clone() }
}

/// Why a pool as it was read gives no address, whatever is leased of it.
fn refusal(target: &Target, ask: &Ask, family: Option<Family>) -> Option<Unmet> {
    if let Some(family) = family.filter(|family| *family != target.space.family()) {
        return Some(Unmet::Reason(format!("{target} has no {family} address")));
    }
    if target.disabled {
        return Some(Unmet::Reason(format!("{target} is disabled")));
    }
    let asked = ask.addresses.iter().find(|address| Family::of(**address) == target.space.family())?;
    (!target.space.contains(*asked)).then_some(Unmet::Outside)
}

fn after(space: &Space, last: Option<(Revision, Unit)>) -> Option<u128> {
    let (_, unit) = last?;
    space.index_at_or_before(unit.first()).map(|index| index + 1)
}

/// The first index from a start on, around the end, that is not taken. `taken` is sorted, `last` the last index.
fn next_gap(taken: &[u128], start: Option<u128>, last: u128) -> Option<u128> {
    let start = start.unwrap_or(0) % (last + 1);
    (start..=last).chain(0..start).find(|index| taken.binary_search(index).is_err())
}

#[cfg(test)]
mod tests {
    use super::next_gap;

    #[test]
    fn gaps_go_around() {
        let taken = [0, 1, 3, 4];
        for (start, expected) in
            [(None, 2), (Some(0), 2), (Some(3), 5), (Some(5), 5), (Some(6), 2), (Some(60), 2)]
        {
            assert_eq!(next_gap(&taken, start, 5), Some(expected), "{start:?}");
        }
        assert_eq!(next_gap(&[0, 1, 2], Some(1), 2), None);
    }
}
