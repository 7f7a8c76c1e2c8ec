//! A store that went back to an earlier state, because somebody restored a backup of it.
//!
//! It has forgotten leases, and their blocks look free to everybody. So whoever notices first announces it, and
//! nobody leases a block while the announcement lasts; the holders claim theirs again meanwhile.

use super::target::Targets;
use super::{LeaseError, LeaseKeeper};
use crate::state::State;
use common::store::record::{self, Restored};
use common::store::{Compare, Op, StoreError, Txn, keys};
use std::time::Duration;

/// How long nobody leases a block. A node that lives notices with its next call, which it makes within a few
/// seconds.
const SETTLE: Duration = Duration::from_secs(30);

/// What a restore makes the log fall behind at least. What was noted may be too great by as much as etcd wrote while
/// it answered, though hardly three times in a row.
const MARGIN: i64 = 8;

/// Whose history the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum History {
    /// That of the store that was used before, as far as can be told.
    Same,
    /// A backup was restored.
    Another,
}

/// What is noted of the store's history.
enum Noted {
    /// The store can't be compared with it.
    Unknown,
    /// This, and it may well be this store's.
    Fits(i64),
    /// Nothing; how it is to be done.
    Missing(Txn),
    /// What is another history's; how to note this one.
    Stale(Txn),
}

impl LeaseKeeper {
    /// Nothing is leased from a store that went back before that is announced: whose blocks look free is not known.
    pub(super) async fn is_same_store(&mut self) -> Result<(), LeaseError> {
        let same = self.compare_history().await? == History::Same && self.store.rewinds() == self.rewinds;
        self.unsure |= !same;
        if same { Ok(()) } else { Err(LeaseError::Restored) }
    }

    /// Compares the store's history with what was noted of it, if the way to it was interrupted since. By this alone a
    /// node learns of a restore that has seen nothing of what was before, or less than there is again.
    pub(super) async fn compare_history(&mut self) -> Result<History, LeaseError> {
        let interruptions = self.store.interruptions();
        if self.compared == Some(interruptions) {
            return Ok(History::Same);
        }
        match self.noted().await? {
            Noted::Unknown => self.compared = Some(interruptions),
            Noted::Fits(lead) if self.noted.is_none_or(|known| known == lead) => {
                (self.compared, self.noted) = (Some(interruptions), Some(lead));
            }
            Noted::Missing(note) if self.noted.is_none() => match self.store.txn(note).await {
                // Another node may be faster. The next comparison reads what was noted.
                Ok(_) | Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            },
            Noted::Fits(_) | Noted::Missing(_) | Noted::Stale(_) => return Ok(History::Another),
        }
        Ok(History::Same)
    }

    async fn noted(&self) -> Result<Noted, StoreError> {
        let Some(mut lead) = self.store.lead().await? else { return Ok(Noted::Unknown) };
        let entry = self.store.get(keys::HISTORY).await?;
        if let Some(entry) = &entry {
            // One that can't be read was written by a later version, which sees to it.
            let noted = record::decode::<record::History>(&entry.key, &entry.value);
            let Ok(record::History { lead: noted }) = noted else { return Ok(Noted::Unknown) };
            if lead >= noted.saturating_sub(MARGIN) {
                return Ok(Noted::Fits(noted));
            }
        }
        for _ in 0..2 {
            lead = lead.min(self.store.lead().await?.unwrap_or(lead));
        }
        let revision = entry.as_ref().map_or(0, |entry| entry.mod_revision);
        let note = Txn::new()
            .when(Compare::ModRevision(keys::HISTORY.to_owned(), revision))
            .then(Op::Put(keys::HISTORY.to_owned(), record::encode(&record::History { lead })));
        Ok(if entry.is_some() { Noted::Stale(note) } else { Noted::Missing(note) })
    }

    /// Tells every node that a backup was restored, and has the mirror written as a whole.
    pub(super) async fn announce_restore(&mut self) -> Result<(), LeaseError> {
        // If another node notes the new history first, this is tried again.
        let note = match self.noted().await? {
            Noted::Missing(note) | Noted::Stale(note) => note,
            Noted::Fits(_) | Noted::Unknown => Txn::new(),
        };
        let ttl = self.store.grant_ttl(SETTLE).await?;
        let restored = record::encode(&Restored { node: self.node.to_string() });
        let announce = Op::PutWithTtl(keys::RESTORED.to_owned(), restored, ttl);
        self.store.txn(note.then(announce)).await?;
        tracing::error!(
            "the store went back to an earlier state: a backup was restored. Blocks leased since the backup was made \
             are closed, and their addresses stay with their containers"
        );
        self.metrics.restores.inc();
        // Revisions mean something else now.
        self.leaser.forget();
        self.targets = Targets::default();
        self.allocator.run(State::touch_all).await?;
        self.allocator.signals().changed.notify_one();
        // The next comparison reads what is noted now.
        (self.compared, self.noted) = (None, None);
        Ok(())
    }

    /// Whether the nodes are still claiming what is theirs.
    pub(super) async fn is_settling(&self) -> Result<bool, StoreError> {
        Ok(self.store.get(keys::RESTORED).await?.is_some())
    }
}
