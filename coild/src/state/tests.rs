//! The state against a naive model: who holds what, whatever is asked in whatever order.

use super::*;
use common::name::{ContainerId, IfName};
use common::pool_list::PoolList;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What may happen to a node.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Allocate {
        container: u8,
        dual: bool,
        wake: bool,
    },
    Exactly {
        container: u8,
        offset: u8,
    },
    Release {
        container: u8,
    },
    AddBlock {
        number: u8,
    },
    Fence {
        number: u8,
    },
    TakeIdle,
    Wake,
    Disable(bool),
    /// Namespace and, if it chooses one, pool.
    Choose(u8, Option<u8>),
    Advance(u16),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..24_u8, any::<bool>(), any::<bool>())
            .prop_map(|(container, dual, wake)| Step::Allocate { container, dual, wake }),
        1 => (0..24_u8, any::<u8>()).prop_map(|(container, offset)| Step::Exactly { container, offset }),
        5 => (0..24_u8).prop_map(|container| Step::Release { container }),
        2 => (0..4_u8).prop_map(|number| Step::AddBlock { number }),
        1 => (0..4_u8).prop_map(|number| Step::Fence { number }),
        1 => Just(Step::TakeIdle),
        1 => Just(Step::Wake),
        1 => any::<bool>().prop_map(Step::Disable),
        1 => (0..3_u8, prop::option::of(0..3_u8)).prop_map(|(of, pool)| Step::Choose(of, pool)),
        2 => (0..200_u16).prop_map(Step::Advance),
    ]
}

pub(crate) const SETTINGS: Settings = Settings { cooldown: Duration::from_millis(100), low_water: 2 };

/// A state driven by steps, at a time of its own.
pub(crate) struct Driven {
    pub(crate) state: State,
    pub(crate) now: u64,
}

fn text(text: &str) -> PodText {
    PodText::new(text).expect("valid")
}

fn pool(disabled: bool) -> Pool {
    let subnets = ["10.0.0.0/27", "fd00::/123"].map(|net| net.parse().expect("net"));
    let exclude = vec!["10.0.0.3/32".parse().expect("net")];
    Pool { exclude, disabled, ..Pool::of_subnets(subnets.to_vec()) }
}

fn block(number: u8) -> BlockId {
    let first = ["10.0.0.0", "10.0.0.16", "fd00::", "fd00::10"][usize::from(number)];
    BlockId {
        pool: PoolName::default_pool().into(),
        unit: Unit::containing(first.parse().expect("address"), 4),
    }
}

fn ask(container: u8, families: Vec<Family>, addresses: Vec<IpAddr>) -> Ask {
    Ask {
        attachment: attachment(container),
        namespace: text("ns"),
        pod: text("pod"),
        families,
        choice: None,
        adopt: false,
        origin: Origin::Namespace,
        addresses,
        network: Some("net".to_owned()),
        netns: None,
    }
}

pub(crate) fn attachment(container: u8) -> AttachmentId {
    AttachmentId {
        container_id: ContainerId::new(format!("c{container}")).expect("valid"),
        interface: IfName::eth0(),
    }
}

impl Driven {
    pub(crate) fn new() -> Self {
        let mut state = State::new(SETTINGS, 0);
        state.set_pools([(PoolName::default_pool(), pool(false))].into());
        Self { state, now: 1_000_000 }
    }

    /// Does a step, and returns the addresses that it gave or freed.
    pub(crate) fn apply(&mut self, step: &Step) -> (Vec<IpAddr>, Vec<IpAddr>) {
        let state = &mut self.state;
        match step {
            Step::Allocate { container, dual, wake } => {
                let families = if *dual { Family::BOTH.to_vec() } else { vec![Family::V4] };
                let given = state.allocate(&ask(*container, families, Vec::new()), *wake, self.now);
                return (given.into_iter().flatten().map(|given| given.address).collect(), Vec::new());
            }
            Step::Exactly { container, offset } => {
                let address = IpAddr::from([10, 0, 0, *offset]);
                let given = state.allocate(&ask(*container, vec![Family::V4], vec![address]), true, self.now);
                return (given.into_iter().flatten().map(|given| given.address).collect(), Vec::new());
            }
            Step::Release { container } => {
                let freed = state.release(&attachment(*container), &text("ns"), &text("pod"), self.now);
                return (Vec::new(), freed);
            }
            Step::AddBlock { number } => {
                state.add_block(
                    &block(*number),
                    self.now,
                    Standing::Open,
                    &pool(false),
                    Vec::new(),
                    self.now,
                );
            }
            Step::Fence { number } => {
                if let Some((token, _)) = state.leases().get(&block(*number)) {
                    state.fence(&block(*number), *token);
                }
            }
            Step::TakeIdle => {
                state.take_idle(self.now);
            }
            Step::Wake => state.wake_all(self.now),
            Step::Disable(disabled) => {
                state.set_pools([(PoolName::default_pool(), pool(*disabled))].into());
            }
            Step::Choose(of, pool) => {
                let list = |pool| PoolList::read(&format!("p{pool}")).expect("a list").expect("not blank");
                let choice = pool.map(|pool| NamespaceChoice::Pools(list(pool)));
                state.set_choice(text(&format!("ns{of}")), choice);
            }
            Step::Advance(millis) => self.now += u64::from(*millis),
        }
        (Vec::new(), Vec::new())
    }
}

proptest! {
    #[test]
    fn no_address_has_two_holders_and_none_is_lost(steps in prop::collection::vec(step(), 1..200)) {
        let mut node = Driven::new();
        let mut held: BTreeSet<IpAddr> = BTreeSet::new();
        for step in steps {
            let (given, freed) = node.apply(&step);
            for address in given {
                prop_assert!(held.insert(address), "{address} was given twice");
                prop_assert_ne!(address.to_string(), "10.0.0.3");
            }
            for address in freed {
                prop_assert!(held.remove(&address), "{address} was freed but not held");
            }
            let known: Vec<IpAddr> = node.state.allocations().map(|(_, address, _)| address).collect();
            prop_assert_eq!(known.len(), held.len());
            prop_assert_eq!(known.into_iter().collect::<BTreeSet<_>>(), held.clone());
            node.state.check_stocks();
            let attached: usize =
                (0..24).map(|container| node.state.held_by(&attachment(container)).count()).sum();
            prop_assert_eq!(attached, held.len(), "the index of attachments is wrong");
        }
    }

    #[test]
    fn after_everything_is_freed_nothing_is_left(steps in prop::collection::vec(step(), 1..100)) {
        let mut node = Driven::new();
        for step in steps {
            node.apply(&step);
        }
        for container in 0..24 {
            node.apply(&Step::Release { container });
        }
        node.apply(&Step::Disable(true));
        node.apply(&Step::TakeIdle);
        prop_assert!(node.state.leases().is_empty());
        prop_assert!(node.state.attachments().is_empty());
    }
}

#[test]
fn two_families_are_given_together_or_not_at_all() {
    let mut node = Driven::new();
    node.apply(&Step::AddBlock { number: 0 });
    let both = node.state.allocate(&ask(1, Family::BOTH.to_vec(), Vec::new()), true, node.now);
    assert!(matches!(both, Err(AllocateError::NothingFree { family: Family::V6, .. })), "{both:?}");
    assert_eq!(node.state.allocations().count(), 0);
    node.apply(&Step::AddBlock { number: 2 });
    let both = node.state.allocate(&ask(1, Family::BOTH.to_vec(), Vec::new()), true, node.now).expect("both");
    assert_eq!(both.iter().map(|given| given.prefix).collect::<Vec<_>>(), [32, 128]);
}

#[test]
fn a_freed_address_rests_until_nothing_else_is_free() {
    let mut node = Driven::new();
    node.apply(&Step::AddBlock { number: 0 });
    for container in 0..15 {
        let (given, _) = node.apply(&Step::Allocate { container, dual: false, wake: false });
        assert_eq!(given.len(), 1);
    }
    let (_, freed) = node.apply(&Step::Release { container: 4 });
    let (given, _) = node.apply(&Step::Allocate { container: 20, dual: false, wake: false });
    assert!(given.is_empty(), "it rests");
    let (given, _) = node.apply(&Step::Allocate { container: 20, dual: false, wake: true });
    assert_eq!(given, freed, "nothing else is free");
}

#[test]
fn a_fenced_block_gives_nothing_and_goes_with_its_last_address() {
    let mut node = Driven::new();
    node.apply(&Step::AddBlock { number: 0 });
    node.apply(&Step::Allocate { container: 1, dual: false, wake: false });
    node.apply(&Step::Fence { number: 0 });
    let (given, _) = node.apply(&Step::Allocate { container: 2, dual: false, wake: true });
    assert!(given.is_empty());
    assert_eq!(node.state.status().fenced.len(), 1);
    assert!(node.state.status().address_blocks.is_empty(), "it is not the node's any more");
    node.apply(&Step::Release { container: 1 });
    assert!(node.state.leases().is_empty());
}

#[test]
fn one_idle_block_stays_warm() {
    let mut node = Driven::new();
    node.apply(&Step::AddBlock { number: 0 });
    node.apply(&Step::AddBlock { number: 1 });
    assert_eq!(node.state.take_idle(node.now).len(), 1);
    assert_eq!(node.state.take_idle(node.now).len(), 0);
    node.apply(&Step::Disable(true));
    assert_eq!(node.state.take_idle(node.now).len(), 1, "a disabled pool keeps none");
}

#[test]
fn a_release_names_the_pod_and_an_exact_release_the_very_allocation() {
    let mut node = Driven::new();
    node.apply(&Step::AddBlock { number: 0 });
    node.apply(&Step::Allocate { container: 1, dual: false, wake: false });
    assert_eq!(node.state.release(&attachment(1), &text("other"), &text("pod"), node.now), [] as [IpAddr; 0]);
    let stale = Exact { attachment: attachment(1), sequence: node.state.sequence() };
    node.apply(&Step::Release { container: 1 });
    node.apply(&Step::Allocate { container: 1, dual: false, wake: false });
    assert_eq!(node.state.release_exactly(&[stale], node.now), [] as [IpAddr; 0], "a later allocation stays");
    assert_eq!(node.state.allocations().count(), 1);
}

#[test]
fn garbage_collection_keeps_valid_attachments_and_other_networks() {
    let mut node = Driven::new();
    node.apply(&Step::AddBlock { number: 0 });
    for container in 0..3 {
        node.apply(&Step::Allocate { container, dual: false, wake: false });
    }
    assert_eq!(node.state.collect("other", &[].into(), node.now).len(), 0);
    assert_eq!(node.state.collect("net", &[attachment(1)].into(), node.now).len(), 2);
    assert_eq!(node.state.attachments(), [&attachment(1)].into());
}

#[test]
fn what_the_pool_excluded_when_a_block_was_leased_is_never_given() {
    let mut node = Driven::new();
    let before = Pool::of_subnets(vec!["10.0.0.0/27".parse().expect("net")]);
    // The state still knows the pool of before, as the watcher is behind.
    node.state.set_pools([(PoolName::default_pool(), before)].into());
    node.apply(&Step::AddBlock { number: 0 });
    let given: Vec<IpAddr> = (0..16)
        .flat_map(|container| node.apply(&Step::Allocate { container, dual: false, wake: true }).0)
        .collect();
    assert_eq!(given.len(), 15);
    assert!(!given.contains(&IpAddr::from([10, 0, 0, 3])), "{given:?}");
    let changes: Vec<Change> = node.state.image().flatten().collect();
    let unusable = changes.iter().find_map(|change| match change {
        Change::PutBlock { unusable, .. } => Some(unusable.clone()),
        _ => None,
    });
    assert_eq!(unusable, Some(vec![(3, 3)]), "nor after a restart");
}
