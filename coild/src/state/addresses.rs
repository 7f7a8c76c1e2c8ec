//! Addresses of namespaces' pools. Each is a unit of its own, leased for one pod and given back when the pod goes; so
//! nothing of them is ever in stock.

use super::{AllocateError, Ask, BlockId, Change, Place, Standing, State};
use crate::annotations::Chosen;
use common::ipam::{Family, Segment};
use common::name::PodText;
use common::pool_id::{PoolId, Scoped};
use common::store::Revision;
use common::store::leases::addresses::Wanted;
use common::wire::node::AssignedAddress;
use std::net::IpAddr;

/// An address that was leased for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedAddress {
    /// Its pool, and the unit that is the address alone.
    pub id: BlockId,
    /// The revision that made the node the lease's holder.
    pub token: Revision,
    /// The network that it is in.
    pub segment: Segment,
}

impl LeasedAddress {
    /// The address that was wanted, leased at this revision.
    pub fn of(wanted: Wanted, token: Revision) -> Self {
        let Wanted { pool, unit, segment, .. } = wanted;
        Self { id: BlockId { pool, unit }, token, segment }
    }
}

impl State {
    /// Gives an attachment the addresses that were leased for it. If it holds one already, the leases are the node's
    /// nevertheless, to be given back.
    pub fn give(
        &mut self,
        leased: &[LeasedAddress],
        ask: &Ask,
        now: u64,
    ) -> Result<Vec<AssignedAddress>, AllocateError> {
        let held = self.must_hold_nothing(ask);
        let mut given = Vec::with_capacity(leased.len());
        for LeasedAddress { id, token, segment } in leased {
            self.add_address(id, *token, Standing::Open, segment.clone(), Vec::new(), now);
            if held.is_ok() {
                given.extend(self.take(&Place { id: id.clone(), offset: 0 }, ask, now));
            }
        }
        held.map(|()| given)
    }

    /// Gives an attachment the addresses that are kept for its pod and that the node has not given back yet: all that
    /// it asks for, or none.
    pub fn give_kept(&mut self, ask: &Ask, now: u64) -> Result<Option<Vec<AssignedAddress>>, AllocateError> {
        self.must_hold_nothing(ask)?;
        let Some(choice) = ask.choice.as_ref().filter(|choice| choice.fixed) else { return Ok(None) };
        let suits = |id: &BlockId, pod: &Scoped| {
            let open = self.blocks.get(id).is_some_and(|held| held.standing == Standing::Open);
            let chosen = choice.pools.iter().any(|chosen| match chosen {
                // Which namespace's pool it is a part of, is known to the store only.
                Chosen::Service(_) => true,
                Chosen::Namespace(pool) => PoolId::Namespace(pool.clone()) == id.pool,
            });
            let of_family = |address: &&IpAddr| Family::of(**address) == id.unit.family();
            let asked = ask.addresses.iter().find(of_family).is_none_or(|asked| *asked == id.unit.first());
            open && chosen && asked && pod.namespace == ask.namespace && pod.name == ask.pod
        };
        let kept: Vec<BlockId> =
            self.kept.iter().filter(|(id, pod)| suits(id, pod)).map(|(id, _)| id.clone()).collect();
        let mut chosen = Vec::new();
        for family in &ask.families {
            let of_family = |id: &&BlockId| choice.any_family || id.unit.family() == *family;
            let Some(id) = kept.iter().find(of_family) else { return Ok(None) };
            chosen.push(id.clone());
        }
        let places = chosen.into_iter().map(|id| Place { id, offset: 0 });
        Ok(Some(places.filter_map(|place| self.take(&place, ask, now)).collect()))
    }

    /// The network that an address of a namespace's pool is in.
    pub fn segment(&self, id: &BlockId) -> Option<&Segment> {
        self.blocks.get(id)?.segment.as_deref()
    }

    /// Whether the node has the lease of an address, or had it and its holder is not gone.
    pub fn knows(&self, id: &BlockId) -> bool {
        self.blocks.contains_key(id)
    }

    /// The addresses that nobody holds, to be given back.
    pub fn idle_addresses(&self) -> Vec<(BlockId, Revision)> {
        let idle = self.blocks.iter().filter(|(id, held)| {
            id.pool.coil().is_none() && held.standing == Standing::Open && held.block.is_empty()
        });
        idle.map(|(id, held)| (id.clone(), held.token)).collect()
    }

    /// Takes an address out that nobody holds, so that its lease can be given back. Returns whether it was still so.
    pub fn take_idle_address(&mut self, id: &BlockId, token: Revision) -> bool {
        let idle = self.blocks.get(id).is_some_and(|held| {
            held.token == token && held.standing == Standing::Open && held.block.is_empty()
        });
        if idle {
            self.withdraw(id);
            self.changes.push(Change::RemoveBlock(id.clone()));
        }
        idle
    }

    /// Notes that an address is kept for pods of this name.
    pub fn keep(&mut self, id: &BlockId, namespace: PodText, pod: PodText) {
        self.changes.push(Change::Keep(id.clone(), namespace.clone(), pod.clone()));
        self.kept.insert(id.clone(), Scoped { namespace, name: pod });
    }

    fn must_hold_nothing(&self, ask: &Ask) -> Result<(), AllocateError> {
        match self.held_by(&ask.attachment).next() {
            Some((_, address, _)) => Err(AllocateError::Held { attachment: ask.attachment.clone(), address }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SETTINGS, attachment};
    use super::*;
    use crate::annotations::Choice;
    use crate::state::Origin;
    use common::ipam::Unit;

    fn text(text: &str) -> PodText {
        PodText::new(text).expect("text")
    }

    fn scoped(name: &str) -> Scoped {
        Scoped { namespace: text("team"), name: text(name) }
    }

    fn ask(container: u8, pod: &str, fixed: bool) -> Ask {
        let pools = vec![Chosen::Namespace(scoped("web"))];
        Ask {
            attachment: attachment(container),
            namespace: text("team"),
            pod: text(pod),
            families: vec![Family::V4],
            choice: Some(Choice { pools, fixed, any_family: false }),
            adopt: false,
            origin: Origin::Namespace,
            addresses: Vec::new(),
            network: None,
            netns: None,
        }
    }

    fn leased(last: u8, token: Revision) -> LeasedAddress {
        let unit = Unit::containing([10, 0, 0, last].into(), 0);
        let segment = Segment { prefix: 24, gateway: [10, 0, 0, 1].into(), vlan: 7 };
        LeasedAddress { id: BlockId { pool: PoolId::Namespace(scoped("web")), unit }, token, segment }
    }

    #[test]
    fn an_address_comes_with_its_network_and_goes_when_it_is_freed() {
        let mut state = State::new(SETTINGS, 0);
        let given = state.give(&[leased(9, 4)], &ask(1, "web", false), 5).expect("given");
        assert_eq!((given[0].prefix, given[0].vlan), (24, Some(7)));
        assert_eq!(given[0].gateway, Some([10, 0, 0, 1].into()));
        assert_eq!(given[0].routes[0].dst.to_string(), "0.0.0.0/0");
        assert!(state.idle_addresses().is_empty() && state.routed().is_empty() && state.needs(5).is_empty());
        let again = state.give(&[leased(10, 6)], &ask(1, "web", false), 5);
        assert!(matches!(again, Err(AllocateError::Held { .. })));
        assert_eq!(state.idle_addresses(), [(leased(10, 6).id, 6)], "given back, as nobody got it");
        assert_eq!(state.release(&attachment(1), &text("team"), &text("web"), 6).len(), 1);
        assert_eq!(state.idle_addresses().len(), 2);
        assert!(state.take_idle(1_000_000).is_empty(), "not with the blocks");
        assert!(!state.take_idle_address(&leased(9, 4).id, 3), "another lease");
        assert!(state.take_idle_address(&leased(9, 4).id, 4) && !state.knows(&leased(9, 4).id));
    }

    #[test]
    fn a_fixed_address_waits_for_its_pod() {
        let mut state = State::new(SETTINGS, 0);
        state.give(&[leased(9, 4)], &ask(1, "db-0", true), 5).expect("given");
        assert_eq!(state.give_kept(&ask(2, "db-0", true), 5), Ok(None), "its pod still has it");
        state.release(&attachment(1), &text("team"), &text("db-0"), 6);
        assert_eq!(state.give_kept(&ask(2, "db-1", true), 6), Ok(None), "not this one's");
        assert_eq!(state.give_kept(&ask(2, "db-0", false), 6), Ok(None), "not asked for");
        let given = state.give_kept(&ask(2, "db-0", true), 7).expect("free").expect("kept");
        assert_eq!(given[0].address.to_string(), "10.0.0.9");
        assert_eq!(state.give_kept(&ask(3, "db-0", true), 7), Ok(None), "given once");
    }
}
