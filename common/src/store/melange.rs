//! The transactions of the life of a tenant's address, pure.
//!
//! An address has one key, which says who holds it, and one more for each list that it is on. They are written together,
//! so that a list never has to be searched. A deallocated address keeps its key until its days are over, and is then
//! [`removed`](remove).
//!
//! An interface has a record as long as it holds an address. Every change of what it holds writes that record anew, so
//! that of two changes at the same instant one sees the other.

use super::keys::melange::{self as keys, List, Side};
use super::record::melange::{Address, Due, Interface, Listed, Mac, Nat};
use super::record::{self};
use super::{Compare, Entry, Op, Revision, Txn};
use crate::name::OpaqueId;
use serde::Serialize;
use std::net::IpAddr;
use uuid::Uuid;

/// Where an address is: its block, and the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The block.
    pub block: Uuid,
    /// The address.
    pub address: IpAddr,
}

impl Place {
    /// The key of the address.
    pub fn key(self) -> String {
        keys::address(self.block, self.address)
    }
}

/// Adds to a transaction that something was not written since it was read: at this revision, 0 if it was not there.
#[must_use]
pub fn unchanged(txn: Txn, key: String, revision: Revision) -> Txn {
    txn.when(Compare::ModRevision(key, revision))
}

fn put(txn: Txn, key: String, record: &impl Serialize) -> Txn {
    txn.then(Op::Put(key, record::encode(record)))
}

fn delete(txn: Txn, key: String) -> Txn {
    txn.then(Op::Delete(key))
}

/// The lists that an address is on while it is held, besides its block's.
fn lists(record: &Address) -> Vec<List<'_>> {
    let mut lists = vec![List::All, List::Tenant(&record.tenant)];
    if let Some(device) = &record.device {
        lists.extend([List::Device(device), List::TenantDevice(&record.tenant, device)]);
    }
    lists.extend(record.plug().map(List::Interface));
    lists
}

fn list(txn: Txn, place: Place, record: &Address) -> Txn {
    let listed = Listed { block: place.block, address: place.address };
    lists(record).into_iter().fold(txn, |txn, list| put(txn, keys::listed(list, record.id), &listed))
}

fn unlist(txn: Txn, record: &Address) -> Txn {
    lists(record).into_iter().fold(txn, |txn, list| delete(txn, keys::listed(list, record.id)))
}

/// Adds to a transaction that an address which nobody has is given.
#[must_use]
pub fn give(txn: Txn, place: Place, record: &Address) -> Txn {
    let listed = Listed { block: place.block, address: place.address };
    let txn = put(txn.when(Compare::Absent(place.key())), place.key(), record);
    let txn = put(txn, keys::listed(List::Block(place.block), record.id), &listed);
    list(txn, place, record)
}

/// An address is not held any more, but not yet given again. `entry` and `record` are what was read of it.
pub fn deallocate(place: Place, entry: &Entry, record: &Address, now: u64) -> Txn {
    let txn = unchanged(Txn::new(), place.key(), entry.mod_revision);
    let after = Address { freed: Some(now), updated: now, ..record.clone() };
    let txn = put(unlist(txn, record), place.key(), &after);
    put(txn, keys::due(now, place.block, place.address), &Due { id: record.id })
}

/// A deallocated address is held again, as `after` says. `entry` and `record` are what was read of it.
pub fn restore(place: Place, entry: &Entry, record: &Address, after: &Address) -> Txn {
    let txn = unchanged(Txn::new(), place.key(), entry.mod_revision);
    list(not_due(put(txn, place.key(), after), place, record), place, after)
}

/// An address can be given again. Nothing may join it to others. `entry` and `record` are what was read of it.
pub fn remove(place: Place, entry: &Entry, record: &Address) -> Txn {
    let Place { block, address } = place;
    let txn = unchanged(Txn::new(), place.key(), entry.mod_revision)
        .when(Compare::Empty(keys::nats(Side::Global, block, address)))
        .when(Compare::Empty(keys::nats(Side::Local, block, address)));
    let txn = delete(txn, place.key());
    let txn = delete(txn, keys::listed(List::Block(block), record.id));
    match record.freed {
        Some(_) => not_due(txn, place, record),
        None => unlist(txn, record),
    }
}

fn not_due(txn: Txn, place: Place, record: &Address) -> Txn {
    match record.freed {
        Some(since) => delete(txn, keys::due(since, place.block, place.address)),
        None => txn,
    }
}

/// An interface, and what was read of it: nothing, if it holds no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plug {
    /// Its id.
    pub id: OpaqueId,
    /// The record, and the revision at which it was read.
    pub before: Option<(Interface, Revision)>,
}

impl Plug {
    fn guard(&self, txn: Txn) -> Txn {
        let revision = self.before.as_ref().map_or(0, |(_, revision)| *revision);
        unchanged(txn, keys::interface(&self.id), revision)
    }

    fn mac(&self) -> Option<&String> {
        self.before.as_ref()?.0.mac.as_ref()
    }

    /// Adds to a transaction that the interface gets addresses, and is `after` that. A MAC address that it did not
    /// have must be nobody's.
    #[must_use]
    pub fn holds(&self, txn: Txn, after: &Interface) -> Txn {
        let txn = put(self.guard(txn), keys::interface(&self.id), after);
        let new = after.mac.as_ref().filter(|mac| self.mac() != Some(mac));
        let Some(new) = new else { return txn };
        let txn = self.mac().into_iter().fold(txn, |txn, old| delete(txn, keys::mac(old)));
        let key = keys::mac(new);
        put(txn.when(Compare::Absent(key.clone())), key, &Mac { interface: self.id.clone() })
    }

    /// Adds to a transaction that an address is taken from the interface. Without another one it is forgotten.
    #[must_use]
    pub fn gives_back(&self, txn: Txn, holds_others: bool) -> Txn {
        let (Some((interface, _)), key) = (&self.before, keys::interface(&self.id)) else {
            return self.guard(txn);
        };
        let txn = self.guard(txn);
        if holds_others {
            return put(txn, key, interface);
        }
        self.mac().into_iter().fold(delete(txn, key), |txn, mac| delete(txn, keys::mac(mac)))
    }
}

/// One of two addresses that a NAT joins, with its id and the revision at which it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// Where it is.
    pub place: Place,
    /// Its id.
    pub id: Uuid,
    /// When its key was made.
    pub since: Revision,
}

/// Adds to a transaction that an address outside stands for an inside one, both of which exist.
#[must_use]
pub fn join(txn: Txn, local: Joined, global: Joined) -> Txn {
    let sides = [(Side::Global, local, global), (Side::Local, global, local)];
    sides.into_iter().fold(txn, |txn, (side, own, other)| {
        let nat = Nat { block: other.place.block, address: other.place.address, own: own.id };
        let key = keys::nat(side, own.place.block, own.place.address, other.id);
        put(txn.when(Compare::CreateRevision(own.place.key(), own.since)), key, &nat)
    })
}

/// Adds to a transaction that an address is not joined any more to the one with that id, on that side.
#[must_use]
pub fn part(txn: Txn, side: Side, own: Place, other: Uuid, nat: &Nat) -> Txn {
    let txn = delete(txn, keys::nat(side, own.block, own.address, other));
    delete(txn, keys::nat(side.other(), nat.block, nat.address, nat.own))
}
