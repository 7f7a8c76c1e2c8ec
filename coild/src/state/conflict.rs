//! Addresses that a foreign host was found to use. Such an address is set aside for a while: it is held by nobody's
//! container, so that it is not given, its block or lease stays, and the journal and the mirror know it.

use super::{Exact, Holder, Place, State};
use common::ipam::rested;
use common::name::{ContainerId, IfName, PodText};
use common::pool_id::PoolId;
use common::wire::node::{AttachmentId, Conflict};
use std::net::IpAddr;
use std::time::Duration;

/// How long an address is set aside.
pub const QUARANTINE: Duration = Duration::from_hours(1);

fn quarantine() -> u64 {
    u64::try_from(QUARANTINE.as_millis()).unwrap_or(u64::MAX)
}

impl State {
    /// Frees what an attachment of this pod holds, as [`release`](Self::release) does, and sets one of its addresses
    /// aside, as somebody else uses it. Returns the addresses freed, and whether that one was among them.
    pub fn release_conflicting(
        &mut self,
        (attachment, namespace, pod): (&AttachmentId, &PodText, &PodText),
        address: IpAddr,
        now: u64,
    ) -> (Vec<IpAddr>, bool) {
        let of_pod = |holder: &Holder| holder.namespace == *namespace && holder.pod == *pod;
        let found = self.held_by(attachment).find(|(_, held, holder)| *held == address && of_pod(holder));
        let place = found.map(|(place, ..)| place.clone());
        let freed = self.release(attachment, namespace, pod, now);
        let Some(place) = place else { return (freed, false) };
        // A fenced block may be gone with its last holder.
        if self.blocks.get(&place.id).is_some_and(|held| held.block.is_usable(place.offset)) {
            self.set_aside(&place, address, (namespace, pod), now);
        }
        (freed, true)
    }

    fn set_aside(
        &mut self,
        place: &Place,
        address: IpAddr,
        (namespace, pod): (&PodText, &PodText),
        now: u64,
    ) -> Option<()> {
        let container_id = ContainerId::new(format!("conflict-{address}")).ok()?;
        self.sequence += 1;
        let holder = Holder {
            sequence: self.sequence,
            attachment: AttachmentId { container_id, interface: IfName::eth0() },
            namespace: namespace.clone(),
            pod: pod.clone(),
            network: None,
            netns: None,
            fixed: false,
            conflict: true,
            since: now,
        };
        self.hold(place, Box::new(holder), now)
    }

    /// Frees the addresses that were set aside for long enough; returns them.
    pub fn end_conflicts(&mut self, now: u64) -> Vec<IpAddr> {
        let over = |holder: &&Holder| holder.conflict && rested(holder.since, now, quarantine());
        let over: Vec<Exact> = self
            .allocations()
            .map(|(_, _, holder)| holder)
            .filter(over)
            .map(|holder| Exact { attachment: holder.attachment.clone(), sequence: holder.sequence })
            .collect();
        self.release_exactly(&over, now)
    }

    /// The addresses that are set aside.
    pub fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        self.allocations().filter(|(_, _, holder)| holder.conflict).map(|(id, address, holder)| Conflict {
            address,
            pool: id.pool.clone(),
            until: holder.since.saturating_add(quarantine()),
        })
    }

    /// Whether an address is set aside.
    pub fn is_set_aside(&self, pool: &PoolId, address: IpAddr) -> bool {
        self.conflicts().any(|conflict| conflict.address == address && conflict.pool == *pool)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SETTINGS, attachment};
    use super::super::{Ask, BlockId, LeasedAddress, Origin, Standing};
    use super::*;
    use crate::annotations::{Choice, Chosen};
    use common::ipam::{Family, Pool, Segment, Unit};
    use common::name::PoolName;
    use common::pool_id::Scoped;

    const LONG: u64 = 3_600_000;

    fn text(text: &str) -> PodText {
        PodText::new(text).expect("text")
    }

    fn ask(container: u8, choice: Option<Choice>) -> Ask {
        Ask {
            attachment: attachment(container),
            namespace: text("team"),
            pod: text("db-0"),
            families: vec![Family::V4],
            choice,
            adopt: false,
            origin: Origin::Namespace,
            addresses: Vec::new(),
            network: Some("pods".to_owned()),
            netns: None,
        }
    }

    fn report(state: &mut State, container: u8, address: [u8; 4], now: u64) -> (usize, bool) {
        let (team, pod) = (text("team"), text("db-0"));
        let (freed, found) =
            state.release_conflicting((&attachment(container), &team, &pod), address.into(), now);
        (freed.len(), found)
    }

    #[test]
    fn an_address_of_a_block_is_set_aside_and_given_again_later() {
        let mut state = State::new(SETTINGS, 0);
        let unit = Unit::containing([10, 0, 0, 0].into(), 1);
        let pool = Pool::of_subnets(vec![unit.net()]);
        let id = BlockId { pool: PoolName::default_pool().into(), unit };
        state.set_pools([(PoolName::default_pool(), pool.clone())].into());
        state.add_block(&id, 7, Standing::Open, &pool, Vec::new(), 0);
        let given = state.allocate(&ask(1, None), false, 5).expect("given");
        assert_eq!(given[0].address.to_string(), "10.0.0.0");
        assert_eq!(report(&mut state, 1, [10, 0, 0, 9], 6), (1, false), "not its own: just freed");
        let first = state.allocate(&ask(1, None), true, 7).expect("given")[0].address;
        let IpAddr::V4(v4) = first else { panic!("{first}") };
        assert_eq!(report(&mut state, 1, v4.octets(), 8), (1, true));
        assert_eq!(report(&mut state, 1, v4.octets(), 8), (0, false), "repeated");
        assert!(state.is_set_aside(&id.pool, first));
        let status = state.status();
        assert_eq!((status.conflicts[0].address, status.conflicts[0].until), (first, 8 + LONG));
        assert!(status.attachments.is_empty() && status.pods.is_empty());
        assert_eq!(state.summary(8).conflicts, 1);
        // Neither need nor garbage collection nor a reboot gives it to anybody.
        assert_ne!(state.allocate(&ask(2, None), true, 9).expect("the other")[0].address, first);
        state.allocate(&ask(3, None), true, 9).expect_err("nothing is left");
        state.collect("pods", &[].into(), 10);
        assert!(state.end_conflicts(8 + LONG - 1).is_empty());
        assert_eq!(state.end_conflicts(8 + LONG), [first]);
        assert!(state.status().conflicts.is_empty());
    }

    #[test]
    fn a_fixed_address_is_kept_for_nobody_while_it_is_set_aside() {
        let mut state = State::new(SETTINGS, 0);
        let scoped = Scoped { namespace: text("team"), name: text("web") };
        let unit = Unit::containing([10, 0, 0, 9].into(), 0);
        let segment = Segment { prefix: 24, gateway: [10, 0, 0, 1].into(), vlan: 7 };
        let id = BlockId { pool: PoolId::Namespace(scoped.clone()), unit };
        let leased = LeasedAddress { id: id.clone(), token: 4, segment };
        let pools = vec![Chosen::Namespace(scoped)];
        let fixed =
            |container| ask(container, Some(Choice { pools: pools.clone(), fixed: true, any_family: false }));
        state.give(&[leased], &fixed(1), 5).expect("given");
        assert_eq!(report(&mut state, 1, [10, 0, 0, 9], 6), (1, true));
        assert_eq!(state.give_kept(&fixed(1), 6), Ok(None));
        assert!(state.idle_addresses().is_empty(), "its lease is not given back");
        assert_eq!(state.end_conflicts(6 + LONG).len(), 1);
        assert_eq!(state.idle_addresses(), [(id, 4)]);
        assert_eq!(state.give_kept(&fixed(1), 6 + LONG), Ok(None));
    }
}
