//! The store on an etcd cluster.
//!
//! * [`config`]: how to reach it
//! * [`connection`]: its members, failing over between them, and authentication
//! * [`watch`]: its changes as they come
//! * [`error`]: what its errors mean
//! * [`past`]: whether it went back to an earlier state
//!
//! Nothing is sent before the first call. While the cluster is away every call answers
//! [`StoreError::Unavailable`]; calls succeed again as soon as it is back.

mod config;
mod connection;
mod error;
mod past;
mod watch;

pub use config::EtcdConfig;

use super::{
    Compare, Entry, KeyRange, Op, Page, Revision, Snapshot, Store, StoreError, TtlId, Txn, Watch, list_all,
};
use crate::fault;
use async_trait::async_trait;
use bytes::Bytes;
use connection::{Connection, Member, Repeat};
use etcd_client::{
    Compare as EtcdCompare, CompareOp, GetOptions, GetResponse, KeyValue, PutOptions, Txn as EtcdTxn, TxnOp,
    TxnOpResponse, WatchOptions,
};
use past::Past;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many entries one answer has at most.
const PAGE: usize = 500;
/// How many keys without values one answer has at most.
const KEYS_PAGE: usize = 10_000;
/// How many changes a watcher may have received and not taken.
const CHANNEL: usize = 128;

/// An etcd cluster as a store.
pub struct Etcd {
    connection: Connection,
    prefix: String,
    past: Past,
}

impl Etcd {
    /// Checks the configuration. No connection is made before the first call.
    pub fn connect(config: &EtcdConfig) -> Result<Self, StoreError> {
        let (connection, prefix) = (Connection::new(config)?, config.prefix.clone());
        Ok(Self { connection, prefix, past: Past::default() })
    }

    fn absolute(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    async fn read(
        &self,
        from: Vec<u8>,
        options: GetOptions,
        revision: Revision,
    ) -> Result<GetResponse, StoreError> {
        let asked = self.past.seen();
        let answer = self
            .connection
            .call(Repeat::Allowed, revision, |mut member: Member| {
                let (from, options) = (from.clone(), options.clone());
                async move { member.kv.get(from, Some(options)).await }
            })
            .await?;
        self.past.note(asked, answer.header())?;
        Ok(answer)
    }

    /// A page read in several answers, all of them as of the first one's revision.
    async fn pages<T>(
        &self,
        range: &KeyRange,
        limit: usize,
        at_once: usize,
        item: impl Fn(&KeyValue) -> T,
    ) -> Result<Page<T>, StoreError> {
        let mut options = GetOptions::new().with_range(self.absolute(&range.to));
        if at_once == KEYS_PAGE {
            options = options.with_keys_only();
        }
        let mut page = Page { items: Vec::new(), more: false, revision: 0 };
        let mut from = self.absolute(&range.from);
        loop {
            // To etcd, 0 is no limit.
            let wanted = at_once.min(limit.saturating_sub(page.items.len())).max(1);
            let options = options.clone().with_limit(to_etcd(wanted as u64));
            let options = match page.revision {
                0 => options,
                pinned => options.with_revision(to_etcd(pinned)),
            };
            let answer = self.read(from, options, page.revision).await?;
            if page.revision == 0 {
                page.revision = answer.header().map_or(0, |header| from_etcd(header.revision()));
            }
            page.items.extend(answer.kvs().iter().map(&item));
            page.more = answer.more() || page.items.len() > limit;
            page.items.truncate(limit);
            match answer.kvs().last() {
                Some(last) if page.more && page.items.len() < limit => from = [last.key(), b"\0"].concat(),
                _ => return Ok(page),
            }
        }
    }

    fn compare(&self, compare: Compare) -> EtcdCompare {
        let equals = CompareOp::Equal;
        match compare {
            Compare::Absent(key) => EtcdCompare::create_revision(self.absolute(&key), equals, 0),
            Compare::CreateRevision(key, revision) => {
                EtcdCompare::create_revision(self.absolute(&key), equals, to_etcd(revision))
            }
            Compare::ModRevision(key, revision) => {
                EtcdCompare::mod_revision(self.absolute(&key), equals, to_etcd(revision))
            }
            // Every key of the range must have create revision 0: none has, so there must be no key.
            Compare::Empty(range) => EtcdCompare::create_revision(self.absolute(&range.from), equals, 0)
                .with_range(self.absolute(&range.to)),
        }
    }

    fn operation(&self, op: Op) -> TxnOp {
        match op {
            Op::Put(key, value) => TxnOp::put(self.absolute(&key), value, None),
            Op::PutWithTtl(key, value, TtlId(id)) => {
                TxnOp::put(self.absolute(&key), value, Some(PutOptions::new().with_lease(id)))
            }
            Op::Delete(key) => TxnOp::delete(self.absolute(&key), None),
        }
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let answer = self.read(self.absolute(key), GetOptions::new(), 0).await?;
        Ok(answer.kvs().first().map(|kv| entry(&self.prefix, kv)))
    }

    async fn list(&self, range: &KeyRange, limit: usize) -> Result<Page<Entry>, StoreError> {
        self.pages(range, limit, PAGE, |kv| entry(&self.prefix, kv)).await
    }

    async fn list_keys(&self, range: &KeyRange, limit: usize) -> Result<Page<String>, StoreError> {
        self.pages(range, limit, KEYS_PAGE, |kv| relative(&self.prefix, kv.key())).await
    }

    async fn snapshot(&self, ranges: &[KeyRange]) -> Result<Snapshot, StoreError> {
        let options = |range: &KeyRange| {
            GetOptions::new().with_range(self.absolute(&range.to)).with_limit(to_etcd(PAGE as u64))
        };
        let read = |range: &KeyRange| TxnOp::get(self.absolute(&range.from), Some(options(range)));
        let txn = EtcdTxn::new().and_then(ranges.iter().map(read).collect::<Vec<_>>());
        let asked = self.past.seen();
        let answer = self
            .connection
            .call(Repeat::Allowed, 0, |mut member: Member| {
                let txn = txn.clone();
                async move { member.kv.txn(txn).await }
            })
            .await?;
        self.past.note(asked, answer.header())?;
        let revision = answer.header().map_or(0, |header| from_etcd(header.revision()));
        let mut snapshot = Snapshot { ranges: Vec::with_capacity(ranges.len()), revision };
        for (range, read) in ranges.iter().zip(answer.op_responses()) {
            let TxnOpResponse::Get(read) = read else {
                return Err(StoreError::refused("it answers something else"));
            };
            let mut entries: Vec<Entry> = read.kvs().iter().map(|kv| entry(&self.prefix, kv)).collect();
            if let Some(last) = entries.last().filter(|_| read.more()) {
                entries.extend(list_all(self, &range.after(&last.key)).await?.items);
            }
            snapshot.ranges.push(entries);
        }
        Ok(snapshot)
    }

    async fn count(&self, range: &KeyRange) -> Result<u64, StoreError> {
        let options = GetOptions::new().with_range(self.absolute(&range.to)).with_count_only();
        Ok(from_etcd(self.read(self.absolute(&range.from), options, 0).await?.count()))
    }

    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError> {
        txn.check()?;
        let compares: Vec<_> = txn.compares.into_iter().map(|compare| self.compare(compare)).collect();
        let operations: Vec<_> = txn.ops.into_iter().map(|op| self.operation(op)).collect();
        let txn = EtcdTxn::new().when(compares).and_then(operations);
        let asked = self.past.seen();
        fault::point("store.txn.before");
        let answer = self
            .connection
            .call(Repeat::Forbidden, 0, |mut member: Member| {
                let txn = txn.clone();
                async move { member.kv.txn(txn).await }
            })
            .await?;
        fault::point("store.txn.after");
        self.past.note(asked, answer.header())?;
        if !answer.succeeded() {
            return Err(StoreError::Conflict);
        }
        Ok(answer.header().map_or(0, |header| from_etcd(header.revision())))
    }

    async fn watch(&self, ranges: &[KeyRange], from: Revision) -> Result<Watch, StoreError> {
        let from = from.max(1);
        let request = |range: &KeyRange| {
            let options = WatchOptions::new().with_start_revision(to_etcd(from));
            (self.absolute(&range.from), options.with_range(self.absolute(&range.to)))
        };
        let requests: Vec<_> = ranges.iter().map(request).collect();
        let opened = self
            .connection
            .call(Repeat::Allowed, from, |member: Member| watch::open(member, requests.clone(), from))
            .await?;
        let (events, watch) = mpsc::channel(CHANNEL);
        let interruptions = Arc::clone(&self.connection.interruptions);
        tokio::spawn(watch::follow(opened, from, self.prefix.clone(), events, interruptions));
        Ok(watch)
    }

    async fn grant_ttl(&self, ttl: Duration) -> Result<TtlId, StoreError> {
        let seconds = to_etcd(ttl.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)).max(1);
        let answer =
            self.connection
                // One that was granted and never heard of expires by itself.
                .call(Repeat::Allowed, 0, |mut member: Member| async move {
                    member.lease.grant(seconds, None).await
                })
                .await?;
        Ok(TtlId(answer.id()))
    }

    async fn renew_ttl(&self, TtlId(id): TtlId) -> Result<(), StoreError> {
        let renew = |mut member: Member| async move { member.lease.keep_alive(id).await.map(drop) };
        self.connection.call(Repeat::Allowed, 0, renew).await
    }

    async fn revoke_ttl(&self, TtlId(id): TtlId) -> Result<(), StoreError> {
        let revoke = |mut member: Member| async move { member.lease.revoke(id).await.map(drop) };
        self.connection.call(Repeat::Forbidden, 0, revoke).await
    }

    fn rewinds(&self) -> u64 {
        self.past.rewinds()
    }

    fn interruptions(&self) -> u64 {
        self.connection.interruptions.load(Ordering::Relaxed)
    }

    async fn lead(&self) -> Result<Option<i64>, StoreError> {
        let ask = |mut member: Member| async move { member.maintenance.status().await };
        let status = match self.connection.call(Repeat::Allowed, 0, ask).await {
            // Some servers tell it to administrators only.
            Err(StoreError::Refused { .. }) => return Ok(None),
            answer => answer?,
        };
        let applied = to_etcd(status.raft_applied_index());
        Ok(status.header().filter(|_| applied > 0).map(|header| applied.saturating_sub(header.revision())))
    }
}

fn entry(prefix: &str, kv: &KeyValue) -> Entry {
    Entry {
        key: relative(prefix, kv.key()),
        value: Bytes::copy_from_slice(kv.value()),
        create_revision: from_etcd(kv.create_revision()),
        mod_revision: from_etcd(kv.mod_revision()),
    }
}

fn relative(prefix: &str, key: &[u8]) -> String {
    let relative = key.strip_prefix(prefix.as_bytes()).unwrap_or(key);
    String::from_utf8_lossy(relative).into_owned()
}

/// Numbers of etcd's are never negative.
fn from_etcd(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn to_etcd(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
