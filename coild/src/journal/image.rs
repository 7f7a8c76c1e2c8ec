//! What the journal's lines add up to.

use super::{Commit, JournalError};
use crate::state::{BlockId, Change, Holder, Settings, Standing, State};
use common::ipam::{Pool, Segment};
use common::name::{PodText, PoolName};
use common::store::Revision;
use common::store::record::NamespaceChoice;
use std::collections::BTreeMap;

/// All that was committed.
#[derive(Default)]
pub(super) struct Image {
    sequence: u64,
    pools: BTreeMap<PoolName, Pool>,
    choices: BTreeMap<PodText, NamespaceChoice>,
    blocks: BTreeMap<BlockId, Block>,
    complete: bool,
    boot: Option<String>,
}

struct Block {
    token: Revision,
    standing: Standing,
    unusable: Vec<(u32, u32)>,
    segment: Option<Box<Segment>>,
    slots: BTreeMap<u32, Slot>,
    /// For whom an address that rests is kept.
    kept: Option<(PodText, PodText)>,
}

enum Slot {
    Held(Box<Holder>),
    Resting(u64),
}

impl Image {
    pub(super) fn apply(&mut self, commit: Commit<Vec<Change>>) -> Result<(), JournalError> {
        self.sequence = commit.sequence;
        for change in commit.changes {
            match change {
                Change::PutBlock { id, token, standing, unusable, segment } => {
                    let slots = BTreeMap::new();
                    self.blocks.insert(id, Block { token, standing, unusable, segment, slots, kept: None });
                }
                Change::Stand(id, standing) => self.block(id)?.standing = standing,
                Change::RemoveBlock(id) => {
                    self.blocks.remove(&id);
                }
                Change::Hold(id, offset, holder) => self.put(id, offset, Slot::Held(holder))?,
                Change::Rest(id, offset, freed_at) => self.put(id, offset, Slot::Resting(freed_at))?,
                Change::Keep(id, namespace, pod) => {
                    self.block(id)?.kept = Some((namespace, pod));
                }
                Change::Pools(pools) => self.pools = pools,
                Change::Choose(changed) => {
                    for (namespace, choice) in changed {
                        match choice {
                            Some(choice) => self.choices.insert(namespace, choice),
                            None => self.choices.remove(&namespace),
                        };
                    }
                }
                Change::Boot(boot) => self.boot = Some(boot),
                Change::Complete => self.complete = true,
            }
        }
        Ok(())
    }

    fn put(&mut self, id: BlockId, offset: u32, slot: Slot) -> Result<(), JournalError> {
        let block = self.block(id)?;
        block.kept = None;
        block.slots.insert(offset, slot);
        Ok(())
    }

    fn block(&mut self, id: BlockId) -> Result<&mut Block, JournalError> {
        self.blocks.get_mut(&id).ok_or_else(|| JournalError::Unknown(id.into()))
    }

    /// The state that was committed last. No block counts as mirrored.
    pub(super) fn into_state(self, settings: Settings, now: u64) -> State {
        let mut state = State::new(settings, self.sequence);
        state.set_pools(self.pools);
        state.set_choices(self.choices);
        if self.complete {
            state.set_complete();
        }
        if let Some(boot) = self.boot {
            state.set_boot(boot);
        }
        for (id, block) in self.blocks {
            state.insert_block(id.clone(), block.token, block.standing, block.unusable, block.segment);
            for (offset, slot) in block.slots {
                match slot {
                    Slot::Held(holder) => {
                        state.restore_holder(&id, offset, holder);
                    }
                    Slot::Resting(freed_at) => state.restore_resting(&id, offset, freed_at),
                }
            }
            if let Some((namespace, pod)) = block.kept {
                state.keep(&id, namespace, pod);
            }
        }
        state.touch_all(now);
        // All of this is in the journal already.
        state.take_changes();
        state
    }
}
