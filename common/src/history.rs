//! Who held which address when, as each node writes it down: one JSON object a line.
//!
//! What is written is enough to tell, for every moment since the oldest line, who held an address: what a node holds when
//! it starts is written again, so that neither a crash nor the removal of old files leaves a doubt for long.

use crate::name::{ContainerId, IfName, NodeName, PodText};
use crate::pool_id::PoolId;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Name of the file that is written; older ones are `history.jsonl.1`, `history.jsonl.2` …
pub const FILE: &str = "history.jsonl";

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it happened, to the millisecond.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The node daemon started. What is held from then on follows.
    Start {
        /// The node.
        node: NodeName,
    },
    /// An address is held, and was given before the node daemon started.
    Held(Holding),
    /// An address was given.
    Given(Holding),
    /// An address was freed.
    Freed {
        /// The address.
        address: IpAddr,
    },
    /// An address is nobody's, as a host that did not get it from coil uses it.
    Foreign {
        /// The address.
        address: IpAddr,
    },
    /// The node does not hold a block any more, nor anything in it.
    Gone {
        /// The block.
        block: IpNet,
    },
}

/// An address and who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The address.
    pub address: IpAddr,
    /// Who holds it.
    #[serde(flatten)]
    pub holder: Holder,
}

/// Who holds an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The pool that it is of.
    pub pool: PoolId,
    /// Namespace of the pod.
    pub namespace: PodText,
    /// The pod.
    pub pod: PodText,
    /// The container.
    pub container: ContainerId,
    /// The interface.
    pub interface: IfName,
    /// When it was given.
    pub since: Timestamp,
}

/// A time for which somebody held an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tenure {
    /// The address.
    pub address: IpAddr,
    /// The node that gave it; absent if the line that says so is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Who held it, and from when on.
    #[serde(flatten)]
    pub holder: Holder,
    /// The moment from which on it was not held any more; absent if it still is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Tenure {
    /// Whether it was held at a moment.
    pub fn covers(&self, moment: Timestamp) -> bool {
        self.holder.since <= moment && self.until.is_none_or(|until| moment < until)
    }
}

/// Tells who held an address, one after the other, by the lines of a node from the oldest on.
#[derive(Debug)]
pub struct Replay {
    address: IpAddr,
    node: Option<NodeName>,
    tenures: Vec<Tenure>,
    /// When the node daemon last started: who held the address until then may still.
    started: Option<Timestamp>,
}

impl Replay {
    /// Nothing is known yet of this address.
    pub fn new(address: IpAddr) -> Self {
        Self { address, node: None, tenures: Vec::new(), started: None }
    }

    /// The next line.
    pub fn push(&mut self, Line { time, event }: Line) {
        match event {
            Event::Start { node } => {
                self.node = Some(node);
                self.started = Some(time);
                self.end(time);
            }
            Event::Held(held) if held.address == self.address => self.goes_on(held.holder),
            Event::Given(given) if given.address == self.address => {
                self.end(time);
                self.begin(given.holder);
            }
            Event::Freed { address } | Event::Foreign { address } if address == self.address => {
                self.end(time);
            }
            Event::Gone { block } if block.contains(&self.address) => self.end(time),
            _ => {}
        }
    }

    /// All tenures, the oldest first.
    pub fn finish(self) -> Vec<Tenure> {
        self.tenures
    }

    fn end(&mut self, time: Timestamp) {
        if let Some(last) = self.tenures.last_mut().filter(|last| last.until.is_none()) {
            last.until = Some(time);
        }
    }

    fn begin(&mut self, holder: Holder) {
        self.tenures.push(Tenure { address: self.address, node: self.node.clone(), holder, until: None });
    }

    /// The same holder goes on over the start.
    fn goes_on(&mut self, holder: Holder) {
        match self.tenures.last_mut() {
            Some(last) if last.until == self.started && last.holder == holder => last.until = None,
            _ => self.begin(holder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ADDRESS: &str = "10.1.2.3";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).expect("time")
    }

    fn holding(address: &str, container: &str, since: i64) -> Holding {
        let holder = Holder {
            pool: "default".parse::<crate::name::PoolName>().expect("pool").into(),
            namespace: "ns".parse().expect("namespace"),
            pod: "web-0".parse().expect("pod"),
            container: container.parse().expect("container"),
            interface: IfName::eth0(),
            since: at(since),
        };
        Holding { address: address.parse().expect("address"), holder }
    }

    fn replay(lines: Vec<(i64, Event)>) -> Vec<(String, Timestamp, Option<Timestamp>)> {
        let mut replay = Replay::new(ADDRESS.parse().expect("address"));
        for (second, event) in lines {
            replay.push(Line { time: at(second), event });
        }
        let tenures = replay.finish().into_iter();
        tenures
            .map(|tenure| (tenure.holder.container.to_string(), tenure.holder.since, tenure.until))
            .collect()
    }

    fn freed() -> Event {
        Event::Freed { address: ADDRESS.parse().expect("address") }
    }

    fn start() -> Event {
        Event::Start { node: "a".parse().expect("node") }
    }

    #[test]
    fn a_line_as_programs_read_it() {
        let line = Line { time: at(1), event: Event::Given(holding(ADDRESS, "c", 1)) };
        let value = serde_json::to_value(&line).expect("JSON");
        let expected = json!({
            "time": "2023-11-14T22:13:21Z", "event": "given", "address": ADDRESS, "pool": "default",
            "namespace": "ns", "pod": "web-0", "container": "c", "interface": "eth0", "since": "2023-11-14T22:13:21Z",
        });
        assert_eq!(value, expected);
        assert_eq!(serde_json::from_value::<Line>(value).expect("a line"), line);
    }

    #[test]
    fn one_holder_after_the_other() {
        let lines = vec![
            (0, start()),
            (1, Event::Given(holding(ADDRESS, "a", 1))),
            (2, Event::Given(holding("10.1.2.4", "x", 2))),
            (3, Event::Freed { address: "10.1.2.4".parse().expect("address") }),
            (4, freed()),
            (5, Event::Given(holding(ADDRESS, "b", 5))),
            (6, Event::Gone { block: "10.1.3.0/28".parse().expect("block") }),
            (7, Event::Gone { block: "10.1.2.0/28".parse().expect("block") }),
            (8, Event::Given(holding(ADDRESS, "c", 8))),
        ];
        let expected = [("a", 1, Some(4)), ("b", 5, Some(7)), ("c", 8, None)]
            .map(|(container, since, until)| (container.to_owned(), at(since), until.map(at)));
        assert_eq!(replay(lines), expected);
    }

    #[test]
    fn over_a_start() {
        // One goes on, one has ended while the daemon was down, and one is older than the oldest line.
        let on = vec![
            (1, Event::Given(holding(ADDRESS, "a", 1))),
            (5, start()),
            (5, Event::Held(holding(ADDRESS, "a", 1))),
            (9, freed()),
        ];
        assert_eq!(replay(on), [("a".to_owned(), at(1), Some(at(9)))]);
        let ended = vec![
            (1, Event::Given(holding(ADDRESS, "a", 1))),
            (5, start()),
            (7, Event::Given(holding(ADDRESS, "b", 7))),
        ];
        assert_eq!(replay(ended), [("a".to_owned(), at(1), Some(at(5))), ("b".to_owned(), at(7), None)]);
        let older = vec![(5, start()), (5, Event::Held(holding(ADDRESS, "a", 1)))];
        assert_eq!(replay(older), [("a".to_owned(), at(1), None)]);
    }

    #[test]
    fn moments() {
        let tenure = |until: Option<i64>| Tenure {
            address: ADDRESS.parse().expect("address"),
            node: None,
            holder: holding(ADDRESS, "a", 2).holder,
            until: until.map(at),
        };
        assert!(
            tenure(Some(4)).covers(at(2)) && tenure(Some(4)).covers(at(3)) && tenure(None).covers(at(99))
        );
        assert!(!tenure(Some(4)).covers(at(1)) && !tenure(Some(4)).covers(at(4)));
    }
}
