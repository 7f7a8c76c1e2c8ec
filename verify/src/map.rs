//! What a store means, as a value: it can be copied, compared and hashed, and does all at once what it is asked.
//! A property test holds it against the embedded store.

use async_trait::async_trait;
use common::store::{
    Compare, Entry, Event, KeyRange, Op, Page, Revision, Store, StoreError, TtlId, Txn, Watch,
};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The entries of a store. Keys do not expire by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Map {
    entries: BTreeMap<String, Entry>,
    revision: Revision,
}

impl Default for Map {
    fn default() -> Self {
        // An empty store's revision, as in etcd.
        Self { entries: BTreeMap::new(), revision: 1 }
    }
}

impl Map {
    /// The revision of the last transaction that wrote.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The entries of a range, in key order.
    pub fn range<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .range(range.from.clone()..)
            .map(|(_, entry)| entry)
            .take_while(|entry| entry.key < range.to)
    }

    /// Does all operations if all compares hold, and answers the changes; `None` if not.
    pub fn txn(&mut self, txn: &Txn) -> Option<Vec<Event>> {
        if !txn.compares.iter().all(|compare| self.holds(compare)) {
            return None;
        }
        let revision = self.revision + 1;
        let events: Vec<Event> = txn.ops.iter().filter_map(|op| self.write(op, revision)).collect();
        if !events.is_empty() {
            self.revision = revision;
        }
        Some(events)
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Absent(key) => !self.entries.contains_key(key),
            Compare::CreateRevision(key, revision) => {
                self.get(key).map_or(0, |entry| entry.create_revision) == *revision
            }
            Compare::ModRevision(key, revision) => {
                self.get(key).map_or(0, |entry| entry.mod_revision) == *revision
            }
            Compare::Empty(range) => range.is_empty() || self.range(range).next().is_none(),
        }
    }

    fn write(&mut self, op: &Op, revision: Revision) -> Option<Event> {
        match op {
            Op::Put(key, value) | Op::PutWithTtl(key, value, _) => {
                let created = self.get(key).map_or(revision, |entry| entry.create_revision);
                let (create_revision, mod_revision) = (created, revision);
                let entry = Entry { key: key.clone(), value: value.clone(), create_revision, mod_revision };
                self.entries.insert(key.clone(), entry.clone());
                Some(Event::Put(entry))
            }
            Op::Delete(key) => self.entries.remove(key).map(|entry| Event::Delete(entry.key, revision)),
        }
    }

    /// Every revision that an entry has, to be changed.
    pub fn revisions_mut(&mut self) -> impl Iterator<Item = &mut Revision> {
        self.entries.values_mut().flat_map(|entry| [&mut entry.create_revision, &mut entry.mod_revision])
    }

    /// Goes on counting behind this revision, which must not be before any entry's.
    pub fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// Reads a value and a part of a range as a store does.
    pub fn page<T>(&self, range: &KeyRange, limit: usize, item: impl Fn(&Entry) -> T) -> Page<T> {
        let items: Vec<T> = self.range(range).take(limit).map(item).collect();
        let more = self.range(range).nth(items.len()).is_some();
        Page { items, more, revision: self.revision }
    }
}

/// A map as a [`Store`] in which every call is done at once. It has no watches and no times to live.
#[derive(Debug, Default)]
pub struct MapStore(Mutex<Map>);

impl MapStore {
    /// A store that holds what the map holds.
    pub fn new(map: Map) -> Self {
        Self(Mutex::new(map))
    }

    /// What it holds in the end.
    pub fn into_map(self) -> Map {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused<T>(what: &str) -> Result<T, StoreError> {
    Err(StoreError::Refused { reason: format!("a map has no {what}"), source: None })
}

#[async_trait]
impl Store for MapStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.map().get(key).cloned())
    }

    async fn list(&self, range: &KeyRange, limit: usize) -> Result<Page<Entry>, StoreError> {
        Ok(self.map().page(range, limit, Entry::clone))
    }

    async fn list_keys(&self, range: &KeyRange, limit: usize) -> Result<Page<String>, StoreError> {
        Ok(self.map().page(range, limit, |entry| entry.key.clone()))
    }

    async fn count(&self, range: &KeyRange) -> Result<u64, StoreError> {
        Ok(self.map().range(range).count() as u64)
    }

    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError> {
        let mut map = self.map();
        map.txn(&txn).map(|_| map.revision()).ok_or(StoreError::Conflict)
    }

    async fn watch(&self, _: &[KeyRange], _: Revision) -> Result<Watch, StoreError> {
        refused("watches")
    }

    async fn grant_ttl(&self, _: Duration) -> Result<TtlId, StoreError> {
        refused("times to live")
    }

    async fn renew_ttl(&self, _: TtlId) -> Result<(), StoreError> {
        refused("times to live")
    }

    async fn revoke_ttl(&self, _: TtlId) -> Result<(), StoreError> {
        refused("times to live")
    }
}
