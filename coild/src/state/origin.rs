//! Which pool an attachment gets its addresses from: one, or the first of several that gives any. What the namespaces of
//! Kubernetes choose, and which pools were full when the store was asked last, is known here for that, so that no request
//! waits for it.

use super::{AllocateError, Ask, Change, Need, Place, State};
use common::ipam::Family;
use common::name::{PodText, PoolName};
use common::pool_list::PoolList;
use common::store::record::NamespaceChoice;
use common::wire::node::annotation;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// For how long a pool that was found to be full is passed over unasked, in milliseconds.
const FULL: u64 = 30_000;

/// Which pools an attachment wants an address of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Those that its namespace chooses; else the one named like the namespace, else `default`.
    Namespace,
    /// This one, and no other.
    Pool(PoolName),
    /// The first of these that gives an address of the family, as the pod's annotation says.
    List(PoolList),
}

/// Who named the pools of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedBy {
    /// The pod.
    Pod,
    /// Its namespace.
    Namespace(PodText),
}

impl fmt::Display for ListedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {}", annotation::POOLS)?;
        match self {
            Self::Pod => Ok(()),
            Self::Namespace(namespace) => write!(f, " of namespace {namespace}"),
        }
    }
}

/// The pools that are named, in the order in which they are tried; not empty.
struct Pools<'a> {
    names: Cow<'a, [PoolName]>,
    /// Who listed them; nobody if there was one to choose.
    by: Option<ListedBy>,
    /// Whether it is the name of the namespace that chose.
    by_name: bool,
}

/// Those of them that give addresses as long as there are any.
struct Open<'a> {
    before: Vec<&'a PoolName>,
    last: &'a PoolName,
}

impl<'a> Open<'a> {
    fn in_order(&self) -> impl Iterator<Item = &'a PoolName> {
        self.before.iter().copied().chain([self.last])
    }
}

impl State {
    /// Sets what the namespaces choose as the store has it now.
    pub fn set_choices(&mut self, choices: BTreeMap<PodText, NamespaceChoice>) {
        let gone = self.choices.keys().filter(|namespace| !choices.contains_key(*namespace));
        let mut changed: BTreeMap<_, _> = gone.map(|namespace| (namespace.clone(), None)).collect();
        for (namespace, choice) in &choices {
            if self.choices.get(namespace) != Some(choice) {
                changed.insert(namespace.clone(), Some(choice.clone()));
            }
        }
        self.choices = choices;
        if !changed.is_empty() {
            self.changes.push(Change::Choose(changed));
        }
    }

    /// Sets what one namespace chooses; `None` for nothing any more.
    pub fn set_choice(&mut self, namespace: PodText, choice: Option<NamespaceChoice>) {
        if self.choices.get(&namespace) == choice.as_ref() {
            return;
        }
        match choice.clone() {
            Some(choice) => self.choices.insert(namespace.clone(), choice),
            None => self.choices.remove(&namespace),
        };
        self.changes.push(Change::Choose([(namespace, choice)].into()));
    }

    /// What the namespaces choose.
    pub fn choices(&self) -> &BTreeMap<PodText, NamespaceChoice> {
        &self.choices
    }

    /// Notes that all blocks of a pool were leased just now, and the node can lease none.
    pub fn note_full(&mut self, need: Need, now: u64) {
        self.full.insert(need, now);
    }

    /// Notes that the store could not be asked whether a pool is full still. Returns whether it was when it was asked
    /// last: while nobody can give blocks back, it is.
    pub fn still_full(&mut self, need: &Need, now: u64) -> bool {
        self.full.get_mut(need).map(|since| *since = now).is_some()
    }

    /// The pools of a list that are tried before the last one of a family.
    pub fn before_last(&self, ask: &Ask, family: Family) -> BTreeSet<Need> {
        let Ok(pools) = self.pools_of(ask) else { return BTreeSet::new() };
        let open = self.open(ask, family, &pools);
        let before = open.into_iter().flat_map(|open| open.before);
        before.map(|pool| Need { pool: pool.clone(), family }).collect()
    }

    /// Why none of the pools of a list has an address of a family; `None` if there is no list.
    pub fn exhausted(&self, ask: &Ask, family: Family) -> Option<AllocateError> {
        let pools = self.pools_of(ask).ok()?;
        let by = pools.by.clone()?;
        let reason = |pool: &PoolName| match self.refusal(pool, ask, family, &pools) {
            Some(refusal) => refusal.to_string(),
            None => format!(
                "all {family} blocks of pool {pool} are leased, and no address of this node's is free"
            ),
        };
        let reasons: Vec<String> = pools.names.iter().map(reason).collect();
        Some(AllocateError::NoneListed { by, reasons: reasons.join("; "), unknown: false, full: true })
    }

    /// The place of an address of each family that is asked for. With `wake`, one that still rests is given where nothing
    /// else is free.
    pub(super) fn places(&mut self, ask: &Ask, wake: bool, now: u64) -> Result<Vec<Place>, AllocateError> {
        let pools = self.pools_of(ask)?;
        let families = ask.families.iter().map(|family| Ok((*family, self.open(ask, *family, &pools)?)));
        let families = families.collect::<Result<Vec<_>, _>>()?;
        for (family, open) in &families {
            for pool in open.in_order() {
                self.wake(pool, *family, now);
            }
        }
        families
            .into_iter()
            .map(|(family, open)| {
                match ask.addresses.iter().find(|address| Family::of(**address) == family) {
                    Some(address) => self.place_of(*address, &open, &pools),
                    None => self.next_place(family, &open, wake, now),
                }
            })
            .collect()
    }

    fn pools_of<'a>(&self, ask: &'a Ask) -> Result<Pools<'a>, AllocateError> {
        let one = |name, by_name| Pools { names: Cow::Owned(vec![name]), by: None, by_name };
        Ok(match &ask.origin {
            Origin::List(list) => {
                Pools { names: Cow::Borrowed(list), by: Some(ListedBy::Pod), by_name: false }
            }
            Origin::Pool(pool) => one(pool.clone(), false),
            Origin::Namespace => match self.choices.get(&ask.namespace) {
                Some(NamespaceChoice::Pools(list)) => Pools {
                    names: Cow::Owned(list.to_vec()),
                    by: Some(ListedBy::Namespace(ask.namespace.clone())),
                    by_name: false,
                },
                Some(NamespaceChoice::Wrong(reason)) => {
                    let by = ListedBy::Namespace(ask.namespace.clone());
                    return Err(AllocateError::WrongChoice { by, reason: reason.clone() });
                }
                // A namespace that can't be a pool's name has no pool of its own.
                None => {
                    let named = PoolName::new(ask.namespace.as_str()).ok();
                    let named = named.filter(|name| self.pools.contains_key(name));
                    one(named.unwrap_or_else(PoolName::default_pool), true)
                }
            },
        })
    }

    /// Why a pool gives no address of a family, whatever is leased of it.
    fn refusal(
        &self,
        name: &PoolName,
        ask: &Ask,
        family: Family,
        pools: &Pools<'_>,
    ) -> Option<AllocateError> {
        let Some(pool) = self.pools.get(name) else {
            return Some(AllocateError::NoPool { pool: name.clone(), by_namespace: pools.by_name });
        };
        if pool.disabled && !ask.adopt {
            return Some(AllocateError::Disabled(name.clone()));
        }
        (!pool.has(family)).then(|| AllocateError::NoFamily(name.clone(), family))
    }

    /// The pools that give addresses of a family as long as there are any.
    fn open<'a>(&self, ask: &Ask, family: Family, pools: &'a Pools<'_>) -> Result<Open<'a>, AllocateError> {
        let (mut before, mut refusals) = (Vec::new(), Vec::new());
        for pool in pools.names.iter() {
            match self.refusal(pool, ask, family, pools) {
                None => before.push(pool),
                Some(refusal) => refusals.push(refusal),
            }
        }
        if let Some(last) = before.pop() {
            return Ok(Open { before, last });
        }
        let unknown = refusals.iter().any(|refusal| matches!(refusal, AllocateError::NoPool { .. }));
        let reasons: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        Err(match (pools.by.clone(), refusals.pop()) {
            (None, Some(refusal)) => refusal,
            (by, _) => {
                let by = by.unwrap_or(ListedBy::Pod);
                AllocateError::NoneListed { by, reasons: reasons.join("; "), unknown, full: false }
            }
        })
    }

    /// Of the first pool that is not known to be full. One that is may have an address that rests, which is given then.
    fn next_place(
        &self,
        family: Family,
        open: &Open<'_>,
        wake: bool,
        now: u64,
    ) -> Result<Place, AllocateError> {
        for pool in &open.before {
            let full = self.is_full(pool, family, now);
            match self.choose_next(pool, family, wake || full) {
                Err(AllocateError::NothingFree { .. }) if full => {}
                outcome => return outcome,
            }
        }
        self.choose_next(open.last, family, wake)
    }

    /// This very address, of the pool that has it.
    fn place_of(&self, address: IpAddr, open: &Open<'_>, pools: &Pools<'_>) -> Result<Place, AllocateError> {
        for pool in open.in_order() {
            match self.choose_exactly(address, pool) {
                Err(AllocateError::Outside(..)) if pools.by.is_some() => {}
                outcome => return outcome,
            }
        }
        Err(AllocateError::OutsideAll(address))
    }

    /// Whether a pool was full a short time ago.
    fn is_full(&self, pool: &PoolName, family: Family, now: u64) -> bool {
        let since = self.full.get(&Need { pool: pool.clone(), family });
        since.is_some_and(|since| now.abs_diff(*since) < FULL)
    }
}

#[cfg(test)]
mod tests;
