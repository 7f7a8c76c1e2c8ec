//! Pods that got no address are told of in the store, from where a controller makes Events of Kubernetes of them.
//!
//! An ADD only leaves a note, and waits for nothing. What can't be written, or is too much, is lost: the next try of the pod
//! tells it again. Nothing is written while no controller wants to know.
//!
//! * [`table`]: what is to be told, pure

mod table;

pub use table::Refusal;

use crate::allocate::AllocationError;
use crate::allocator::AllocatorError;
use crate::lease_keeper::LeaseError;
use crate::state::AllocateError;
use common::clock::now_millis;
use common::error::chain;
use common::name::{NodeName, PodText};
use common::store::record::{self, Reason};
use common::store::{Op, Store, StoreError, Txn, keys};
use std::sync::Arc;
use std::time::Duration;
use table::{STREAK, Table};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Notes that may wait.
const QUEUE: usize = 64;
/// Pods that fail at the same moment are told of together.
const GATHER: Duration = Duration::from_millis(200);
/// Between two transactions.
const PAUSE: Duration = Duration::from_secs(10);

/// Where refusals are noted; clones share it.
#[derive(Clone)]
pub struct Refusals(mpsc::Sender<Refusal>);

impl Refusals {
    /// Where to note refusals, and what tells of them while it runs.
    pub fn new(node: NodeName, store: Arc<dyn Store>) -> (Self, Teller) {
        let (sender, inbox) = mpsc::channel(QUEUE);
        (Self(sender), Teller { node, store, inbox, table: Table::default() })
    }

    /// Notes that a pod got no address, if that is for people to know. Never waits.
    pub fn note(&self, namespace: PodText, pod: PodText, error: &AllocationError) {
        let Some(reason) = reason(error) else { return };
        // When there are too many, some are lost.
        let _ = self.0.try_send(Refusal { namespace, pod, reason, message: chain(error) });
    }
}

/// Why a pod got no address; nothing if it has one, or if the daemon ends.
fn reason(error: &AllocationError) -> Option<Reason> {
    match error {
        AllocationError::Refused(refused) | AllocationError::TimedOut(refused) => of_state(refused),
        AllocationError::NoBlock { source, .. } | AllocationError::Chosen(source) => of_lease(source),
        AllocationError::ChosenTimedOut => Some(Reason::AddressNotGiven),
        AllocationError::Allocator(error) => of_allocator(error),
    }
}

fn of_state(error: &AllocateError) -> Option<Reason> {
    match error {
        AllocateError::Held { .. } => None,
        AllocateError::NothingFree { .. } | AllocateError::NoneListed { full: true, .. } => {
            Some(Reason::NoFreeAddress)
        }
        AllocateError::NoPool { .. }
        | AllocateError::Disabled(_)
        | AllocateError::NoFamily(..)
        | AllocateError::NoneListed { full: false, .. }
        | AllocateError::WrongChoice { .. } => Some(Reason::NoUsablePool),
        AllocateError::NotLeased { .. }
        | AllocateError::Outside(..)
        | AllocateError::OutsideAll(_)
        | AllocateError::Reserved(..)
        | AllocateError::Taken(_)
        | AllocateError::Closed(_) => Some(Reason::AddressUnavailable),
    }
}

fn of_lease(error: &LeaseError) -> Option<Reason> {
    match error {
        LeaseError::PoolFull { .. } | LeaseError::NoAddress(_) => Some(Reason::NoFreeAddress),
        LeaseError::NoPool(_) => Some(Reason::NoUsablePool),
        LeaseError::BlockTaken(..) | LeaseError::Outside(_) | LeaseError::Elsewhere { .. } => {
            Some(Reason::AddressUnavailable)
        }
        LeaseError::Record(..)
        | LeaseError::ChosenRecord(..)
        | LeaseError::Restored
        | LeaseError::Store(_) => Some(Reason::AddressNotGiven),
        LeaseError::Refused(refused) => of_state(refused),
        LeaseError::Allocator(error) => of_allocator(error),
        LeaseError::Stopped => None,
    }
}

fn of_allocator(error: &AllocatorError) -> Option<Reason> {
    match error {
        AllocatorError::Journal(_) => Some(Reason::AddressNotGiven),
        AllocatorError::Stopped => None,
    }
}

/// Tells of refusals.
pub struct Teller {
    node: NodeName,
    store: Arc<dyn Store>,
    inbox: mpsc::Receiver<Refusal>,
    table: Table,
}

impl Teller {
    /// Tells until nobody can note anything any more.
    pub async fn run(mut self) {
        let (mut next, mut earliest) = (None, Instant::now());
        loop {
            tokio::select! {
                noted = self.inbox.recv() => {
                    let Some(refusal) = noted else { return };
                    let now = now_millis();
                    self.table.note(refusal, now);
                    if next.is_none() && self.table.is_due(now) {
                        next = Some(earliest.max(Instant::now() + GATHER));
                    }
                }
                () = sleep_until(next.unwrap_or(earliest)), if next.is_some() => {
                    next = None;
                    earliest = Instant::now() + PAUSE;
                    if let Err(error) = self.tell().await {
                        tracing::debug!(error = %chain(&error), "nobody is told which pods got no address");
                    }
                }
            }
        }
    }

    async fn tell(&mut self) -> Result<(), StoreError> {
        if self.store.get(keys::KUBERNETES_EVENTS).await?.is_none() {
            return Ok(());
        }
        let now = now_millis();
        let due = self.table.due(now);
        if due.is_empty() {
            return Ok(());
        }
        let ttl = self.store.grant_ttl(Duration::from_millis(STREAK)).await?;
        let put = |(slot, refused): &(u8, _)| {
            Op::PutWithTtl(keys::refused(&self.node, *slot), record::encode(refused), ttl)
        };
        self.store.txn(due.iter().map(put).fold(Txn::new(), Txn::then)).await?;
        self.table.told(&due, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::store::embedded::Embedded;
    use common::store::list_all;
    use common::store::record::Refused;

    fn text(text: &str) -> PodText {
        PodText::new(text).expect("text")
    }

    fn full() -> AllocationError {
        AllocationError::Chosen(LeaseError::NoAddress("all of them are in use".to_owned()))
    }

    async fn told(store: &dyn Store) -> Vec<(String, Refused)> {
        let entries = list_all(store, &keys::all_refused()).await.expect("read").items;
        let told = |entry: common::store::Entry| {
            let refused = record::decode(&entry.key, &entry.value).expect("a record");
            (entry.key, refused)
        };
        entries.into_iter().map(told).collect()
    }

    #[tokio::test]
    async fn what_is_told_is_in_the_store_if_somebody_wants_to_know() {
        let store: Arc<dyn Store> = Arc::new(Embedded::in_memory().await.expect("store"));
        let (refusals, mut teller) = Refusals::new(NodeName::new("n1").expect("name"), Arc::clone(&store));
        refusals.note(text("ns"), text("a"), &full());
        refusals.note(text("ns"), text("b"), &full());
        refusals.note(text("ns"), text("ends"), &AllocationError::Allocator(AllocatorError::Stopped));
        while let Ok(refusal) = teller.inbox.try_recv() {
            teller.table.note(refusal, now_millis());
        }
        teller.tell().await.expect("asked");
        assert!(told(store.as_ref()).await.is_empty());
        let wanted = Op::Put(keys::KUBERNETES_EVENTS.to_owned(), record::encode(&record::melange::Mark {}));
        store.txn(Txn::new().then(wanted)).await.expect("written");
        teller.tell().await.expect("told");
        let [(key, a), (_, b)] = <[_; 2]>::try_from(told(store.as_ref()).await).expect("two");
        assert_eq!((key.as_str(), a.pod.as_str(), b.pod.as_str()), ("refused/n1/00", "a", "b"));
        assert_eq!((a.reason, a.count), (Reason::NoFreeAddress, 1));
        assert_eq!(a.message, "no address can be given: all of them are in use");
        assert!(!teller.table.is_due(now_millis()), "it is told once");
    }

    #[test]
    fn notes_never_wait() {
        let rt = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let store: Arc<dyn Store> = Arc::new(rt.block_on(Embedded::in_memory()).expect("store"));
        let (refusals, teller) = Refusals::new(NodeName::new("n1").expect("name"), store);
        for n in 0..10 * QUEUE {
            refusals.note(text("ns"), text(&format!("p{n}")), &full());
        }
        assert_eq!(teller.inbox.len(), QUEUE);
    }
}
