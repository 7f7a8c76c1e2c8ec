//! What the open blocks of a pool have to give, kept up to date with each change, so that choosing an address
//! costs the same however many blocks the node holds.

use super::{BlockId, Held, Holder, Standing, State};
use common::ipam::{Block, Family, Unit, rested};
use common::name::PoolName;
use std::collections::BTreeSet;

/// As many addresses of a pool may rest on a node, or as many as are held there, before cooldowns are cut short.
const MAX_RESTING: usize = 1_024;

/// The open blocks of one pool and family.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stock {
    /// The blocks that have addresses which neither are held nor rest.
    roomy: BTreeSet<Unit>,
    /// How many such addresses there are.
    spare: u32,
    /// How many addresses are held.
    held: usize,
    /// The addresses that rest: since when, block and offset.
    resting: BTreeSet<(u64, Unit, u32)>,
}

impl Stock {
    fn add(&mut self, block: &Block<Box<Holder>>) {
        self.count(block);
        self.resting.extend(block.resting().map(|(offset, freed_at)| (freed_at, block.unit(), offset)));
    }

    fn remove(&mut self, block: &Block<Box<Holder>>) {
        self.discount(block);
        for (offset, freed_at) in block.resting() {
            self.resting.remove(&(freed_at, block.unit(), offset));
        }
    }

    fn count(&mut self, block: &Block<Box<Holder>>) {
        self.spare += block.spare();
        self.held += block.held().len();
        if block.spare() > 0 {
            self.roomy.insert(block.unit());
        }
    }

    fn discount(&mut self, block: &Block<Box<Holder>>) {
        self.spare -= block.spare();
        self.held -= block.held().len();
        self.roomy.remove(&block.unit());
    }

    /// Addresses that can be given without cutting a cooldown short.
    pub(super) fn spare(&self) -> u32 {
        self.spare
    }

    /// The block to give from: that of the last address, else the next behind it, around the end.
    pub(super) fn next(&self, current: Option<Unit>) -> Option<Unit> {
        let behind = current.and_then(|unit| self.roomy.range(unit..).next());
        behind.or_else(|| self.roomy.first()).copied()
    }

    /// The address that was freed longest ago: what to give when all others are held.
    pub(super) fn longest_resting(&self) -> Option<(Unit, u32)> {
        self.resting.first().map(|(_, unit, offset)| (*unit, *offset))
    }

    /// Whether so many addresses rest that the oldest should be given rather than another block be leased: a
    /// node with much coming and going must not take the pool from the others.
    pub(super) fn rests_enough(&self) -> bool {
        self.resting.len() >= self.held.max(MAX_RESTING)
    }

    /// An address that has rested long enough. Those freed longest ago come first, and after the clock was set
    /// back far, those freed last.
    fn rested(&self, now: u64, cooldown: u64) -> Option<(Unit, u32)> {
        let ends = [self.resting.first(), self.resting.last()];
        let over = ends.into_iter().flatten().find(|(freed_at, ..)| rested(*freed_at, now, cooldown));
        over.map(|(_, unit, offset)| (*unit, *offset))
    }
}

impl State {
    pub(super) fn stock(&self, pool: &PoolName, family: Family) -> Option<&Stock> {
        self.stocks.get(&(pool.clone(), family))
    }

    /// Changes one address of a block, and what the stock knows of it.
    pub(super) fn change<R>(
        &mut self,
        id: &BlockId,
        offset: u32,
        change: impl FnOnce(&mut Block<Box<Holder>>) -> R,
    ) -> Option<R> {
        let held = self.blocks.get_mut(id)?;
        let Some(key) = id.stock().filter(|_| held.standing == Standing::Open) else {
            return Some(change(&mut held.block));
        };
        let stock = self.stocks.entry(key).or_default();
        stock.discount(&held.block);
        if let Some(freed_at) = held.block.freed_at(offset) {
            stock.resting.remove(&(freed_at, id.unit, offset));
        }
        let result = change(&mut held.block);
        if let Some(freed_at) = held.block.freed_at(offset) {
            stock.resting.insert((freed_at, id.unit, offset));
        }
        stock.count(&held.block);
        Some(result)
    }

    /// Puts a block among those that the node holds.
    pub(super) fn put(&mut self, id: BlockId, held: Held) {
        self.withdraw(&id);
        if let Some(key) = id.stock().filter(|_| held.standing == Standing::Open) {
            self.stocks.entry(key).or_default().add(&held.block);
        }
        self.blocks.insert(id, held);
    }

    /// Takes a block out of those that the node holds.
    pub(super) fn withdraw(&mut self, id: &BlockId) -> Option<Held> {
        let held = self.blocks.remove(id)?;
        self.kept.remove(id);
        if held.standing == Standing::Open
            && let Some(stock) = id.stock().and_then(|key| self.stocks.get_mut(&key))
        {
            stock.remove(&held.block);
        }
        Some(held)
    }

    /// Changes what may be done with a block.
    pub(super) fn set_standing(&mut self, id: &BlockId, standing: Standing) {
        if let Some(held) = self.withdraw(id) {
            self.put(id.clone(), Held { standing, ..held });
        }
    }

    /// Ends the rest of the addresses whose cooldown is over.
    pub(super) fn wake(&mut self, pool: &PoolName, family: Family, now: u64) {
        let cooldown = self.cooldown();
        while let Some((unit, offset)) =
            self.stock(pool, family).and_then(|stock| stock.rested(now, cooldown))
        {
            self.change(&BlockId { pool: pool.clone().into(), unit }, offset, |block| block.wake(offset));
        }
    }

    /// Ends the rest of all addresses whose cooldown is over.
    pub(super) fn wake_all(&mut self, now: u64) {
        let stocks: Vec<_> = self.stocks.keys().cloned().collect();
        for (pool, family) in stocks {
            self.wake(&pool, family, now);
        }
    }

    /// Panics if the stocks are not what the blocks say.
    #[cfg(test)]
    pub(super) fn check_stocks(&self) {
        let mut stocks: std::collections::HashMap<_, Stock> = std::collections::HashMap::new();
        for (id, held) in self.blocks.iter().filter(|(_, held)| held.standing == Standing::Open) {
            let Some(key) = id.stock() else { continue };
            stocks.entry(key).or_default().add(&held.block);
        }
        for (key, stock) in &self.stocks {
            assert_eq!(*stock, stocks.remove(key).unwrap_or_default());
        }
        assert!(stocks.is_empty(), "{stocks:?}");
    }
}
