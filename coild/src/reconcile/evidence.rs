//! What shows that an allocation's container is gone. Pure.
//!
//! An allocation is freed only if nothing says that its container lives, something says that it is gone, and both were
//! so at two looks. What can't be asked says nothing: the look does not count.

use crate::cri::Listing;
use crate::sandboxes::Sighting;
use crate::state::Exact;
use common::name::ContainerId;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;

/// One allocation, and its network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The allocation.
    pub allocation: Exact,
    /// Its address.
    pub address: IpAddr,
    /// Whether its namespace is there; `None` if no path is on record.
    pub netns: Option<Sighting>,
}

/// What the container runtime says of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// No runtime is asked.
    NotAsked,
    /// It has the sandbox. Ready or not: it will call DEL before it forgets it.
    Listed,
    /// It had the sandbox, and has it no longer.
    NoLonger,
    /// It never had such a sandbox. It may be another runtime's container, or one that is being made.
    Never,
}

/// Whether a container looks gone.
fn looks_gone(netns: Option<Sighting>, word: Word) -> bool {
    match (word, netns) {
        (Word::NotAsked | Word::NoLonger | Word::Never, Some(Sighting::Gone)) | (Word::NoLonger, None) => {
            true
        }
        (Word::Listed, _)
        | (_, Some(Sighting::Alive | Sighting::Unknown))
        | (Word::NotAsked | Word::Never, None) => false,
    }
}

/// What earlier looks have shown.
#[derive(Debug, Default)]
pub struct Memory {
    /// Allocations whose container looked gone last time.
    suspects: HashSet<Exact>,
    /// Containers that hold something and were listed by the runtime once.
    listed: HashSet<ContainerId>,
}

impl Memory {
    /// Those that look gone, and looked gone the last time. `listing` is what the runtime has, if one is asked.
    pub fn gone_twice(&mut self, looks: &[Look], listing: Option<&Listing>) -> Vec<Look> {
        let container = |look: &Look| look.allocation.attachment.container_id.clone();
        let listed_now = |id: &ContainerId| listing.is_some_and(|listing| listing.has(id));
        let before = std::mem::take(&mut self.listed);
        self.listed =
            looks.iter().map(container).filter(|id| before.contains(id) || listed_now(id)).collect();
        let word = |look: &Look| match &look.allocation.attachment.container_id {
            _ if listing.is_none() => Word::NotAsked,
            id if listed_now(id) => Word::Listed,
            id if self.listed.contains(id) => Word::NoLonger,
            _ => Word::Never,
        };
        let gone: Vec<&Look> = looks.iter().filter(|look| looks_gone(look.netns, word(look))).collect();
        let twice = gone.iter().filter(|look| self.suspects.contains(&look.allocation));
        let twice = twice.map(|look| (*look).clone()).collect();
        self.suspects = gone.into_iter().map(|look| look.allocation.clone()).collect();
        twice
    }

    /// Notes a look that could not be completed: what was seen the last time does not count any more.
    pub fn interrupted(&mut self) {
        self.suspects.clear();
    }
}

/// Which of these are borne out by the interfaces of the machine. `in_use` has the addresses on them, if they could be
/// read; `held` all that the node's containers hold.
///
/// An address that is on an interface is in use, whatever else was seen. An allocation without a namespace on
/// record needs more: interfaces among which addresses of other containers were found, and not this one.
/// Interfaces that show none of them are those of a process that can't see the containers.
pub fn borne_out(gone: Vec<Look>, in_use: Option<&BTreeMap<IpAddr, PathBuf>>, held: &[IpAddr]) -> Vec<Exact> {
    let on_interface = |address: &IpAddr| in_use.is_some_and(|in_use| in_use.contains_key(address));
    let sighted = held.iter().any(on_interface);
    gone.into_iter()
        .filter(|look| !on_interface(&look.address) && (look.netns.is_some() || sighted))
        .map(|look| look.allocation)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::Readiness;
    use common::name::IfName;
    use common::wire::node::AttachmentId;
    use proptest::prelude::*;

    fn look(container: &str, netns: Option<Sighting>) -> Look {
        let container_id = ContainerId::new(container).expect("valid");
        let attachment = AttachmentId { container_id, interface: IfName::eth0() };
        let address = IpAddr::from([10, 0, 0, container.as_bytes()[0]]);
        Look { allocation: Exact { attachment, sequence: 1 }, address, netns }
    }

    fn listing(ids: &[&str]) -> Listing {
        ids.iter().map(|id| ((*id).to_owned(), Readiness::NotReady)).collect()
    }

    fn is_freed(history: &[(Option<Sighting>, Option<&[&str]>)]) -> bool {
        let mut memory = Memory::default();
        let mut freed = false;
        for (netns, ids) in history {
            let listing = ids.map(listing);
            freed = !memory.gone_twice(&[look("c", *netns)], listing.as_ref()).is_empty();
        }
        freed
    }

    const GONE: Option<Sighting> = Some(Sighting::Gone);
    const ALIVE: Option<Sighting> = Some(Sighting::Alive);
    const UNKNOWN: Option<Sighting> = Some(Sighting::Unknown);

    #[test]
    fn the_namespace_alone() {
        assert!(is_freed(&[(GONE, None), (GONE, None)]));
        for last in [ALIVE, UNKNOWN, None] {
            assert!(!is_freed(&[(GONE, None), (last, None)]), "{last:?}");
            assert!(!is_freed(&[(last, None), (GONE, None)]), "{last:?}");
        }
        assert!(!is_freed(&[(GONE, None)]));
        assert!(!is_freed(&[(GONE, None), (ALIVE, None), (GONE, None)]));
    }

    #[test]
    fn a_listed_sandbox_keeps_its_addresses() {
        let (listed, empty): (Option<&[&str]>, Option<&[&str]>) = (Some(&["c"]), Some(&[]));
        assert!(!is_freed(&[(GONE, listed), (GONE, listed)]));
        assert!(!is_freed(&[(GONE, empty), (GONE, listed)]));
        assert!(!is_freed(&[(GONE, listed), (GONE, empty)]));
        assert!(is_freed(&[(GONE, listed), (GONE, empty), (GONE, empty)]));
        assert!(is_freed(&[(GONE, empty), (GONE, empty)]));
    }

    #[test]
    fn an_empty_list_does_not_outweigh_a_namespace() {
        let (listed, empty): (Option<&[&str]>, Option<&[&str]>) = (Some(&["c"]), Some(&[]));
        for there in [ALIVE, UNKNOWN] {
            assert!(
                !is_freed(&[(there, listed), (there, empty), (there, empty), (there, empty)]),
                "{there:?}"
            );
        }
    }

    #[test]
    fn without_a_namespace_only_what_was_listed_can_be_gone() {
        let (listed, empty): (Option<&[&str]>, Option<&[&str]>) = (Some(&["c"]), Some(&["other"]));
        assert!(!is_freed(&[(None, empty), (None, empty), (None, empty)]), "another runtime's");
        assert!(!is_freed(&[(None, listed), (None, empty)]));
        assert!(is_freed(&[(None, listed), (None, empty), (None, empty)]));
        assert!(!is_freed(&[(None, listed), (None, empty), (None, listed), (None, empty)]));
    }

    #[test]
    fn a_look_that_was_cut_short_starts_anew() {
        let mut memory = Memory::default();
        let looks = [look("c", GONE)];
        let empty = Listing::default();
        assert_eq!(memory.gone_twice(&looks, Some(&empty)), []);
        memory.interrupted();
        assert_eq!(memory.gone_twice(&looks, Some(&empty)), []);
        assert_eq!(memory.gone_twice(&looks, Some(&empty)), looks);
    }

    #[test]
    fn a_later_allocation_of_the_same_attachment_is_another_one() {
        let mut memory = Memory::default();
        let mut later = look("c", GONE);
        later.allocation.sequence = 2;
        assert_eq!(memory.gone_twice(&[look("c", GONE)], None), []);
        assert_eq!(memory.gone_twice(&[later], None), []);
    }

    #[test]
    fn an_address_on_an_interface_is_in_use() {
        let (path, none) = (look("a", GONE), look("bb", None));
        let in_use = |looks: &[&Look]| -> BTreeMap<IpAddr, PathBuf> {
            looks.iter().map(|look| (look.address, PathBuf::from("/run/netns/x"))).collect()
        };
        let other = look("ccc", ALIVE);
        let held = [path.address, none.address, other.address];
        let free = |in_use: Option<&BTreeMap<IpAddr, PathBuf>>| {
            let left = borne_out(vec![path.clone(), none.clone()], in_use, &held);
            left.into_iter().map(|exact| exact.attachment.container_id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(free(Some(&in_use(&[&other]))), ["a", "bb"]);
        assert_eq!(free(Some(&in_use(&[&other, &path]))), ["bb"]);
        assert_eq!(free(Some(&in_use(&[&other, &path, &none]))), Vec::<String>::new());
        // Nothing of the node's is seen: coild may be blind.
        assert_eq!(free(Some(&in_use(&[]))), ["a"]);
        assert_eq!(free(None), ["a"]);
    }

    proptest! {
        /// Whatever is seen in whatever order, what is taken for gone was twice not alive, and twice shown to be gone.
        #[test]
        fn nothing_that_may_live_is_gone(
            history in proptest::collection::vec((0..4_u8, 0..3_u8), 1..12),
            asked in any::<bool>(),
        ) {
            let mut memory = Memory::default();
            let (mut ever_listed, mut shown_gone) = (false, 0);
            for (netns, word) in history {
                let netns = [None, ALIVE, UNKNOWN, GONE][usize::from(netns)];
                if asked && word == 0 {
                    memory.interrupted();
                    shown_gone = 0;
                    continue;
                }
                let listed = asked && word == 1;
                let listing = asked.then(|| listing(if listed { &["c"] } else { &[] }));
                let shown = !listed && (netns == GONE || (netns.is_none() && ever_listed));
                ever_listed |= listed;
                shown_gone = if shown { shown_gone + 1 } else { 0 };
                let gone = memory.gone_twice(&[look("c", netns)], listing.as_ref());
                prop_assert_eq!(!gone.is_empty(), shown_gone >= 2);
            }
        }
    }
}
