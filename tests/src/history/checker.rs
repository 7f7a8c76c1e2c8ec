//! Decides whether a history keeps the invariants: I1, no address has two holders, on whatever nodes; I2, what
//! was acknowledged stays so; I4, only addresses of the pool are given.
//!
//! Only what is certain counts. A container holds an address for certain from the answer that says so until
//! the next question is asked that may free it; it holds nothing for certain from the answer of a DEL until the
//! next ADD is asked. An answer that never came leaves both possible. So no good history is rejected, however
//! its questions overlap.

use super::{Answer, Call, Event, Moment};
use common::ipam::{BlockGateway, Pool};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// What a history breaks, with the moments that show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Two containers hold one address.
    #[error("I1: {address} is held by {first} and by {second}")]
    TwoHolders {
        /// The address.
        address: IpAddr,
        /// One holder.
        first: String,
        /// The other one.
        second: String,
    },
    /// A container holds something else than it was told.
    #[error("I2: {holder} was told {told:?} and then {found:?} at {from}..{to}")]
    Changed {
        /// The holder.
        holder: Holder,
        /// What it was told.
        told: Vec<IpAddr>,
        /// What it was told later.
        found: Vec<IpAddr>,
        /// When the later question was asked.
        from: Moment,
        /// When it was answered.
        to: Moment,
    },
    /// A container that holds nothing is said to hold something.
    #[error("I2: {holder} holds nothing, and is said at {from}..{to} to hold {found:?}")]
    Risen {
        /// The holder.
        holder: Holder,
        /// What it is said to hold; empty if the answer does not say.
        found: Vec<IpAddr>,
        /// When the question was asked.
        from: Moment,
        /// When it was answered.
        to: Moment,
    },
    /// An address was given that is not to be given.
    #[error("I4: {address}, given to {holder} at {from}..{to}, is in no pool, excluded or reserved")]
    NotOfAPool {
        /// The address.
        address: IpAddr,
        /// Who got it.
        holder: Holder,
        /// When it was asked for.
        from: Moment,
        /// When it was given.
        to: Moment,
    },
}

/// A container of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// The node.
    pub node: String,
    /// The container's id.
    pub container: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.container, self.node)
    }
}

/// The time in which something happened, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    from: Moment,
    to: Moment,
}

/// Things with the times in which they happened, in the order of the beginnings.
type Told<T> = Vec<(Span, T)>;

/// All that is known of one container. Addresses are sorted.
#[derive(Debug, Default)]
struct Life {
    /// What it got; `None` if it may have got something.
    adds: Told<Option<Vec<IpAddr>>>,
    /// How it lost what it had.
    ends: Told<End>,
    /// What it was seen to hold; empty if it was seen to hold nothing.
    sights: Told<Vec<IpAddr>>,
    /// When an ADD was refused because it held something.
    refusals: Told<()>,
}

/// How a container lost what it had.
#[derive(Debug, Clone)]
enum End {
    /// Perhaps it did not.
    Unknown,
    /// It holds nothing any more.
    Certain,
    /// It held these, and holds nothing any more.
    Freed(Vec<IpAddr>),
}

/// A container holds these for certain, from an answer until a question.
#[derive(Debug)]
struct Hold {
    from: Moment,
    to: Moment,
    addresses: Vec<IpAddr>,
}

const NEVER: Moment = Moment::MAX;

/// Checks I1, I2 and I4.
pub fn check(events: &[Event]) -> Result<(), Violation> {
    let lives = lives(events);
    let mut holds = BTreeMap::new();
    for (holder, life) in &lives {
        let of_holder = life.holds();
        life.keeps_its_word(holder, &of_holder)?;
        holds.insert(holder, of_holder);
    }
    one_holder(&lives, &holds)?;
    of_the_pools(events, &lives)
}

fn lives(events: &[Event]) -> BTreeMap<Holder, Life> {
    let mut lives: BTreeMap<Holder, Life> = BTreeMap::new();
    let mut answers: BTreeMap<Moment, (Moment, &Answer)> = BTreeMap::new();
    let mut deaths: BTreeMap<&str, Vec<Moment>> = BTreeMap::new();
    // Whoever is not named anywhere holds nothing; so all names come first.
    for (moment, event) in events.iter().enumerate() {
        match event {
            Event::Asked { node, call: Call::Add(container) } => {
                life(&mut lives, node, container);
            }
            Event::Asked { .. } | Event::Rebooted(_) | Event::Pool(..) => {}
            Event::Died(node) => deaths.entry(node).or_default().push(moment),
            Event::Answered(question, answer) => {
                answers.insert(*question, (moment, answer));
                if let (Answer::Seen(seen), Event::Asked { node, .. }) = (answer, &events[*question]) {
                    for container in seen.keys() {
                        life(&mut lives, node, container);
                    }
                }
            }
        }
    }
    for (moment, event) in events.iter().enumerate() {
        match event {
            Event::Asked { node, call } => {
                let (end, answer) = answers.get(&moment).copied().unwrap_or((NEVER, &Answer::GaveUp));
                let deaths = deaths.get(node.as_str()).map_or(&[][..], Vec::as_slice);
                let to = effect_until(deaths, moment, end, answer);
                tell(&mut lives, node, call, Span { from: moment, to }, answer);
            }
            Event::Rebooted(node) => {
                for (_, life) in lives.iter_mut().filter(|(holder, _)| holder.node == *node) {
                    life.ends.push((Span { from: moment, to: moment }, End::Certain));
                }
            }
            Event::Answered(..) | Event::Died(_) | Event::Pool(..) => {}
        }
    }
    lives
}

fn life<'a>(lives: &'a mut BTreeMap<Holder, Life>, node: &str, container: &str) -> &'a mut Life {
    let holder = Holder { node: node.to_owned(), container: container.to_owned() };
    lives.entry(holder).or_default()
}

/// Until when a question may have had its effect, given the moments at which its node died.
fn effect_until(deaths: &[Moment], asked: Moment, end: Moment, answer: &Answer) -> Moment {
    let died_after =
        |moment| deaths.get(deaths.partition_point(|died| *died <= moment)).copied().unwrap_or(NEVER);
    match answer {
        // The death that broke the connection may be recorded before or after it was noticed.
        Answer::Broken if died_after(asked) < end => end,
        Answer::Broken | Answer::GaveUp => died_after(end),
        Answer::Given(_) | Answer::Taken | Answer::Freed(_) | Answer::Seen(_) | Answer::Refused => end,
    }
}

fn tell(lives: &mut BTreeMap<Holder, Life>, node: &str, call: &Call, span: Span, answer: &Answer) {
    let unknown = matches!(answer, Answer::Broken | Answer::GaveUp);
    match (call, answer) {
        (Call::Add(container), Answer::Given(addresses)) => {
            life(lives, node, container).adds.push((span, Some(sorted(addresses))));
        }
        (Call::Add(container), Answer::Taken) => life(lives, node, container).refusals.push((span, ())),
        (Call::Add(container), _) if unknown => life(lives, node, container).adds.push((span, None)),
        (Call::Del(container), Answer::Freed(addresses)) => {
            life(lives, node, container).ends.push((span, End::Freed(sorted(addresses))));
        }
        (Call::Del(container), _) if unknown => life(lives, node, container).ends.push((span, End::Unknown)),
        (Call::Collect(kept), _) if unknown || matches!(answer, Answer::Freed(_)) => {
            let end = if unknown { End::Unknown } else { End::Certain };
            let collected = |holder: &Holder| holder.node == node && !kept.contains(&holder.container);
            for (_, life) in lives.iter_mut().filter(|(holder, _)| collected(holder)) {
                life.ends.push((span, end.clone()));
            }
        }
        (Call::Check(container), Answer::Given(addresses)) => {
            life(lives, node, container).sights.push((span, sorted(addresses)));
        }
        (Call::Check(container), Answer::Seen(_)) => {
            life(lives, node, container).sights.push((span, Vec::new()));
        }
        (Call::Status, Answer::Seen(seen)) => {
            for (holder, life) in lives.iter_mut().filter(|(holder, _)| holder.node == node) {
                let held = seen.get(&holder.container).map_or_else(Vec::new, |held| sorted(held));
                life.sights.push((span, held));
            }
        }
        _ => {}
    }
}

fn sorted(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Those that happened entirely between an answer and the question that ends what the answer says.
fn between<T>(told: &Told<T>, answer: Moment, question: Moment) -> impl Iterator<Item = (Span, &T)> {
    let first = told.partition_point(|(span, _)| span.from < answer);
    let begun = told[first..].iter().take_while(move |(span, _)| span.from < question);
    begun.filter(move |(span, _)| span.to < question).map(|(span, what)| (*span, what))
}

/// Tells whether any of some spans, in the order of their beginnings, overlaps a given one.
struct Overlap {
    spans: Vec<Span>,
    /// Up to each of them, the latest end.
    latest: Vec<Moment>,
}

impl Overlap {
    fn of<T>(told: &Told<T>) -> Self {
        let spans: Vec<Span> = told.iter().map(|(span, _)| *span).collect();
        let latest = spans.iter().scan(0, |latest, span| {
            *latest = span.to.max(*latest);
            Some(*latest)
        });
        Self { latest: latest.collect(), spans }
    }

    fn any(&self, with: Span) -> bool {
        let begun = self.spans.partition_point(|span| span.from <= with.to);
        begun > 0 && self.latest[begun - 1] >= with.from
    }

    /// The beginning of the first one that begins after a moment.
    fn next(&self, after: Moment) -> Moment {
        self.spans.get(self.spans.partition_point(|span| span.from <= after)).map_or(NEVER, |span| span.from)
    }
}

impl Life {
    /// Every answer that says what is held.
    fn told(&self) -> impl Iterator<Item = (Span, &Vec<IpAddr>)> {
        let given = self.adds.iter().filter_map(|(span, given)| Some((*span, given.as_ref()?)));
        let seen = self.sights.iter().filter(|(_, held)| !held.is_empty());
        given.chain(seen.map(|(span, held)| (*span, held)))
    }

    fn holds(&self) -> Vec<Hold> {
        let ends = Overlap::of(&self.ends);
        let certain = self.told().filter(|(span, _)| !ends.any(*span));
        let mut holds: Vec<Hold> = certain
            .map(|(span, held)| Hold { from: span.to, to: ends.next(span.to), addresses: held.clone() })
            .collect();
        holds.sort_by_key(|hold| hold.from);
        // What is said again says nothing new.
        holds.dedup_by(|later, first| later.to == first.to && later.addresses == first.addresses);
        holds
    }

    /// When it holds nothing for certain: from one moment until another.
    fn without(&self) -> Vec<(Moment, Moment)> {
        let adds = Overlap::of(&self.adds);
        let freed = self.ends.iter().filter(|(end, how)| !matches!(how, End::Unknown) && !adds.any(*end));
        let freed = freed.map(|(end, _)| (end.to, adds.next(end.to)));
        let first = self.adds.first().map_or(NEVER, |(span, _)| span.from);
        std::iter::once((0, first)).chain(freed).collect()
    }

    /// I2: nothing that was said is taken back.
    fn keeps_its_word(&self, holder: &Holder, holds: &[Hold]) -> Result<(), Violation> {
        for hold in holds {
            let given = between(&self.adds, hold.from, hold.to)
                .filter_map(|(span, given)| Some((span, given.as_ref()?)));
            let seen = between(&self.sights, hold.from, hold.to);
            let other = seen.filter(|(_, found)| **found != hold.addresses).chain(given).next();
            if let Some((Span { from, to }, found)) = other.or_else(|| self.freed_else(hold)) {
                let (holder, told, found) = (holder.clone(), hold.addresses.clone(), found.clone());
                return Err(Violation::Changed { holder, told, found, from, to });
            }
        }
        for (from, to) in self.without() {
            let refused = between(&self.refusals, from, to).map(|(span, ())| (span, Vec::new()));
            let seen = between(&self.sights, from, to).filter(|(_, held)| !held.is_empty());
            let found = seen.map(|(span, held)| (span, held.clone())).chain(refused).next();
            if let Some((Span { from, to }, found)) = found {
                return Err(Violation::Risen { holder: holder.clone(), found, from, to });
            }
        }
        Ok(())
    }

    /// What a DEL says to have freed at the end of a hold, if that is not what was held.
    fn freed_else(&self, hold: &Hold) -> Option<(Span, &Vec<IpAddr>)> {
        let first = self.ends.partition_point(|(end, _)| end.from < hold.to);
        let (end, how) = self.ends.get(first)?;
        // Another one at the same time may have freed it first.
        let alone = self.ends.get(first + 1).is_none_or(|(next, _)| next.from > end.to);
        match how {
            End::Freed(freed) if alone && *freed != hold.addresses => Some((*end, freed)),
            End::Freed(_) | End::Certain | End::Unknown => None,
        }
    }
}

/// I1: while one container holds an address for certain, no other one does, or is told so.
fn one_holder(lives: &BTreeMap<Holder, Life>, holds: &BTreeMap<&Holder, Vec<Hold>>) -> Result<(), Violation> {
    let twice = |address: IpAddr, first: &Holder, second: &Holder| Violation::TwoHolders {
        address,
        first: first.to_string(),
        second: second.to_string(),
    };
    let mut of_address: BTreeMap<IpAddr, Vec<(Moment, Moment, &Holder)>> = BTreeMap::new();
    for (holder, holds) in holds {
        for hold in holds {
            for address in &hold.addresses {
                of_address.entry(*address).or_default().push((hold.from, hold.to, holder));
            }
        }
    }
    for (address, holds) in &mut of_address {
        holds.sort_unstable();
        let mut joined: Vec<(Moment, Moment, &Holder)> = Vec::new();
        for (from, to, holder) in holds.drain(..) {
            match joined.last_mut() {
                Some((_, until, other)) if from < *until => {
                    if *other != holder {
                        return Err(twice(*address, other, holder));
                    }
                    *until = to.max(*until);
                }
                _ => joined.push((from, to, holder)),
            }
        }
        *holds = joined;
    }
    for (holder, life) in lives {
        for (span, addresses) in life.told() {
            for address in addresses {
                let Some(holds) = of_address.get(address) else { continue };
                let begun = holds.partition_point(|(from, _, _)| *from <= span.from);
                let Some((_, until, other)) = begun.checked_sub(1).map(|last| holds[last]) else { continue };
                if span.to < until && other != holder {
                    return Err(twice(*address, other, holder));
                }
            }
        }
    }
    Ok(())
}

/// I4: what is given is of a pool as it was at some time between question and answer.
fn of_the_pools(events: &[Event], lives: &BTreeMap<Holder, Life>) -> Result<(), Violation> {
    let mut versions: BTreeMap<&str, Vec<(Moment, &Pool)>> = BTreeMap::new();
    for (moment, event) in events.iter().enumerate() {
        if let Event::Pool(name, pool) = event {
            versions.entry(name).or_default().push((moment, pool));
        }
    }
    for (holder, life) in lives {
        let given = life.adds.iter().filter_map(|(span, given)| Some((span, given.as_ref()?)));
        for (span, addresses) in given {
            for address in addresses {
                let allowed = versions.values().any(|versions| {
                    let before = versions.iter().rposition(|(moment, _)| *moment < span.from).unwrap_or(0);
                    let at_the_time = versions[before..].iter().take_while(|(moment, _)| *moment < span.to);
                    at_the_time.into_iter().any(|(_, pool)| may_be_given(pool, *address))
                });
                if !allowed {
                    let (holder, from, to) = (holder.clone(), span.from, span.to);
                    return Err(Violation::NotOfAPool { address: *address, holder, from, to });
                }
            }
        }
    }
    Ok(())
}

/// The rule of I4, written anew: the product's own code may be what is wrong.
fn may_be_given(pool: &Pool, address: IpAddr) -> bool {
    let listed = pool.subnets.iter().any(|subnet| subnet.contains(&address));
    let excluded = pool.exclude.iter().any(|exclude| exclude.contains(&address));
    let (number, size, has_broadcast) = match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 1 << (32 - pool.block_size), true),
        IpAddr::V6(v6) => (u128::from(v6), 1_u128 << (128 - pool.block_size_v6), false),
    };
    let offset = number % size;
    let reserved =
        pool.block_gateway == BlockGateway::First && (offset == 0 || (has_broadcast && offset == size - 1));
    listed && !excluded && !reserved
}

#[cfg(test)]
mod tests;
