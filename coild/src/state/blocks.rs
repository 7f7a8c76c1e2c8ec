//! Blocks coming and going, and what the lease keeper and the mirror have to do about them.

use super::{BlockId, Change, Held, Holder, Place, Standing, State};
use common::ipam::{Block, Family, Pool, Segment, Unit};
use common::name::PoolName;
use common::pool_id::PoolId;
use common::store::Revision;
use common::store::record::{Allocation, BlockMirror};
use std::collections::{BTreeMap, BTreeSet};

/// A pool that runs low.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Need {
    /// The pool.
    pub pool: PoolName,
    /// The family of which a block is needed.
    pub family: Family,
}

/// A block whose mirror is behind.
#[derive(Debug, Clone)]
pub struct MirrorItem {
    /// The block.
    pub id: BlockId,
    /// The revision that made the node the holder of its lease.
    pub token: Revision,
    /// Version of the allocations in `record`.
    pub version: u64,
    /// What the mirror has to say.
    pub record: BlockMirror,
}

impl State {
    /// Adds a block that the node has leased, or that it finds among its leases, with what is known of its
    /// holders. Does nothing if the node holds it already. `pool` is the pool as it was when the lease was sure, and
    /// says what is never given from the block: the pools that the state knows may be older.
    pub fn add_block(
        &mut self,
        id: &BlockId,
        token: Revision,
        standing: Standing,
        pool: &Pool,
        holders: Vec<Allocation>,
        now: u64,
    ) {
        if self.blocks.contains_key(id) {
            return;
        }
        // A pool without a space of the family has no such block: nothing is given from it.
        let unusable = match pool.space(id.unit.family()) {
            Ok(space) => pool.unusable(id.unit, &space),
            Err(_) => vec![(0, (1 << id.unit.bits().min(Unit::MAX_BITS)) - 1)],
        };
        self.add(id, token, standing, unusable, None);
        if let Some((pool, family)) = id.stock() {
            self.full.remove(&Need { pool, family });
        }
        for record in holders {
            self.hold_recorded(id, record, now);
        }
    }

    /// Adds an address of a namespace's pool, likewise. `segment` is the network that it is in.
    pub fn add_address(
        &mut self,
        id: &BlockId,
        token: Revision,
        standing: Standing,
        segment: Segment,
        holders: Vec<Allocation>,
        now: u64,
    ) {
        if self.blocks.contains_key(id) {
            return;
        }
        self.add(id, token, standing, Vec::new(), Some(Box::new(segment)));
        for record in holders {
            self.hold_recorded(id, record, now);
        }
    }

    fn add(
        &mut self,
        id: &BlockId,
        token: Revision,
        standing: Standing,
        unusable: Vec<(u32, u32)>,
        segment: Option<Box<Segment>>,
    ) {
        let (put, runs) = (segment.clone(), unusable.clone());
        self.changes.push(Change::PutBlock { id: id.clone(), token, standing, unusable: runs, segment: put });
        self.insert_block(id.clone(), token, standing, unusable, segment);
    }

    /// Puts a holder into a block that was rebuilt, unless the address has one. Returns whether it was added.
    pub fn hold_recorded(&mut self, id: &BlockId, record: Allocation, now: u64) -> bool {
        let offset = record.offset;
        let holder = Box::new(Holder::of_record(record));
        if !self.restore_holder(id, offset, holder.clone()) {
            return false;
        }
        self.changes.push(Change::Hold(id.clone(), offset, holder));
        self.touch(id, now);
        true
    }

    /// A sequence number for an allocation that is recorded from elsewhere.
    pub fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// A block as the journal has it.
    pub fn insert_block(
        &mut self,
        id: BlockId,
        token: Revision,
        standing: Standing,
        unusable: Vec<(u32, u32)>,
        segment: Option<Box<Segment>>,
    ) {
        let block = Block::new(id.unit, unusable);
        self.put(id, Held { block, token, standing, segment, version: 0, mirrored: 0, behind_since: None });
    }

    /// A holder as the journal has it. Returns whether the address was free.
    pub fn restore_holder(&mut self, id: &BlockId, offset: u32, holder: Box<Holder>) -> bool {
        let (attachment, sequence) = (holder.attachment.clone(), holder.sequence);
        if self.change(id, offset, |block| block.restore(offset, holder)) != Some(Ok(())) {
            return false;
        }
        self.sequence = self.sequence.max(sequence);
        let places = self.attachments.entry(attachment).or_default();
        places.push(Place { id: id.clone(), offset });
        places.sort_by_key(|place| place.id.unit.family());
        true
    }

    /// A resting address as the journal has it.
    pub fn restore_resting(&mut self, id: &BlockId, offset: u32, freed_at: u64) {
        self.change(id, offset, |block| block.rest(offset, freed_at));
    }

    /// Makes the mirror write every block again.
    pub fn touch_all(&mut self, now: u64) {
        let ids: Vec<BlockId> = self.blocks.keys().cloned().collect();
        for id in ids {
            self.touch(&id, now);
        }
    }

    /// The blocks that the node holds, with the revisions of their leases.
    pub fn leases(&self) -> BTreeMap<BlockId, (Revision, Standing)> {
        self.blocks.iter().map(|(id, held)| (id.clone(), (held.token, held.standing))).collect()
    }

    /// The blocks of a pool that the node holds, fenced ones too.
    pub fn units(&self, pool: &PoolName) -> BTreeSet<Unit> {
        self.blocks.keys().filter(|id| id.pool == *pool).map(|id| id.unit).collect()
    }

    /// The addresses that the kernel should route to this node: every block whose lease the node has.
    pub fn routed(&self) -> BTreeSet<Unit> {
        // Addresses of a namespace's pool are reached on the network that they are in.
        let routed = |(id, held): (&BlockId, &Held)| {
            (held.standing != Standing::Fenced && id.pool.coil().is_some()).then_some(id.unit)
        };
        self.blocks.iter().filter_map(routed).collect()
    }

    /// Closes a block because its lease, known by its revision, is gone.
    pub fn fence(&mut self, id: &BlockId, token: Revision) -> bool {
        let Some(held) = self.blocks.get(id) else { return false };
        if held.token != token || held.standing == Standing::Fenced {
            return false;
        }
        self.set_standing(id, Standing::Fenced);
        self.changes.push(Change::Stand(id.clone(), Standing::Fenced));
        self.drop_if_fenced_and_empty(id);
        true
    }

    /// Opens the blocks that were rebuilt: by now it is certain that all their holders are known.
    pub fn end_quarantine(&mut self) -> usize {
        let ended = self.quarantined();
        for id in &ended {
            self.set_standing(id, Standing::Open);
            self.changes.push(Change::Stand(id.clone(), Standing::Open));
        }
        ended.len()
    }

    /// The blocks in quarantine.
    pub fn quarantined(&self) -> Vec<BlockId> {
        let quarantined = |held: &Held| held.standing == Standing::Quarantined;
        self.blocks.iter().filter(|(_, held)| quarantined(held)).map(|(id, _)| id.clone()).collect()
    }

    /// The pools in use that have fewer free addresses than the low-water mark.
    pub fn needs(&mut self, now: u64) -> Vec<Need> {
        self.wake_all(now);
        let in_use: BTreeSet<Need> = self
            .blocks
            .keys()
            .filter_map(|id| Some(Need { pool: id.pool.coil()?.clone(), family: id.unit.family() }))
            .filter(|need| self.pools.get(&need.pool).is_some_and(|pool| !pool.disabled))
            .collect();
        in_use.into_iter().filter(|need| self.is_low(&need.pool, need.family)).collect()
    }

    /// Whether a pool runs low, as of the last time that addresses were woken.
    pub fn is_low(&self, pool: &PoolName, family: Family) -> bool {
        self.stock(pool, family)
            .is_none_or(|stock| stock.spare() < self.settings.low_water && !stock.rests_enough())
    }

    /// Takes blocks out that are entirely free and have cooled down, and returns them for their leases to be
    /// released. One of each pool and family stays, to be warm, unless the pool is disabled.
    pub fn take_idle(&mut self, now: u64) -> Vec<(BlockId, Revision)> {
        let cooldown = self.cooldown();
        let mut warm: BTreeSet<(PoolName, Family)> = BTreeSet::new();
        let mut idle = Vec::new();
        for (id, held) in &self.blocks {
            let Some(key) = id.stock() else { continue };
            let disabled = self.pools.get(&key.0).is_none_or(|pool| pool.disabled);
            let resting_allowed = disabled && held.block.is_empty();
            if held.standing != Standing::Open || !(resting_allowed || held.block.is_idle(now, cooldown)) {
                continue;
            }
            if disabled || !warm.insert(key) {
                idle.push((id.clone(), held.token));
            }
        }
        for (id, _) in &idle {
            self.withdraw(id);
            self.changes.push(Change::RemoveBlock(id.clone()));
        }
        idle
    }

    /// At most `limit` blocks whose mirror is behind, those waiting longest first.
    pub fn behind(&self, limit: usize) -> Vec<MirrorItem> {
        let mut behind: Vec<(u64, &BlockId, &Held)> = self
            .blocks
            .iter()
            .filter(|(_, held)| held.standing != Standing::Fenced)
            .filter_map(|(id, held)| Some((held.behind_since?, id, held)))
            .collect();
        behind.sort_by_key(|(since, id, _)| (*since, *id));
        behind.truncate(limit);
        behind
            .into_iter()
            .map(|(_, id, held)| MirrorItem {
                id: id.clone(),
                token: held.token,
                version: held.version,
                record: BlockMirror {
                    prefix: id.unit.net().prefix_len(),
                    segment: held.segment.as_deref().cloned(),
                    held: held.block.held().map(|(offset, holder)| holder.to_record(offset)).collect(),
                },
            })
            .collect()
    }

    /// Notes what the mirror has written.
    pub fn mirrored(&mut self, written: &[(BlockId, u64)], now: u64) {
        for (id, version) in written {
            if let Some(held) = self.blocks.get_mut(id) {
                held.mirrored = held.mirrored.max(*version);
                held.behind_since = (held.version > held.mirrored).then_some(now);
            }
        }
    }

    pub(super) fn blocks_of(
        &self,
        pool: &PoolName,
        family: Family,
    ) -> impl Iterator<Item = (&BlockId, &Held)> {
        let first = Unit::containing(family.address(0), 0);
        let pool = PoolId::from(pool.clone());
        self.blocks
            .range(BlockId { pool: pool.clone(), unit: first }..)
            .take_while(move |(id, _)| id.pool == pool && id.unit.family() == family)
    }
}
