//! The holders of blocks that were rebuilt after the journal was lost, as far as the mirror did not know them.

use super::{Reconciler, addresses_in_use};
use crate::allocator::AllocatorError;
use crate::cri::{Listing, SandboxAddress};
use crate::state::{BlockId, Exact, State};
use common::error::chain;
use common::name::{ContainerId, IfName, NameError, PodText};
use common::store::record::Allocation;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;

/// After this many complete looks, an interval apart, every address that was given before the journal was
/// lost has been seen on its interface: a plugin that was still at work at the first one is done by then.
const SCANS: u32 = 2;

/// Addresses that are in use, each with the namespace that it is in.
pub type InUse = BTreeMap<IpAddr, PathBuf>;

impl Reconciler {
    /// Looks for holders that the mirror did not know. `listing` is what the runtime has, if one is asked.
    pub(super) async fn examine_quarantine(
        &mut self,
        listing: Option<&Listing>,
    ) -> Result<(), AllocatorError> {
        if self.allocator.run(|state, _| state.quarantined()).await?.is_empty() {
            self.scans = 0;
            return Ok(());
        }
        let Some(reported) = self.reported(listing).await else { return Ok(()) };
        let Some(in_use) = addresses_in_use().await else { return Ok(()) };
        self.scans += 1;
        let last = self.scans >= SCANS;
        let (listing, before) = (listing.cloned(), std::mem::take(&mut self.unseen));
        let (found, unseen, freed, opened) = self
            .allocator
            .run(move |state, now| {
                let found = hold_found(state, &reported, &in_use, now);
                let unseen = listing.map(|listing| unseen(state, &listing, &in_use)).unwrap_or_default();
                if !last {
                    return (found, unseen, Vec::new(), 0);
                }
                let gone: Vec<Exact> = unseen.intersection(&before).cloned().collect();
                (found, HashSet::new(), state.release_exactly(&gone, now), state.end_quarantine())
            })
            .await?;
        self.unseen = unseen;
        self.metrics.orphans.inc_by(freed.len() as u64);
        for address in &freed {
            tracing::warn!(%address, "freed an address of a rebuilt block: nothing that runs has it");
        }
        tracing::info!(found, opened, freed = freed.len(), "looked for the holders of rebuilt blocks");
        Ok(())
    }

    /// The addresses of the runtime's sandboxes: none if no runtime is asked, `None` if it does not tell.
    async fn reported(&self, listing: Option<&Listing>) -> Option<Vec<SandboxAddress>> {
        let (Some(runtime), Some(listing)) = (&self.runtime, listing) else { return Some(Vec::new()) };
        match runtime.addresses(listing).await {
            Ok(reported) => Some(reported),
            Err(error) => {
                self.metrics.runtime_errors.inc();
                tracing::warn!(error = %chain(&error), "rebuilt blocks stay in quarantine");
                None
            }
        }
    }
}

/// Gives a holder to every address of a quarantined block that is in use though nobody is known to hold it: the
/// sandbox that the runtime reports it of, or else the namespace that it is in. Returns how many there were.
pub fn hold_found(state: &mut State, reported: &[SandboxAddress], in_use: &InUse, now: u64) -> usize {
    let quarantined: Vec<BlockId> = state.quarantined();
    let netns = |address: &IpAddr| in_use.get(address).and_then(|path| path.to_str()).map(str::to_owned);
    // A sandbox with names that no plugin can have been given is known by its namespace alone.
    let of_sandboxes =
        reported.iter().filter_map(|sandbox| Some((sandbox.address, of_sandbox(sandbox).ok()?)));
    let of_namespaces = in_use.keys().filter_map(|address| Some((*address, of_namespace(*address).ok()?)));
    let mut found = 0;
    for (address, owner) in of_sandboxes.chain(of_namespaces) {
        let place = quarantined.iter().find_map(|id| Some((id, id.unit.offset_of(address)?)));
        let Some((id, offset)) = place else { continue };
        let record = Allocation {
            offset,
            sequence: state.next_sequence(),
            container: owner.container,
            interface: IfName::eth0(),
            namespace: owner.namespace,
            pod: owner.pod,
            network: None,
            netns: netns(&address),
            since: now,
            conflict: false,
        };
        found += usize::from(state.hold_recorded(id, record, now));
    }
    found
}

/// The allocations of quarantined blocks of which nothing shows that they live: no namespace is on record, the runtime has
/// no such sandbox, and the address is on no interface. None if the interfaces show no address of the node's
/// containers: then coild may be blind.
fn unseen(state: &State, listing: &Listing, in_use: &InUse) -> HashSet<Exact> {
    if !state.allocations().any(|(_, address, _)| in_use.contains_key(&address)) {
        return HashSet::new();
    }
    let quarantined: HashSet<BlockId> = state.quarantined().into_iter().collect();
    state
        .allocations()
        .filter(|(id, address, holder)| {
            quarantined.contains(*id)
                && holder.netns.is_none()
                && !holder.conflict
                && !listing.has(&holder.attachment.container_id)
                && !in_use.contains_key(address)
        })
        .map(|(_, _, holder)| Exact { attachment: holder.attachment.clone(), sequence: holder.sequence })
        .collect()
}

struct Owner {
    container: ContainerId,
    namespace: PodText,
    pod: PodText,
}

/// The runtime gives these names to the plugin.
fn of_sandbox(sandbox: &SandboxAddress) -> Result<Owner, NameError> {
    Ok(Owner {
        container: ContainerId::new(&*sandbox.id)?,
        namespace: PodText::new(&*sandbox.namespace)?,
        pod: PodText::new(&*sandbox.pod)?,
    })
}

/// Its container is known by its network namespace alone, and the address is freed with it.
fn of_namespace(address: IpAddr) -> Result<Owner, NameError> {
    let unknown = PodText::new("unknown")?;
    let container = ContainerId::new(format!("recovered-{address}"))?;
    Ok(Owner { container, namespace: unknown.clone(), pod: unknown })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Standing;
    use crate::state::tests::SETTINGS;
    use common::ipam::{Pool, Unit};
    use common::name::PoolName;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn reported(last: u8, id: &str) -> SandboxAddress {
        SandboxAddress { address: ip(last), id: id.to_owned(), namespace: "n".to_owned(), pod: id.to_owned() }
    }

    fn state(standing: Standing) -> State {
        let unit = Unit::containing(ip(0), 4);
        let mut state = State::new(SETTINGS, 0);
        let known = Allocation {
            offset: 1,
            sequence: 1,
            container: ContainerId::new("known").expect("valid"),
            interface: IfName::eth0(),
            namespace: PodText::new("n").expect("valid"),
            pod: PodText::new("p").expect("valid"),
            network: None,
            netns: None,
            since: 0,
            conflict: false,
        };
        let (id, pool) =
            (BlockId { pool: PoolName::default_pool().into(), unit }, Pool::of_subnets(vec![unit.net()]));
        state.add_block(&id, 7, standing, &pool, vec![known], 0);
        state
    }

    fn held(state: &State) -> Vec<(IpAddr, String, String, Option<String>)> {
        let of = |holder: &crate::state::Holder| {
            (holder.attachment.container_id.to_string(), holder.pod.to_string(), holder.netns.clone())
        };
        let with = |(_, address, holder)| {
            let (container, pod, netns) = of(holder);
            (address, container, pod, netns)
        };
        state.allocations().map(with).collect()
    }

    #[test]
    fn the_runtime_knows_the_name_and_the_namespace_what_nobody_knows() {
        let mut state = state(Standing::Quarantined);
        let in_use = [1, 2, 3, 77].map(|last| (ip(last), PathBuf::from(format!("/run/netns/{last}")))).into();
        let reported =
            [reported(1, "late"), reported(2, "a"), reported(4, "b"), reported(5, ""), reported(99, "far")];
        assert_eq!(hold_found(&mut state, &reported, &in_use, 9), 3);
        let netns = |last: u8| Some(format!("/run/netns/{last}"));
        let text = str::to_owned;
        let expected = [
            (ip(1), text("known"), text("p"), None),
            (ip(2), text("a"), text("a"), netns(2)),
            (ip(3), text("recovered-10.0.0.3"), text("unknown"), netns(3)),
            (ip(4), text("b"), text("b"), None),
        ];
        assert_eq!(held(&state), expected);
        assert_eq!(hold_found(&mut state, &reported, &in_use, 9), 0, "found twice");
    }

    #[test]
    fn what_neither_the_runtime_nor_an_interface_knows_is_unseen() {
        let mut state = state(Standing::Quarantined);
        let in_use = |last: &[u8]| -> InUse {
            last.iter().map(|last| (ip(*last), PathBuf::from(format!("/run/netns/{last}")))).collect()
        };
        hold_found(&mut state, &[reported(2, "sandbox"), reported(4, "other")], &in_use(&[3]), 9);
        let unseen = |state: &State, listed: &[&str], last: &[u8]| -> Vec<String> {
            let listing =
                listed.iter().map(|id| ((*id).to_owned(), crate::cri::Readiness::NotReady)).collect();
            let found = super::unseen(state, &listing, &in_use(last));
            let mut names: Vec<String> =
                found.into_iter().map(|exact| exact.attachment.container_id.to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(unseen(&state, &[], &[3]), ["known", "other", "sandbox"]);
        assert_eq!(unseen(&state, &["sandbox"], &[3, 4]), ["known"]);
        // No address of the node's containers is seen: coild may be blind.
        assert!(unseen(&state, &[], &[]).is_empty() && unseen(&state, &[], &[77]).is_empty());
        state.end_quarantine();
        assert!(unseen(&state, &[], &[3]).is_empty(), "of a block that is open");
    }

    #[test]
    fn other_blocks_are_left_alone() {
        let mut state = state(Standing::Open);
        let in_use = [(ip(2), PathBuf::from("/run/netns/2"))].into();
        assert_eq!(hold_found(&mut state, &[reported(3, "a")], &in_use, 9), 0);
    }
}
