//! A node's journal as a value. The state is read from it for each decision and the changes are written back, so
//! that whatever a daemon decides it could also decide after a restart.

use coild::state::{BlockId, Change, Holder, Settings, Standing, State};
use common::ipam::Pool;
use common::name::PoolName;
use common::store::Revision;
use common::store::record::Allocation;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Journal {
    /// Whether it knows all that the node holds.
    pub(crate) complete: bool,
    pub(crate) sequence: u64,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    pub(crate) token: Revision,
    standing: u8,
    unusable: Vec<(u32, u32)>,
    pub(crate) held: BTreeMap<u32, Allocation>,
}

impl Block {
    pub(crate) fn is(&self, standing: Standing) -> bool {
        self.standing == standing as u8
    }

    fn standing(&self) -> Standing {
        [Standing::Open, Standing::Quarantined, Standing::Fenced]
            .into_iter()
            .find(|standing| self.is(*standing))
            .expect("written by this file")
    }
}

/// Nothing rests, and one free address is enough.
const SETTINGS: Settings = Settings { cooldown: Duration::ZERO, low_water: 1 };

impl Journal {
    /// What the daemon reads from it.
    pub(crate) fn state(&self, pools: &BTreeMap<PoolName, Pool>) -> State {
        let mut state = State::new(SETTINGS, self.sequence);
        state.set_pools(pools.clone());
        if self.complete {
            state.set_complete();
        }
        for (id, block) in &self.blocks {
            state.insert_block(id.clone(), block.token, block.standing(), block.unusable.clone(), None);
            for (offset, allocation) in &block.held {
                state.restore_holder(id, *offset, Box::new(Holder::of_record(allocation.clone())));
            }
        }
        // All of this is in the journal already.
        state.take_changes();
        state
    }

    /// Writes what has changed; answers the blocks whose allocations are others now.
    pub(crate) fn commit(&mut self, state: &mut State) -> BTreeSet<BlockId> {
        let mut touched = BTreeSet::new();
        for change in state.take_changes() {
            match change {
                Change::PutBlock { id, token, standing, unusable, segment: _ } => {
                    let standing = standing as u8;
                    self.blocks.insert(id, Block { token, standing, unusable, held: BTreeMap::new() });
                }
                Change::Stand(id, standing) => self.block(&id).standing = standing as u8,
                Change::RemoveBlock(id) => {
                    touched.remove(&id);
                    self.blocks.remove(&id);
                }
                Change::Hold(id, offset, holder) => {
                    self.block(&id).held.insert(offset, holder.to_record(offset));
                    touched.insert(id);
                }
                Change::Rest(id, offset, _) => {
                    self.block(&id).held.remove(&offset);
                    touched.insert(id);
                }
                Change::Complete => self.complete = true,
                Change::Keep(..) | Change::Pools(_) | Change::Choose(_) | Change::Boot(_) => {}
            }
        }
        self.sequence = state.sequence();
        touched
    }

    fn block(&mut self, id: &BlockId) -> &mut Block {
        self.blocks.get_mut(id).expect("a change of a block that is held")
    }

    /// Everything that is held.
    pub(crate) fn allocations(&self) -> impl Iterator<Item = (IpAddr, &Allocation)> {
        self.blocks.iter().flat_map(|(id, block)| {
            block.held.iter().filter_map(|(offset, held)| Some((id.unit.address(*offset)?, held)))
        })
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        self.blocks.values().any(|block| block.is(Standing::Quarantined))
    }
}
