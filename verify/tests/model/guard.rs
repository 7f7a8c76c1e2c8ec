//! The guards of the protocol. Each can be left out, to see that something breaks without it.

use common::store::{Compare, Txn, keys};
use std::fmt;

/// One precaution of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// To acquire compares the lease as absent.
    AcquireLease,
    /// To acquire compares the pool's revision.
    AcquirePool,
    /// To acquire compares that no restore of the store is being dealt with.
    AcquireRestored,
    /// A node that has heard of a restore leases nothing before it has announced it.
    AnnounceFirst,
    /// The mirror compares the lives of the indexes that it writes.
    MirrorToken,
    /// A release compares the revision of the index.
    ReleaseIndex,
    /// A release compares the token.
    ReleaseToken,
    /// A release takes the block out of the journal first.
    ReleaseJournalFirst,
    /// Adopting writes the index before the block is used.
    AdoptWrites,
    /// Adopting compares token and index.
    AdoptCompares,
    /// A lease that a complete journal does not know is removed, and not used.
    Discard,
    /// Discarding compares index and lease.
    DiscardCompares,
    /// A block whose lease is gone is fenced.
    Fence,
    /// The lease of a fenced block that has no holder is created again.
    Protect,
    /// A machine that was off compares its leases with the store before it gives anything.
    CatchUp,
    /// A reply follows the commit to the journal.
    CommitFirst,
    /// Blocks that are rebuilt after the loss of the journal are quarantined.
    Quarantine,
    /// The journal counts as complete only when every lease was adopted.
    CompleteLast,
    /// An orphan is freed by its sequence number.
    ExactFree,
    /// A removal compares that the node is not alive.
    ReclaimAlive,
    /// A removal compares the lives of what it deletes.
    ReclaimLives,
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Acquire,
    Mirror,
    Release,
    Adopt,
    Discard,
    Protect,
    Announce,
    Reclaim,
}

impl Guard {
    /// The transaction without this guard.
    pub(crate) fn weaken(self, kind: Kind, mut txn: Txn) -> Txn {
        txn.compares.retain(|compare| !self.is(kind, compare));
        txn
    }

    fn is(self, kind: Kind, compare: &Compare) -> bool {
        match (self, kind) {
            (Self::AcquireLease, Kind::Acquire) => {
                matches!(compare, Compare::Absent(key) if key != keys::RESTORED)
            }
            (Self::AcquireRestored, Kind::Acquire) => {
                matches!(compare, Compare::Absent(key) if key == keys::RESTORED)
            }
            (Self::ReclaimAlive, Kind::Reclaim) => matches!(compare, Compare::Absent(_)),
            (Self::AcquirePool, Kind::Acquire) => matches!(compare, Compare::ModRevision(..)),
            (Self::ReleaseIndex, Kind::Release) => {
                matches!(compare, Compare::ModRevision(key, _) if key.starts_with("block/"))
            }
            (Self::ReleaseToken, Kind::Release) => {
                matches!(compare, Compare::ModRevision(key, _) if key.starts_with("lease/"))
            }
            (Self::MirrorToken, Kind::Mirror) => matches!(compare, Compare::CreateRevision(..)),
            (Self::ReclaimLives, Kind::Reclaim) => !matches!(compare, Compare::Absent(_)),
            (Self::AdoptCompares, Kind::Adopt) | (Self::DiscardCompares, Kind::Discard) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
