//! The store and the way to it: each call waits until the simulation lets it happen, or fail.

use async_trait::async_trait;
use coil_verify::map::Map;
use common::store::{Entry, Event, KeyRange, Op, Page, Revision, Store, StoreError, TtlId, Txn, Watch};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Who calls: the number of a node, or the operator.
pub(crate) type Caller = usize;

/// What is on its way.
#[derive(Default)]
pub(crate) struct Net {
    pub(crate) map: Map,
    history: Vec<Event>,
    pub(crate) calls: Vec<Call>,
    pub(crate) watches: Vec<Following>,
    /// Transactions whose caller was told that they failed, and that happen later, or never.
    pub(crate) late: Vec<Txn>,
}

/// A call that waits.
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) what: What,
}

/// What is asked, and where the answer goes.
pub(crate) enum What {
    Get(String, Answer<Option<Entry>>),
    List(KeyRange, usize, Answer<Page<Entry>>),
    Keys(KeyRange, usize, Answer<Page<String>>),
    Count(KeyRange, Answer<u64>),
    Txn(Txn, Answer<Revision>),
    Watch(Vec<KeyRange>, Revision, Answer<Watch>),
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// A watch that is open.
pub(crate) struct Following {
    pub(crate) caller: Caller,
    ranges: Vec<KeyRange>,
    /// The next change of the history to look at.
    at: usize,
    events: mpsc::Sender<Result<Event, StoreError>>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It happens, and is answered.
    Answered,
    /// It happens, and the answer is lost.
    Unanswered,
    /// It does not happen.
    Failed,
    /// It fails, and happens later.
    Late,
}

impl Net {
    /// Does a transaction at once.
    pub(crate) fn txn(&mut self, txn: &Txn) -> Result<Revision, StoreError> {
        let events = self.map.txn(txn).ok_or(StoreError::Conflict)?;
        self.history.extend(events);
        Ok(self.map.revision())
    }

    /// Lets a call happen or fail.
    pub(crate) fn settle(&mut self, call: Call, fate: Fate) {
        match call.what {
            What::Get(key, answer) => reply(answer, fate, self.map.get(&key).cloned()),
            What::List(range, limit, answer) => {
                reply(answer, fate, self.map.page(&range, limit, Entry::clone));
            }
            What::Keys(range, limit, answer) => {
                reply(answer, fate, self.map.page(&range, limit, |entry| entry.key.clone()));
            }
            What::Count(range, answer) => reply(answer, fate, self.map.range(&range).count() as u64),
            What::Watch(ranges, from, answer) => {
                let at = self.history.iter().take_while(|event| event.revision() < from).count();
                let (events, watch) = mpsc::channel(64);
                if fate == Fate::Answered {
                    self.watches.push(Following { caller: call.caller, ranges, at, events });
                }
                reply(answer, fate, watch);
            }
            What::Txn(txn, answer) => {
                let outcome = match fate {
                    Fate::Answered => self.txn(&txn),
                    Fate::Unanswered => self.txn(&txn).and(Err(unavailable())),
                    Fate::Failed => Err(unavailable()),
                    Fate::Late => {
                        self.late.push(txn);
                        Err(unavailable())
                    }
                };
                // Who does not wait any more has no use for it.
                let _ = answer.send(outcome);
            }
        }
    }

    /// Delivers the next change that a watch is interested in; whether there was one.
    pub(crate) fn deliver(&mut self, which: usize) -> bool {
        let watch = &mut self.watches[which];
        while let Some(event) = self.history.get(watch.at) {
            if !watch.ranges.iter().any(|range| range.contains(event.key())) {
                watch.at += 1;
                continue;
            }
            let sent = watch.events.try_send(Ok(event.clone())).is_ok();
            watch.at += usize::from(sent);
            return sent;
        }
        false
    }

    /// Ends a watch.
    pub(crate) fn cut(&mut self, which: usize) {
        self.watches.swap_remove(which);
    }

    /// Somebody is gone: what he asked for last may still happen.
    pub(crate) fn forget(&mut self, caller: Caller, still: bool) {
        let (gone, calls) =
            std::mem::take(&mut self.calls).into_iter().partition(|call| call.caller == caller);
        self.calls = calls;
        let gone: Vec<Call> = gone;
        let txns = gone.into_iter().filter_map(|call| match call.what {
            What::Txn(txn, _) => Some(txn),
            _ => None,
        });
        self.late.extend(txns.filter(|_| still));
        self.watches.retain(|watch| watch.caller != caller);
    }
}

impl Call {
    /// For the trace: who asks for what.
    pub(crate) fn describe(&self) -> String {
        let what = match &self.what {
            What::Get(key, _) => format!("get {key}"),
            What::List(range, ..) => format!("list {}", range.from),
            What::Keys(range, ..) => format!("keys {}", range.from),
            What::Count(range, _) => format!("count {}", range.from),
            What::Txn(txn, _) => {
                // Which block was changed first is a matter of the wall clock.
                let mut compares: Vec<String> = txn.compares.iter().map(|it| format!("{it:?}")).collect();
                compares.sort();
                let mut keys: Vec<&str> = txn.ops.iter().map(Op::key).collect();
                keys.sort_unstable();
                format!("txn {compares:?} {keys:?}")
            }
            What::Watch(ranges, from, _) => {
                let ranges: Vec<&str> = ranges.iter().map(|range| range.from.as_str()).collect();
                format!("watch {} from {from}", ranges.join(" "))
            }
        };
        format!("{}: {what}", self.caller)
    }
}

fn reply<T>(answer: Answer<T>, fate: Fate, value: T) {
    // Who does not wait any more has no use for it.
    let _ = answer.send(if fate == Fate::Answered { Ok(value) } else { Err(unavailable()) });
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { reason: "simulated".to_owned(), source: None }
}

/// The store as one caller sees it.
pub(crate) struct Client {
    pub(crate) net: Arc<Mutex<Net>>,
    pub(crate) caller: Caller,
}

impl Client {
    async fn ask<T>(&self, what: impl FnOnce(Answer<T>) -> What) -> Result<T, StoreError> {
        let (answer, outcome) = oneshot::channel();
        lock(&self.net).calls.push(Call { caller: self.caller, what: what(answer) });
        outcome.await.unwrap_or_else(|_| Err(unavailable()))
    }
}

pub(crate) fn lock(net: &Mutex<Net>) -> MutexGuard<'_, Net> {
    net.lock().expect("nothing panics with the lock held")
}

#[async_trait]
impl Store for Client {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.ask(|answer| What::Get(key.to_owned(), answer)).await
    }

    async fn list(&self, range: &KeyRange, limit: usize) -> Result<Page<Entry>, StoreError> {
        self.ask(|answer| What::List(range.clone(), limit, answer)).await
    }

    async fn list_keys(&self, range: &KeyRange, limit: usize) -> Result<Page<String>, StoreError> {
        self.ask(|answer| What::Keys(range.clone(), limit, answer)).await
    }

    async fn count(&self, range: &KeyRange) -> Result<u64, StoreError> {
        self.ask(|answer| What::Count(range.clone(), answer)).await
    }

    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.ask(|answer| What::Txn(txn, answer)).await
    }

    async fn watch(&self, ranges: &[KeyRange], from: Revision) -> Result<Watch, StoreError> {
        self.ask(|answer| What::Watch(ranges.to_vec(), from, answer)).await
    }

    async fn grant_ttl(&self, _: Duration) -> Result<TtlId, StoreError> {
        Err(StoreError::UnknownTtl)
    }

    async fn renew_ttl(&self, _: TtlId) -> Result<(), StoreError> {
        Err(StoreError::UnknownTtl)
    }

    async fn revoke_ttl(&self, _: TtlId) -> Result<(), StoreError> {
        Err(StoreError::UnknownTtl)
    }
}
