//! The state of one block: which of its addresses are held, by whom, and which rest.
//!
//! Invariants: an address has one holder at most; an unusable address (excluded, gateway, broadcast, outside
//! its pool's ranges) has none; an address is never held and resting at once.

use super::addr::Unit;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Why an address of a block can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// The block does not have this address.
    #[error("the address is outside of the block")]
    Outside,
    /// The address is an exclusion, a gateway or a broadcast address.
    #[error("the address is reserved")]
    Unusable,
    /// The address has a holder.
    #[error("the address is held already")]
    Held,
}

/// A block and the holders of its addresses. Addresses are named by their offset from the block's first;
/// times are milliseconds on a clock of the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<H> {
    unit: Unit,
    /// Inclusive runs of offsets that are never given, sorted and disjoint.
    unusable: Vec<(u32, u32)>,
    held: BTreeMap<u32, H>,
    /// How many of the held addresses are unusable: they were given when they were not.
    held_unusable: u32,
    /// Offset → when it was freed; usable addresses only.
    resting: BTreeMap<u32, u64>,
    /// Where the search for the next address starts.
    cursor: u32,
}

impl<H> Block<H> {
    /// An empty block. `unusable` are inclusive runs of offsets, sorted and disjoint, within the unit.
    pub fn new(unit: Unit, unusable: Vec<(u32, u32)>) -> Self {
        debug_assert!(unit.bits() <= Unit::MAX_BITS, "a block has at most 2^{} addresses", Unit::MAX_BITS);
        Self { unit, unusable, held: BTreeMap::new(), held_unusable: 0, resting: BTreeMap::new(), cursor: 0 }
    }

    /// The addresses of the block.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The runs of offsets that are never given.
    pub fn unusable(&self) -> &[(u32, u32)] {
        &self.unusable
    }

    /// Number of addresses, usable or not.
    pub fn len(&self) -> u32 {
        1 << self.unit.bits().min(Unit::MAX_BITS)
    }

    /// Whether no address is held; some may rest.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Number of addresses that may ever be given.
    pub fn usable(&self) -> u32 {
        self.len() - self.unusable.iter().map(|(first, last)| last - first + 1).sum::<u32>()
    }

    /// The holders, in address order.
    pub fn held(&self) -> impl ExactSizeIterator<Item = (u32, &H)> {
        self.held.iter().map(|(offset, holder)| (*offset, holder))
    }

    /// The resting addresses with the times they were freed, in address order.
    pub fn resting(&self) -> impl ExactSizeIterator<Item = (u32, u64)> {
        self.resting.iter().map(|(offset, freed_at)| (*offset, *freed_at))
    }

    /// The holder of an address.
    pub fn holder(&self, offset: u32) -> Option<&H> {
        self.held.get(&offset)
    }

    /// How many addresses can be given that neither are held nor rest.
    pub fn spare(&self) -> u32 {
        self.usable() - (count(self.held.len()) - self.held_unusable) - count(self.resting.len())
    }

    /// How many addresses can be given now without cutting a cooldown short.
    pub fn available(&self, now: u64, cooldown: u64) -> u32 {
        let woken = self.resting.values().filter(|freed_at| rested(**freed_at, now, cooldown));
        self.spare() + count(woken.count())
    }

    /// When an address was freed that rests.
    pub fn freed_at(&self, offset: u32) -> Option<u64> {
        self.resting.get(&offset).copied()
    }

    /// Whether nothing is held and nothing rests any more.
    pub fn is_idle(&self, now: u64, cooldown: u64) -> bool {
        self.held.is_empty() && self.resting.values().all(|freed_at| rested(*freed_at, now, cooldown))
    }

    /// The next address in rotation that neither is held nor rests.
    pub fn next_free(&self) -> Option<u32> {
        if self.spare() == 0 {
            return None;
        }
        (self.cursor..self.len()).chain(0..self.cursor).find(|offset| {
            self.is_usable(*offset) && !self.held.contains_key(offset) && !self.resting.contains_key(offset)
        })
    }

    /// Gives an address to a holder and moves the rotation past it.
    pub fn take(&mut self, offset: u32, holder: H) -> Result<(), TakeError> {
        if offset < self.len() && !self.is_usable(offset) {
            return Err(TakeError::Unusable);
        }
        self.restore(offset, holder)
    }

    /// Puts back a holder that was recorded earlier, even on an address which has since become unusable: who
    /// holds an address keeps it, but nobody gets it afterwards.
    pub fn restore(&mut self, offset: u32, holder: H) -> Result<(), TakeError> {
        if offset >= self.len() {
            return Err(TakeError::Outside);
        }
        if self.held.contains_key(&offset) {
            return Err(TakeError::Held);
        }
        self.held_unusable += u32::from(!self.is_usable(offset));
        self.resting.remove(&offset);
        self.held.insert(offset, holder);
        self.cursor = (offset + 1) % self.len();
        Ok(())
    }

    /// Frees an address, which then rests; returns its holder.
    pub fn free(&mut self, offset: u32, now: u64) -> Option<H> {
        let holder = self.held.remove(&offset)?;
        if self.is_usable(offset) {
            self.resting.insert(offset, now);
        } else {
            self.held_unusable -= 1;
        }
        Some(holder)
    }

    /// Lets an address rest that nobody holds, as recorded before a restart.
    pub fn rest(&mut self, offset: u32, freed_at: u64) {
        if self.is_usable(offset) && !self.held.contains_key(&offset) {
            self.resting.insert(offset, freed_at);
        }
    }

    /// Ends the rest of an address. Returns whether it rested.
    pub fn wake(&mut self, offset: u32) -> bool {
        self.resting.remove(&offset).is_some()
    }

    /// Whether the address may ever be given.
    pub fn is_usable(&self, offset: u32) -> bool {
        offset < self.len() && !self.unusable.iter().any(|(first, last)| (*first..=*last).contains(&offset))
    }

    /// The address at an offset of this block.
    pub fn address(&self, offset: u32) -> Option<IpAddr> {
        self.unit.address(offset)
    }
}

/// Whether an address that was freed at a time has rested for the cooldown; all three in milliseconds. A clock
/// that was set back must not stretch a cooldown for ever: a time in the future counts as rested once
/// it is further away than the cooldown itself.
pub fn rested(freed_at: u64, now: u64, cooldown: u64) -> bool {
    now.abs_diff(freed_at) >= cooldown
}

/// A block has at most 2^10 addresses, so that a count of them always fits.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(unusable: &[(u32, u32)]) -> Block<&'static str> {
        Block::new(Unit::containing("10.0.0.16".parse().expect("address"), 2), unusable.to_vec())
    }

    #[test]
    fn addresses_rotate() {
        let mut block = block(&[]);
        for expected in [0, 1] {
            assert_eq!(block.next_free(), Some(expected));
            block.take(expected, "a").expect("free");
        }
        block.free(0, 5);
        assert!(block.wake(0));
        assert_eq!(block.next_free(), Some(2), "the next address comes after the last one given");
        block.rest(0, 5);
        block.take(2, "b").expect("free");
        block.take(3, "c").expect("free");
        assert_eq!((block.next_free(), block.available(14, 10)), (None, 0), "0 rests until 15");
        assert_eq!(block.available(15, 10), 1);
        assert_eq!((block.freed_at(0), block.freed_at(1)), (Some(5), None));
    }

    #[test]
    fn unusable_addresses_are_never_taken() {
        let mut block = block(&[(0, 0), (3, 3)]);
        assert_eq!(block.usable(), 2);
        assert_eq!(block.take(0, "a"), Err(TakeError::Unusable));
        assert_eq!(block.take(4, "a"), Err(TakeError::Outside));
        assert_eq!(block.next_free(), Some(1));
        block.take(1, "a").expect("free");
        assert_eq!(block.take(1, "b"), Err(TakeError::Held));
        block.take(2, "b").expect("free");
        assert_eq!((block.next_free(), block.available(0, 0)), (None, 0));
    }

    #[test]
    fn a_holder_keeps_an_address_that_became_unusable() {
        let mut block = block(&[(0, 2)]);
        block.restore(1, "a").expect("restored");
        assert_eq!(block.restore(1, "b"), Err(TakeError::Held));
        block.rest(2, 0);
        assert_eq!((block.usable(), block.available(0, 10), block.is_empty()), (1, 1, false));
        assert_eq!(block.free(1, 0), Some("a"));
        assert_eq!((block.available(0, 10), block.resting().len()), (1, 0), "nobody gets it afterwards");
        assert_eq!(block.take(1, "b"), Err(TakeError::Unusable));
    }

    #[test]
    fn a_clock_set_back_does_not_keep_addresses_resting() {
        let mut block = block(&[]);
        block.take(0, "a").expect("free");
        block.free(0, 1_000_000);
        assert!(!block.is_idle(999_995, 10), "a small step back");
        assert!(block.is_idle(5, 10), "a day back");
        assert!(block.wake(0) && !block.wake(0));
    }
}
