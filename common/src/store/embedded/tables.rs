//! The tables of the embedded store, and what one change does to them. Nothing here commits.

use crate::store::{Compare, Entry, Event, KeyRange, Op, Page, Revision, StoreError, TtlId, Txn};
use bytes::Bytes;
use redb::{
    Database, Error, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};
use std::time::Duration;

/// Key → create revision, mod revision, TTL (0 is none), value.
const ENTRIES: TableDefinition<&str, Stored> = TableDefinition::new("entries");
/// TTL → its length in milliseconds.
const TTLS: TableDefinition<i64, u64> = TableDefinition::new("ttls");
/// The keys that go away with a TTL.
const TTL_KEYS: TableDefinition<(i64, &str), ()> = TableDefinition::new("ttl_keys");
/// Counters by name.
const COUNTERS: TableDefinition<&str, u64> = TableDefinition::new("counters");

const FORMAT: &str = "format";
const REVISION: &str = "revision";
const LAST_TTL: &str = "last_ttl";
/// The layout of these tables.
const FORMAT_VERSION: u64 = 1;
/// An empty store's revision, as in etcd.
const FIRST_REVISION: Revision = 1;

type Stored = (u64, u64, i64, &'static [u8]);

/// What a change came to: its own answer, or why it was not made.
pub(super) type Outcome = Result<u64, StoreError>;

/// What was changed, at which revisions.
pub(super) type Changed = Vec<(Revision, Vec<Event>)>;

/// The tables, open for writing.
pub(super) struct Tables<'t> {
    entries: Table<'t, &'static str, Stored>,
    ttls: Table<'t, i64, u64>,
    ttl_keys: Table<'t, (i64, &'static str), ()>,
    counters: Table<'t, &'static str, u64>,
    revision: Revision,
    /// What was changed since the tables were opened.
    events: Changed,
    dirty: bool,
}

/// Makes the tables in an empty database; checks their format in another one.
pub(super) fn initialise(database: &Database) -> Result<Result<(), StoreError>, Error> {
    let writing = database.begin_write()?;
    {
        let mut tables = Tables::open(&writing)?;
        let format = tables.counters.get(FORMAT)?.map(|format| format.value());
        match format {
            Some(FORMAT_VERSION) => return Ok(Ok(())),
            Some(other) => {
                return Ok(Err(StoreError::refused(format!(
                    "the file has format {other}, and this program knows format {FORMAT_VERSION}"
                ))));
            }
            None => tables.counters.insert(FORMAT, FORMAT_VERSION)?,
        };
    }
    writing.commit()?;
    Ok(Ok(()))
}

impl<'t> Tables<'t> {
    pub(super) fn open(writing: &'t WriteTransaction) -> Result<Self, Error> {
        let counters = writing.open_table(COUNTERS)?;
        let revision = counters.get(REVISION)?.map_or(FIRST_REVISION, |revision| revision.value());
        Ok(Self {
            entries: writing.open_table(ENTRIES)?,
            ttls: writing.open_table(TTLS)?,
            ttl_keys: writing.open_table(TTL_KEYS)?,
            counters,
            revision,
            events: Vec::new(),
            dirty: false,
        })
    }

    /// Ends the work on the tables: what was changed, at which revision; `None` if there is nothing to commit.
    pub(super) fn finish(mut self) -> Result<Option<Changed>, Error> {
        if !self.dirty {
            return Ok(None);
        }
        self.counters.insert(REVISION, self.revision)?;
        Ok(Some(self.events))
    }

    /// A transaction; answers its revision.
    pub(super) fn txn(&mut self, txn: Txn) -> Result<Outcome, Error> {
        for compare in &txn.compares {
            if !self.holds(compare)? {
                return Ok(Err(StoreError::Conflict));
            }
        }
        for op in &txn.ops {
            if let Op::PutWithTtl(_, _, TtlId(id)) = op
                && self.ttls.get(id)?.is_none()
            {
                return Ok(Err(StoreError::UnknownTtl));
            }
        }
        let mut events = Vec::with_capacity(txn.ops.len());
        for op in txn.ops {
            match op {
                Op::Put(key, value) => events.push(self.put(key, value, 0)?),
                Op::PutWithTtl(key, value, TtlId(id)) => events.push(self.put(key, value, id)?),
                Op::Delete(key) => events.extend(self.delete(key)?),
            }
        }
        Ok(Ok(self.advance(events)))
    }

    /// A new TTL; answers its id.
    pub(super) fn grant(&mut self, ttl: Duration) -> Result<Outcome, Error> {
        let last = self.counters.get(LAST_TTL)?.map_or(0, |last| last.value());
        let Ok(id) = i64::try_from(last + 1) else {
            return Ok(Err(StoreError::refused("no TTL id is left")));
        };
        self.counters.insert(LAST_TTL, last + 1)?;
        self.ttls.insert(id, millis(ttl))?;
        self.dirty = true;
        Ok(Ok(last + 1))
    }

    /// Ends a TTL and removes its keys; answers the revision.
    pub(super) fn revoke(&mut self, id: i64) -> Result<Outcome, Error> {
        if self.ttls.remove(id)?.is_none() {
            return Ok(Err(StoreError::UnknownTtl));
        }
        self.dirty = true;
        let mut keys = Vec::new();
        for item in self.ttl_keys.range((id, "")..)? {
            let (owner, key) = {
                let (guard, _) = item?;
                let (owner, key) = guard.value();
                (owner, key.to_owned())
            };
            if owner != id {
                break;
            }
            keys.push(key);
        }
        let mut events = Vec::with_capacity(keys.len());
        for key in keys {
            events.extend(self.delete(key)?);
        }
        Ok(Ok(self.advance(events)))
    }

    /// The length of a TTL.
    pub(super) fn ttl(&self, id: i64) -> Result<Option<Duration>, Error> {
        Ok(self.ttls.get(id)?.map(|length| Duration::from_millis(length.value())))
    }

    /// All TTLs with their lengths.
    pub(super) fn all_ttls(&self) -> Result<Vec<(i64, Duration)>, Error> {
        let mut all = Vec::new();
        for item in self.ttls.iter()? {
            let (id, length) = item?;
            all.push((id.value(), Duration::from_millis(length.value())));
        }
        Ok(all)
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    fn advance(&mut self, events: Vec<Event>) -> Revision {
        if !events.is_empty() {
            self.revision += 1;
            self.events.push((self.revision, events));
            self.dirty = true;
        }
        self.revision
    }

    fn holds(&self, compare: &Compare) -> Result<bool, Error> {
        let revisions = |key: &str| -> Result<(u64, u64), Error> {
            Ok(self.entries.get(key)?.map_or((0, 0), |stored| {
                let (created, modified, ..) = stored.value();
                (created, modified)
            }))
        };
        Ok(match compare {
            Compare::Absent(key) => revisions(key)?.0 == 0,
            Compare::CreateRevision(key, revision) => revisions(key)?.0 == *revision,
            Compare::ModRevision(key, revision) => revisions(key)?.1 == *revision,
            Compare::Empty(range) => {
                range.is_empty()
                    || self
                        .entries
                        .range(range.from.as_str()..range.to.as_str())?
                        .next()
                        .transpose()?
                        .is_none()
            }
        })
    }

    fn put(&mut self, key: String, value: Bytes, ttl: i64) -> Result<Event, Error> {
        let next = self.revision + 1;
        let before = self.entries.get(key.as_str())?.map(|stored| {
            let (created, _, ttl, _) = stored.value();
            (created, ttl)
        });
        let (created, old_ttl) = before.unwrap_or((next, 0));
        if old_ttl != ttl {
            self.ttl_keys.remove((old_ttl, key.as_str()))?;
        }
        if ttl != 0 {
            self.ttl_keys.insert((ttl, key.as_str()), ())?;
        }
        self.entries.insert(key.as_str(), (created, next, ttl, value.as_ref()))?;
        Ok(Event::Put(Entry { key, value, create_revision: created, mod_revision: next }))
    }

    fn delete(&mut self, key: String) -> Result<Option<Event>, Error> {
        let Some(ttl) = self.entries.remove(key.as_str())?.map(|stored| stored.value().2) else {
            return Ok(None);
        };
        if ttl != 0 {
            self.ttl_keys.remove((ttl, key.as_str()))?;
        }
        Ok(Some(Event::Delete(key, self.revision + 1)))
    }
}

/// One key.
pub(super) fn get(database: &Database, key: &str) -> Result<Option<Entry>, Error> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    Ok(entries.get(key)?.map(|stored| entry(key, stored.value())))
}

/// The first entries of a range.
pub(super) fn list<T>(
    database: &Database,
    range: &KeyRange,
    limit: usize,
    item: impl Fn(&str, (u64, u64, i64, &[u8])) -> T,
) -> Result<Page<T>, Error> {
    let reading = database.begin_read()?;
    let mut page = Page { items: Vec::new(), more: false, revision: revision(&reading)? };
    if range.is_empty() {
        return Ok(page);
    }
    let entries = reading.open_table(ENTRIES)?;
    for found in entries.range(range.from.as_str()..range.to.as_str())? {
        let (key, stored) = found?;
        if page.items.len() == limit {
            page.more = true;
            break;
        }
        page.items.push(item(key.value(), stored.value()));
    }
    Ok(page)
}

/// How many keys a range has.
pub(super) fn count(database: &Database, range: &KeyRange) -> Result<u64, Error> {
    if range.is_empty() {
        return Ok(0);
    }
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    let mut count = 0;
    for found in entries.range(range.from.as_str()..range.to.as_str())? {
        found?;
        count += 1;
    }
    Ok(count)
}

fn revision(reading: &ReadTransaction) -> Result<Revision, Error> {
    let counters = reading.open_table(COUNTERS)?;
    Ok(counters.get(REVISION)?.map_or(FIRST_REVISION, |revision| revision.value()))
}

pub(super) fn entry(key: &str, (created, modified, _, value): (u64, u64, i64, &[u8])) -> Entry {
    Entry {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value),
        create_revision: created,
        mod_revision: modified,
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
