//! What clients were told, and whether the daemon still knows it.

use anyhow::{Result, bail, ensure};
use common::wire::node::StatusReply;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// What a client knows of a container's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// ADD was acknowledged with this address.
    Held(IpAddr),
    /// ADD was sent, and its answer did not come: it may hold an address.
    Adding,
    /// DEL was sent, and its answer did not come: it may still hold this address, if it held one.
    Removing(Option<IpAddr>),
}

/// What all clients of one node know. A container that is not in it holds nothing.
#[derive(Debug, Default)]
pub struct History(Mutex<BTreeMap<String, Known>>);

impl History {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An ADD is about to be sent.
    pub fn adding(&self, container: &str) {
        self.lock().insert(container.to_owned(), Known::Adding);
    }

    /// An ADD was acknowledged. Fails if somebody else holds that address for certain.
    pub fn added(&self, container: &str, address: IpAddr) -> Result<()> {
        let mut known = self.lock();
        let twice = known.iter().find(|(_, known)| **known == Known::Held(address));
        if let Some((other, _)) = twice {
            bail!("{address} was given to {container} while {other} holds it");
        }
        known.insert(container.to_owned(), Known::Held(address));
        Ok(())
    }

    /// An ADD was refused: the container holds nothing.
    pub fn refused(&self, container: &str) {
        self.lock().remove(container);
    }

    /// A DEL is about to be sent.
    pub fn removing(&self, container: &str) {
        let mut known = self.lock();
        let address = match known.get(container) {
            Some(Known::Held(address)) => Some(*address),
            Some(Known::Removing(address)) => *address,
            Some(Known::Adding) | None => None,
        };
        known.insert(container.to_owned(), Known::Removing(address));
    }

    /// A DEL was acknowledged.
    pub fn removed(&self, container: &str) {
        self.lock().remove(container);
    }

    /// Every container that holds an address or may hold one.
    pub fn containers(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Containers whose ADD was acknowledged, with the address.
    pub fn held(&self) -> BTreeMap<String, IpAddr> {
        let held = |(name, known): (&String, &Known)| match known {
            Known::Held(address) => Some((name.clone(), *address)),
            Known::Adding | Known::Removing(_) => None,
        };
        self.lock().iter().filter_map(held).collect()
    }

    /// Compares with the daemon's status: every acknowledged address is held by its container, no address is
    /// held twice, and nobody holds one who can't.
    pub fn check(&self, status: &StatusReply) -> Result<()> {
        let known = self.lock();
        let mut addresses = BTreeSet::new();
        let mut holders = BTreeMap::new();
        for attachment in &status.attachments {
            let container = attachment.container_id.as_str();
            ensure!(addresses.insert(attachment.address), "{} is held twice", attachment.address);
            let before = holders.insert(container, attachment.address);
            ensure!(before.is_none(), "{container} holds {before:?} and {}", attachment.address);
            ensure!(known.contains_key(container), "{container} holds {} for nothing", attachment.address);
        }
        for (container, known) in known.iter() {
            let holds = holders.get(container.as_str()).copied();
            match *known {
                Known::Held(address) => {
                    ensure!(holds == Some(address), "{container} was given {address}, coild says {holds:?}");
                }
                Known::Removing(Some(address)) => {
                    ensure!(holds.is_none_or(|holds| holds == address), "{container} changed to {holds:?}");
                }
                Known::Adding | Known::Removing(None) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(held: &[(&str, &str)]) -> StatusReply {
        let attachment = |(container, address): &(&str, &str)| {
            json!({"address": address, "pool": "default", "pod-namespace": "ns", "pod-name": container,
                "container-id": container, "interface": "eth0", "since": 0})
        };
        let attachments: Vec<_> = held.iter().map(attachment).collect();
        let reply = json!({"address-blocks": {}, "pods": {}, "attachments": attachments, "status": 200});
        serde_json::from_value(reply).expect("a status")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn what_was_acknowledged_must_stay() {
        let history = History::new();
        history.adding("a");
        assert!(history.check(&status(&[])).is_ok());
        assert!(history.check(&status(&[("a", "10.0.0.1")])).is_ok());
        history.added("a", address("10.0.0.1")).expect("free");
        assert!(history.check(&status(&[("a", "10.0.0.1")])).is_ok());
        assert!(history.check(&status(&[])).is_err(), "lost");
        assert!(history.check(&status(&[("a", "10.0.0.2")])).is_err(), "changed");
        history.removing("a");
        assert!(history.check(&status(&[])).is_ok());
        assert!(history.check(&status(&[("a", "10.0.0.1")])).is_ok());
        assert!(history.check(&status(&[("a", "10.0.0.2")])).is_err(), "changed");
        history.removed("a");
        assert!(history.check(&status(&[("a", "10.0.0.1")])).is_err(), "not freed");
    }

    #[test]
    fn an_address_has_one_holder() {
        let history = History::new();
        history.added("a", address("10.0.0.1")).expect("free");
        assert!(history.added("b", address("10.0.0.1")).is_err());
        history.adding("b");
        assert!(history.check(&status(&[("a", "10.0.0.1"), ("b", "10.0.0.1")])).is_err());
    }
}
