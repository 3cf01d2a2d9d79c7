//! A shard's open exchanges: slots that are used again, so that an exchange is written once and finished where it lies.

use super::open::Open;

/// Slots that keep what they hold when they are free, for the next exchange to write into.
const WARM: usize = 1024;

/// A slot's number.
pub(crate) type Slot = u32;

/// The open exchanges of all connections of a shard.
#[derive(Debug)]
pub(crate) struct Slab {
    slots: Vec<Open>,
    free: Vec<Slot>,
    most: usize,
}

impl Slab {
    /// Room for `most` exchanges.
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            most,
        }
    }

    /// A slot to be written.
    pub(super) fn take(&mut self) -> Slot {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Open::empty());
            (self.slots.len() - 1) as Slot
        })
    }

    /// More are open than there is room for: one is to be given back.
    pub(super) const fn is_crowded(&self) -> bool {
        self.slots.len() - self.free.len() > self.most
    }

    /// Gives a slot back.
    pub(super) fn give(&mut self, slot: Slot) {
        if self.free.len() >= WARM {
            self.slots[slot as usize] = Open::empty();
        }
        self.free.push(slot);
    }
}

impl std::ops::Index<Slot> for Slab {
    type Output = Open;

    fn index(&self, slot: Slot) -> &Open {
        &self.slots[slot as usize]
    }
}

impl std::ops::IndexMut<Slot> for Slab {
    fn index_mut(&mut self, slot: Slot) -> &mut Open {
        &mut self.slots[slot as usize]
    }
}
