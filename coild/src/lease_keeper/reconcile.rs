//! What the journal says against what the store says.

use super::{LeaseError, LeaseKeeper};
use crate::mirror::fence;
use crate::state::{BlockId, Standing};
use common::error::chain;
use common::ipam::{Family, Unit};
use common::store::record::{self, BlockMirror, RecordError};
use common::store::{Compare, Entry, Op, StoreError, Txn, keys, list_all};
use std::collections::BTreeMap;

impl LeaseKeeper {
    /// Holds the state against the store: fences what has no lease any more, adopts leases without a block.
    pub async fn reconcile(&mut self) {
        let outcome = self.try_reconcile().await;
        self.note(&outcome);
        match outcome {
            Ok(settled) => self.unsure = !settled,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the leases can't be held against the store");
            }
        }
    }

    /// Returns whether every lease that can be read was dealt with; if not, it is worth another try soon.
    async fn try_reconcile(&self) -> Result<bool, LeaseError> {
        // The state first: a block that is added after this is in the list or was acquired by this very task.
        let (known, complete) = self.allocator.run(|state, _| (state.leases(), state.is_complete())).await?;
        let stored = list_all(self.store.as_ref(), &keys::blocks(&self.node)).await?;
        let (mut leased, mut all_read) = (BTreeMap::new(), true);
        for entry in stored.items {
            match parse(&entry) {
                Ok((id, mirror)) => {
                    leased.insert(id, (entry, mirror));
                }
                Err(error) => {
                    all_read = false;
                    tracing::error!(error = %chain(&error), "a block in the store is left alone");
                }
            }
        }
        for (id, (token, standing)) in &known {
            let lease = leased.get(id).map(|(entry, _)| entry.create_revision);
            if *standing != Standing::Fenced && lease != Some(*token) {
                fence(&self.allocator, id, *token).await?;
            }
        }
        let mut adopted_all = true;
        for (id, (entry, mirror)) in leased {
            if !known.contains_key(&id) {
                adopted_all &= self.adopt(id, &entry, mirror, complete).await?;
            }
        }
        // A block that is adopted later would count as empty if the journal counted as complete before.
        if adopted_all && all_read {
            self.allocator.run(|state, _| state.set_complete()).await?;
        }
        Ok(adopted_all)
    }

    /// Takes over a lease of this node that the state does not know. Its index is written first, so that a
    /// release of it that is still on its way fails. What the mirror says of its holders counts only if the
    /// journal was lost: a complete journal without the block means that nobody holds an address in it. Returns
    /// whether it was adopted; it is not if it changed meanwhile.
    async fn adopt(
        &self,
        id: BlockId,
        entry: &Entry,
        mirror: BlockMirror,
        complete: bool,
    ) -> Result<bool, LeaseError> {
        let token = entry.create_revision;
        let (standing, holders) =
            if complete { (Standing::Open, Vec::new()) } else { (Standing::Quarantined, mirror.held) };
        let index = BlockMirror { prefix: mirror.prefix, held: holders.clone() };
        let txn = Txn::new()
            .when(Compare::CreateRevision(keys::lease(&id.pool, id.unit), token))
            .when(Compare::ModRevision(entry.key.clone(), entry.mod_revision))
            .then(Op::Put(entry.key.clone(), record::encode(&index)));
        match self.store.txn(txn).await {
            Ok(_) => {}
            Err(StoreError::Conflict) => {
                tracing::warn!(pool = %id.pool, block = %id.unit, "a lease changed while it was adopted");
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        tracing::info!(pool = %id.pool, block = %id.unit, holders = holders.len(), ?standing, "adopted a block");
        self.allocator.run(move |state, now| state.add_block(&id, token, standing, holders, now)).await?;
        Ok(true)
    }
}

fn parse(entry: &Entry) -> Result<(BlockId, BlockMirror), RecordError> {
    let mirror: BlockMirror = record::decode(&entry.key, &entry.value)?;
    let malformed = || RecordError::Malformed {
        key: entry.key.clone(),
        source: serde::de::Error::custom("the key and the prefix name no block"),
    };
    let (_, pool, first) = keys::parse_block(&entry.key).ok_or_else(malformed)?;
    let bits = Family::of(first).bits().checked_sub(mirror.prefix).filter(|bits| *bits <= Unit::MAX_BITS);
    let unit = Unit::containing(first, bits.ok_or_else(malformed)?);
    if unit.first() == first { Ok((BlockId { pool, unit }, mirror)) } else { Err(malformed()) }
}
