//! A store that went back to an earlier state, because somebody restored a backup of it.
//!
//! It has forgotten leases, and their blocks look free to everybody. So whoever notices first announces it, and
//! nobody leases a block while the announcement lasts; the holders claim theirs again meanwhile.

use super::{LeaseError, LeaseKeeper};
use crate::state::State;
use common::store::record::{self, Restored};
use common::store::{Op, StoreError, Txn, keys};
use std::time::Duration;

/// How long nobody leases a block. A node that lives notices with its next call, which it makes within a few
/// seconds.
const SETTLE: Duration = Duration::from_secs(30);

impl LeaseKeeper {
    /// Tells every node that a backup was restored, and has the mirror written as a whole.
    pub(super) async fn announce_restore(&self) -> Result<(), LeaseError> {
        let ttl = self.store.grant_ttl(SETTLE).await?;
        let restored = record::encode(&Restored { node: self.node.to_string() });
        self.store.txn(Txn::new().then(Op::PutWithTtl(keys::RESTORED.to_owned(), restored, ttl))).await?;
        tracing::error!(
            "the store went back to an earlier state: a backup was restored. Blocks leased since the backup was made \
             are closed, and their addresses stay with their containers"
        );
        self.metrics.restores.add(1);
        self.allocator.run(State::touch_all).await?;
        self.allocator.signals().changed.notify_one();
        Ok(())
    }

    /// Whether the nodes are still claiming what is theirs.
    pub(super) async fn is_settling(&self) -> Result<bool, StoreError> {
        Ok(self.store.get(keys::RESTORED).await?.is_some())
    }
}
