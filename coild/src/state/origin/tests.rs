//! Which of several pools gives an address, and who names them.

use super::super::tests::{SETTINGS, attachment};
use super::super::{BlockId, Standing};
use super::*;
use common::ipam::{Pool, Unit};

fn text(text: &str) -> PodText {
    PodText::new(text).expect("text")
}

fn name(name: &str) -> PoolName {
    PoolName::new(name).expect("name")
}

fn list(names: &str) -> PoolList {
    PoolList::read(names).expect("a list").expect("not blank")
}

fn need(pool: &str) -> Need {
    Need { pool: name(pool), family: Family::V4 }
}

fn ask(container: u8, origin: Origin) -> Ask {
    Ask {
        attachment: attachment(container),
        namespace: text("team"),
        pod: text("web-0"),
        families: vec![Family::V4],
        choice: None,
        origin,
        adopt: false,
        addresses: Vec::new(),
        network: None,
        netns: None,
    }
}

fn of(container: u8, names: &str) -> Ask {
    ask(container, Origin::List(list(names)))
}

fn pools() -> BTreeMap<PoolName, Pool> {
    let pool = |nets: &[&str]| {
        let nets = nets.iter().map(|net| net.parse().expect("net")).collect();
        Pool { block_size: 31, ..Pool::of_subnets(nets) }
    };
    [
        (name("red"), pool(&["10.1.0.0/24"])),
        (name("blue"), pool(&["10.2.0.0/24", "fd02::/64"])),
        (name("shut"), Pool { disabled: true, ..pool(&["10.3.0.0/24"]) }),
        (name("default"), pool(&["10.4.0.0/24"])),
    ]
    .into()
}

/// A node that knows the pools and holds a block of two addresses of each of these.
fn node(held: &[&str]) -> State {
    let mut state = State::new(SETTINGS, 0);
    state.set_pools(pools());
    for pool in held {
        lease(&mut state, pool);
    }
    state
}

fn lease(state: &mut State, pool: &str) {
    let (pools, pool) = (pools(), name(pool));
    for subnet in &pools[&pool].subnets {
        let family = Family::of(subnet.addr());
        let held = state.units(&pool).into_iter().filter(|unit| unit.family() == family).count() as u128;
        let bits = pools[&pool].block_bits(family);
        let first = common::ipam::number(subnet.addr()) + (held << bits);
        let unit = Unit::containing(family.address(first), bits);
        let id = BlockId { pool: pool.clone().into(), unit };
        state.add_block(&id, 1, Standing::Open, &pools[&pool], Vec::new(), 0);
    }
}

fn given(state: &mut State, ask: &Ask, now: u64) -> Result<String, String> {
    let given = state.allocate(ask, false, now).map_err(|error| error.to_string())?;
    Ok(given.iter().map(|one| one.pool.to_string()).collect::<Vec<_>>().join(" "))
}

#[test]
fn the_next_pool_is_for_when_one_is_known_to_be_full() {
    let mut state = node(&["red", "blue"]);
    for container in [1, 2] {
        assert_eq!(given(&mut state, &of(container, "red,blue"), 0).as_deref(), Ok("red"));
    }
    let refused = state.allocate(&of(3, "red,blue"), false, 5).expect_err("red may have other blocks");
    assert!(
        matches!(&refused, AllocateError::NothingFree { pool, .. } if pool.as_str() == "red"),
        "{refused}"
    );
    assert!(!state.still_full(&need("red"), 5), "nobody has found out");
    state.note_full(need("red"), 5);
    assert_eq!(given(&mut state, &of(3, "red,blue"), 5).as_deref(), Ok("blue"));
    assert_eq!(given(&mut state, &of(4, "blue,red"), 5).as_deref(), Ok("blue"));
    // It is the last one that is left to be asked for.
    let refused = state.allocate(&of(5, "red,blue"), false, 5).expect_err("blue may have other blocks");
    assert!(
        matches!(&refused, AllocateError::NothingFree { pool, .. } if pool.as_str() == "blue"),
        "{refused}"
    );
    assert_eq!(state.before_last(&of(5, "red,shut,nosuch,blue"), Family::V4), [need("red")].into());
    // Later it may be otherwise, unless nobody can have changed it.
    let refused = state.allocate(&of(5, "red,blue"), false, 5 + FULL).expect_err("not for ever");
    assert!(
        matches!(&refused, AllocateError::NothingFree { pool, .. } if pool.as_str() == "red"),
        "{refused}"
    );
    assert!(state.still_full(&need("red"), 5 + FULL));
    let refused = state.allocate(&of(5, "red,blue"), false, 5 + FULL).expect_err("passed over again");
    assert!(
        matches!(&refused, AllocateError::NothingFree { pool, .. } if pool.as_str() == "blue"),
        "{refused}"
    );
    // A block of it was leased after all.
    lease(&mut state, "red");
    assert_eq!(given(&mut state, &of(5, "red,blue"), 6 + FULL).as_deref(), Ok("red"));
    assert_eq!(given(&mut state, &of(6, "red,blue"), 6 + FULL).as_deref(), Ok("red"));
    // It got another subnet.
    state.note_full(need("red"), 6 + FULL);
    let mut larger = pools();
    larger.get_mut(&name("red")).expect("red").subnets.push("10.9.0.0/24".parse().expect("net"));
    state.set_pools(larger);
    let refused = state.allocate(&of(7, "red,blue"), false, 7 + FULL).expect_err("not known any more");
    assert!(
        matches!(&refused, AllocateError::NothingFree { pool, .. } if pool.as_str() == "red"),
        "{refused}"
    );
}

#[test]
fn an_address_that_rests_in_a_full_pool_goes_before_the_next_pool() {
    let mut state = node(&["red", "blue"]);
    for container in [1, 2] {
        given(&mut state, &of(container, "red"), 0).expect("room");
    }
    state.note_full(need("red"), 1);
    state.release(&attachment(1), &text("team"), &text("web-0"), 2);
    assert_eq!(given(&mut state, &of(3, "red,blue"), 3).as_deref(), Ok("red"));
    assert_eq!(given(&mut state, &of(4, "red,blue"), 3).as_deref(), Ok("blue"));
}

#[test]
fn each_family_has_its_own_pool() {
    let mut state = node(&["red", "blue"]);
    let dual = |container, names| Ask { families: Family::BOTH.to_vec(), ..of(container, names) };
    assert_eq!(given(&mut state, &dual(1, "red,blue"), 0).as_deref(), Ok("red blue"));
    assert_eq!(given(&mut state, &dual(2, "blue,red"), 0).as_deref(), Ok("blue blue"));
    let refused = given(&mut state, &dual(3, "red,shut"), 0).expect_err("no IPv6");
    assert_eq!(refused, "annotation coil.io/pool: pool red has no ipv6 subnet; pool shut is disabled");
    assert_eq!(state.attachments().len(), 2, "all or nothing");
}

#[test]
fn why_no_pool_of_a_list_gives_an_address() {
    let mut state = node(&["red", "blue"]);
    assert_eq!(given(&mut state, &of(1, "nosuch,shut,red"), 0).as_deref(), Ok("red"));
    let refused = state.allocate(&of(2, "nosuch,shut"), false, 0).expect_err("neither");
    assert_eq!(
        refused.to_string(),
        "annotation coil.io/pool: there is no pool nosuch; pool shut is disabled"
    );
    assert!(matches!(refused, AllocateError::NoneListed { unknown: true, .. }));
    let refused = state.allocate(&of(2, "shut"), false, 0).expect_err("disabled");
    assert!(matches!(refused, AllocateError::NoneListed { unknown: false, .. }), "{refused}");
    let refused = state.exhausted(&of(2, "nosuch,red"), Family::V4).expect("a list").to_string();
    assert_eq!(
        refused,
        "annotation coil.io/pool: there is no pool nosuch; all ipv4 blocks of pool red are leased, and no \
         address of this node's is free"
    );
    assert_eq!(state.exhausted(&ask(2, Origin::Pool(name("red"))), Family::V4), None);
    let exactly = |names: &str, last| Ask { addresses: vec![[10, 2, 0, last].into()], ..of(3, names) };
    assert_eq!(given(&mut state, &exactly("red,blue", 1), 0).as_deref(), Ok("blue"));
    let refused = state.allocate(&Ask { attachment: attachment(4), ..exactly("red,default", 0) }, false, 0);
    assert_eq!(refused, Err(AllocateError::OutsideAll([10, 2, 0, 0].into())));
}

#[test]
fn a_namespace_chooses_for_pods_that_choose_nothing() {
    let mut state = node(&["red", "blue", "default"]);
    let team = || text("team");
    assert_eq!(given(&mut state, &ask(1, Origin::Namespace), 0).as_deref(), Ok("default"));
    state.set_choice(team(), Some(NamespaceChoice::Pools(list("shut,red"))));
    assert_eq!(given(&mut state, &ask(2, Origin::Namespace), 0).as_deref(), Ok("red"));
    assert_eq!(given(&mut state, &of(3, "blue"), 0).as_deref(), Ok("blue"));
    assert_eq!(given(&mut state, &ask(4, Origin::Pool(name("blue"))), 0).as_deref(), Ok("blue"));
    let other = Ask { namespace: text("other"), ..ask(5, Origin::Namespace) };
    assert_eq!(given(&mut state, &other, 0).as_deref(), Ok("default"));
    state.set_choice(team(), Some(NamespaceChoice::Wrong("a name is missing".to_owned())));
    let refused = given(&mut state, &ask(6, Origin::Namespace), 0).expect_err("wrong");
    assert_eq!(refused, "annotation coil.io/pool of namespace team: a name is missing");
    state.set_choice(team(), Some(NamespaceChoice::Pools(list("nosuch"))));
    let refused = given(&mut state, &ask(6, Origin::Namespace), 0).expect_err("unknown");
    assert_eq!(refused, "annotation coil.io/pool of namespace team: there is no pool nosuch");
    state.set_choices(BTreeMap::new());
    lease(&mut state, "default");
    assert_eq!(given(&mut state, &ask(6, Origin::Namespace), 0).as_deref(), Ok("default"));
}

#[test]
fn only_what_has_changed_is_journaled() {
    let mut state = State::new(SETTINGS, 0);
    let red = || NamespaceChoice::Pools(list("red"));
    state.set_choices([(text("a"), red()), (text("b"), red())].into());
    state.take_changes();
    state.set_choices([(text("a"), red()), (text("c"), red())].into());
    assert_eq!(state.take_changes(), [Change::Choose([(text("b"), None), (text("c"), Some(red()))].into())]);
    state.set_choices([(text("a"), red()), (text("c"), red())].into());
    state.set_choice(text("a"), Some(red()));
    state.set_choice(text("b"), None);
    assert_eq!(state.take_changes(), []);
    state.set_choice(text("a"), None);
    assert_eq!(state.take_changes(), [Change::Choose([(text("a"), None)].into())]);
}
