//! Where the next address of a block is looked for. Requests of this controller take their candidates from one cursor,
//! so that they don't meet each other; what other controllers give meanwhile only fails a comparison.
//!
//! It is a hint and nothing else: what it says to be free is given only if nobody has it, and that nothing is free is
//! believed only after all of the block has been looked at.

use common::ipam::{Space, Unit};
use common::store::keys::melange as keys;
use common::store::leases::FreeUnits;
use common::store::{Revision, Store, StoreError};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// How many free addresses are kept in mind of a block: as many as the first page of a search tells.
const CANDIDATES: usize = 64;
/// How many blocks are kept in mind.
const BLOCKS: usize = 10_000;

/// What is known of the blocks of which addresses were given.
#[derive(Debug, Default)]
pub(super) struct Cursors(Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<Cursor>>>>);

#[derive(Debug, Default)]
struct Cursor {
    /// The policy's revision that the candidates are of.
    policy: Revision,
    candidates: VecDeque<IpAddr>,
    /// The index in the space at which the search goes on.
    next: u128,
}

impl Cursors {
    /// An address of a block's space that nobody had a moment ago; `None` if all of it is taken. `policy` is the
    /// revision of the policy that the space follows from.
    pub(super) async fn candidate(
        &self,
        store: &dyn Store,
        block: Uuid,
        policy: Revision,
        space: impl FnOnce() -> Space,
    ) -> Result<Option<IpAddr>, StoreError> {
        let cursor = self.of(block);
        let mut cursor = cursor.lock().await;
        if cursor.policy != policy {
            *cursor = Cursor { policy, ..Cursor::default() };
        }
        if let Some(address) = cursor.candidates.pop_front() {
            return Ok(Some(address));
        }
        let space = space();
        let mut free = FreeUnits::below(store, keys::addresses(block).from, &space, cursor.next);
        let units = free.next_units(CANDIDATES).await?;
        cursor.next = units.last().and_then(|last| space.index_of(*last)).map_or(0, |last| last + 1);
        cursor.candidates = units.iter().map(Unit::first).collect();
        Ok(cursor.candidates.pop_front())
    }

    /// Another controller has given an address that this one was about to give: it is some addresses further, so that
    /// the two don't meet at each one. What is skipped is found in the next round.
    pub(super) async fn skip(&self, block: Uuid, seed: u64) {
        let cursor = self.of(block);
        let mut cursor = cursor.lock().await;
        let some = usize::try_from(seed % 16).unwrap_or_default().min(cursor.candidates.len() / 2);
        cursor.candidates.drain(..some);
    }

    fn of(&self, block: Uuid) -> Arc<tokio::sync::Mutex<Cursor>> {
        let mut cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cursors.len() >= BLOCKS && !cursors.contains_key(&block) {
            cursors.clear();
        }
        Arc::clone(cursors.entry(block).or_default())
    }
}
