//! The datastore: ordered keys, transactions, watches and keys that expire, with etcd's semantics.
//!
//! * [`keys`]: the whole keyspace, both ways
//! * [`record`]: what the keys hold
//! * [`etcd`](mod@etcd): an etcd cluster (feature `etcd`)
//! * [`embedded`]: redb, in a file or in memory
//! * [`schema`]: the version of the layout
//! * [`leases`]: finds a free unit of a pool; the transactions of a lease's life
//! * [`melange`]: the transactions of the life of a tenant's address
//! * [`pages`]: ranges that are read to their end
//! * [`spread`]: pages of large ranges of which the keys end in random ids
//! * [`retry`]: the one place where retries are decided
//! * [`contract`]: what every store must do, as a suite (feature `contract`)
//!
//! Keys are relative: a store puts its own prefix before them. Revisions grow with every transaction that
//! writes; within a store, a key's create revision names one life of that key and nothing else.

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashSet;
use std::time::Duration;

#[cfg(feature = "contract")]
pub mod contract;
pub mod embedded;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod keys;
pub mod leases;
pub mod melange;
pub mod pages;
pub mod record;
pub mod retry;
pub mod schema;
pub mod spread;

pub use pages::{Pages, list_all};

/// The store's count of transactions that wrote.
pub type Revision = u64;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The key, without the store's prefix.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// Revision at which the key came into being.
    pub create_revision: Revision,
    /// Revision at which the value was last written.
    pub mod_revision: Revision,
}

/// A half-open range of keys: `from` is in it, `to` is not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// First key of the range.
    pub from: String,
    /// First key behind the range.
    pub to: String,
}

impl KeyRange {
    /// One key.
    pub fn key(key: impl Into<String>) -> Self {
        let from = key.into();
        let to = format!("{from}\0");
        Self { from, to }
    }

    /// All keys that start with a prefix, which must not be empty and ends in a character below U+007F.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        let from = prefix.into();
        let mut to = from.clone();
        if let Some(last) = to.pop() {
            to.push(char::from_u32(u32::from(last) + 1).unwrap_or(char::MAX));
        }
        Self { from, to }
    }

    /// The same range, but from behind `key` on.
    #[must_use]
    pub fn after(&self, key: &str) -> Self {
        Self { from: format!("{key}\0"), to: self.to.clone() }
    }

    /// Whether no key can be in the range.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Whether the key is in the range.
    pub fn contains(&self, key: &str) -> bool {
        self.from.as_str() <= key && key < self.to.as_str()
    }
}

/// Part of a range, in key order, all of it as of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether the range has more behind them.
    pub more: bool,
    /// Revision of the store when it was read: watch from the next one on.
    pub revision: Revision,
}

impl<T> Page<T> {
    /// The last item, if the range has more behind it.
    pub fn last_of_more(&self) -> Option<&T> {
        self.items.last().filter(|_| self.more)
    }
}

/// All of some ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The entries of each range that was asked for, in key order.
    pub ranges: Vec<Vec<Entry>>,
    /// A watch from the next revision on misses nothing.
    pub revision: Revision,
}

/// What must be true for a transaction to happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Compare {
    /// The key does not exist.
    Absent(String),
    /// The key exists since this revision.
    CreateRevision(String, Revision),
    /// The key was last written at this revision; 0 if it must not exist.
    ModRevision(String, Revision),
    /// No key of the range exists.
    Empty(KeyRange),
}

/// What a transaction does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    /// Writes a value.
    Put(String, Bytes),
    /// Writes a value that goes away with the TTL.
    PutWithTtl(String, Bytes, TtlId),
    /// Removes a key, if it is there.
    Delete(String),
}

/// Compares and operations that happen together or not at all. A key is written once at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Txn {
    /// All of these must hold.
    pub compares: Vec<Compare>,
    /// Then all of these are done.
    pub ops: Vec<Op>,
}

impl Txn {
    /// How many compares, and how many operations, one transaction may have (etcd's default limit).
    pub const MAX: usize = 128;
    /// How many bytes of keys and values one transaction may have: etcd's default limit, less room for its
    /// envelope and prefixes.
    pub const MAX_BYTES: usize = 1_400_000;

    /// A transaction that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Adds an operation.
    #[must_use]
    pub fn then(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    /// What both do, all or nothing.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.compares.extend(other.compares);
        self.ops.extend(other.ops);
        self
    }

    /// Checks what every store asks of a transaction, whatever it holds: the limits, and that no key is
    /// written twice.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        for (what, n) in [("compares", self.compares.len()), ("operations", self.ops.len())] {
            if n > Self::MAX {
                return Err(StoreError::refused(format!(
                    "a transaction of {n} {what}; at most {} are allowed",
                    Self::MAX
                )));
            }
        }
        let bytes: usize = self.ops.iter().map(|op| op.key().len() + op.value().map_or(0, Bytes::len)).sum();
        if bytes > Self::MAX_BYTES {
            return Err(StoreError::refused(format!(
                "a transaction of {bytes} bytes; at most {} are allowed",
                Self::MAX_BYTES
            )));
        }
        let mut seen = HashSet::new();
        match self.ops.iter().find(|op| !seen.insert(op.key())) {
            Some(op) => Err(StoreError::refused(format!("a transaction writes {} twice", op.key()))),
            None => Ok(()),
        }
    }
}

impl Op {
    /// The key that is written.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::PutWithTtl(key, _, _) | Self::Delete(key) => key,
        }
    }

    fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Put(_, value) | Self::PutWithTtl(_, value, _) => Some(value),
            Self::Delete(_) => None,
        }
    }
}

/// A time to live that was granted; keys written under it vanish when it is not renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TtlId(pub i64);

/// One change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key was written.
    Put(Entry),
    /// The key was removed or expired, at this revision.
    Delete(String, Revision),
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete(key, _) => key,
        }
    }

    /// The revision at which it changed.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(entry) => entry.mod_revision,
            Self::Delete(_, revision) => *revision,
        }
    }
}

/// A stream of changes. It ends with an error, or when the store shuts down.
pub type Watch = tokio::sync::mpsc::Receiver<Result<Event, StoreError>>;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A compare of the transaction did not hold; nothing was written.
    #[error("something that the change depends on has changed meanwhile")]
    Conflict,
    /// The store can't be reached or did not answer in time. A transaction may have happened or not, or may
    /// still happen.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What was tried.
        reason: String,
        /// What failed.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The store is older than it was before: somebody restored a backup. A transaction may have happened. Told to
    /// one caller or a few; [`Store::rewinds`] tells everybody.
    #[error("the store went back to an earlier state")]
    Rewound,
    /// The history that a watch asked for is gone: list again, and watch from there.
    #[error("revision {0} is compacted away")]
    Compacted(Revision),
    /// The TTL has expired or never existed.
    #[error("the TTL is unknown")]
    UnknownTtl,
    /// The store refuses for a reason that trying again does not cure (authentication, a limit).
    #[error("the store refuses: {reason}")]
    Refused {
        /// What it said.
        reason: String,
        /// What failed.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Rewound)
    }

    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into(), source: None }
    }

    pub(crate) fn unavailable(
        reason: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { reason: reason.into(), source: Some(source.into()) }
    }
}

/// A datastore with etcd's semantics. Every call ends within the store's own time-out.
#[async_trait]
pub trait Store: Send + Sync {
    /// One key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// The first `limit` entries of a range; with 0, only whether it has any.
    async fn list(&self, range: &KeyRange, limit: usize) -> Result<Page<Entry>, StoreError>;

    /// The first `limit` keys of a range, without their values.
    async fn list_keys(&self, range: &KeyRange, limit: usize) -> Result<Page<String>, StoreError>;

    /// All entries of some ranges: a few entries, for which one call is better than several. None of them is older than
    /// the revision; some may be newer, if the store can't read all at once.
    async fn snapshot(&self, ranges: &[KeyRange]) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot { ranges: Vec::new(), revision: Revision::MAX };
        for range in ranges {
            let page = list_all(self, range).await?;
            snapshot.ranges.push(page.items);
            snapshot.revision = snapshot.revision.min(page.revision);
        }
        Ok(snapshot)
    }

    /// How many keys a range has.
    async fn count(&self, range: &KeyRange) -> Result<u64, StoreError>;

    /// Does all operations if all compares hold, and answers the revision; [`StoreError::Conflict`] if not.
    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError>;

    /// The changes of some ranges, those at revision `from` included. A list at revision r is continued, without
    /// a gap, by a watch from r + 1. The changes of one range come in order.
    async fn watch(&self, ranges: &[KeyRange], from: Revision) -> Result<Watch, StoreError>;

    /// Grants a time to live, which starts now. A store may make it longer: etcd rounds up to seconds, and
    /// grants no less than a few.
    async fn grant_ttl(&self, ttl: Duration) -> Result<TtlId, StoreError>;

    /// Starts a time to live anew.
    async fn renew_ttl(&self, id: TtlId) -> Result<(), StoreError>;

    /// Ends a time to live, and removes its keys.
    async fn revoke_ttl(&self, id: TtlId) -> Result<(), StoreError>;

    /// How often this store was seen to have gone back to an earlier state, as after the restore of a backup.
    /// Whoever remembers what it read before must read it again.
    fn rewinds(&self) -> u64 {
        0
    }

    /// How often the way to the store was interrupted. A backup can only have been restored in between.
    fn interruptions(&self) -> u64 {
        0
    }

    /// How far the store's log is ahead of its revision, if it can tell. An entry of the log moves the revision by
    /// one at most, so that this does not shrink as long as the store goes on. A backup that is restored keeps the
    /// revision and starts another log: it shrinks. An answer may be too great by what is written meanwhile.
    async fn lead(&self) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range = KeyRange::prefix("pool/");
        assert_eq!(range.to, "pool0");
        assert!(range.contains("pool/a") && !range.contains("pool0") && !range.contains("pool"));
        let after = range.after("pool/a");
        assert!(!after.contains("pool/a") && after.contains("pool/a-") && after.contains("pool/b"));
    }
}
