//! What clients asked of nodes and what they were told, in one order.
//!
//! A question is recorded before it is sent and its answer after it has arrived: what a node did for it, it did
//! between these two. [`checker`] decides whether such a history keeps the invariants I1, I2 and I4, and
//! [`remains`] whether what is left at the end keeps I3.

pub mod checker;
pub mod remains;

use common::ipam::Pool;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A place in the history: events are counted from 0 on.
pub type Moment = usize;

/// What a client asks of a node. Containers are known by their ids; each has one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// An address for a container.
    Add(String),
    /// Free what a container holds.
    Del(String),
    /// What a container holds.
    Check(String),
    /// Free what all containers hold but these.
    Collect(BTreeSet<String>),
    /// What all containers hold.
    Status,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// ADD, CHECK: the container holds these.
    Given(Vec<IpAddr>),
    /// ADD: refused, as the container holds an address already.
    Taken,
    /// DEL, GC: these were freed.
    Freed(Vec<IpAddr>),
    /// STATUS, or CHECK of a container that holds nothing: who holds what.
    Seen(BTreeMap<String, Vec<IpAddr>>),
    /// The node says that nothing happened, or the question was never sent.
    Refused,
    /// The connection broke: it may have happened.
    Broken,
    /// The client does not wait any longer: it may have happened, and may still happen.
    GaveUp,
}

/// An entry of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client is about to ask.
    Asked {
        /// The node.
        node: String,
        /// What.
        call: Call,
    },
    /// The client of the question at this moment has its answer.
    Answered(Moment, Answer),
    /// The node's process has ended; what it had not done until now it will not do.
    Died(String),
    /// The node's containers have all ended, as after a reboot.
    Rebooted(String),
    /// From now on, addresses come from this pool, which is new or has changed. Growth is recorded before it is
    /// ordered and shrinking after it was done.
    Pool(String, Pool),
}

/// A history that is being made, by many clients at once.
#[derive(Debug, Default)]
pub struct History(Mutex<Vec<Event>>);

impl History {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, event: Event) -> Moment {
        let mut events = self.lock();
        events.push(event);
        events.len() - 1
    }

    /// A question is about to be sent. Answers where it is in the history.
    pub fn asked(&self, node: &str, call: Call) -> Moment {
        self.record(Event::Asked { node: node.to_owned(), call })
    }

    /// The question has its answer.
    pub fn answered(&self, question: Moment, answer: Answer) {
        self.record(Event::Answered(question, answer));
    }

    /// A node's process has ended.
    pub fn died(&self, node: &str) {
        self.record(Event::Died(node.to_owned()));
    }

    /// A node's containers have ended with the machine's last life.
    pub fn rebooted(&self, node: &str) {
        self.record(Event::Rebooted(node.to_owned()));
    }

    /// A pool is about to have more addresses, or has fewer.
    pub fn pool(&self, name: &str, pool: Pool) {
        self.record(Event::Pool(name.to_owned(), pool));
    }

    /// Everything so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// Every container that was ever asked for, with its node.
    pub fn containers(&self) -> BTreeSet<(String, String)> {
        let named = |event: &Event| match event {
            Event::Asked { node, call: Call::Add(container) } => Some((node.clone(), container.clone())),
            _ => None,
        };
        self.lock().iter().filter_map(named).collect()
    }

    /// Checks I1, I2 and I4.
    pub fn check(&self) -> Result<(), checker::Violation> {
        checker::check(&self.events())
    }
}
