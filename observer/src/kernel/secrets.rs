//! Slots in which TLS secrets come from the kernel programs (`observer_abi::secret`).
//!
//! The slots lie in memory of the kernel's that is never swapped out, and is left out of core dumps here. A slot is zeroed
//! as soon as it was read, and only then given back.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{Ordering, fence},
};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf, Stack};
use observer_abi::secret::{BUSY, SecretSlot};
use zeroize::Zeroizing;

use super::shared_memory::SharedMemory;

/// Words of a slot.
const WORDS: usize = size_of::<SecretSlot>() / 8;

/// All slots, to be read by one thread.
pub struct SecretSlots {
    memory: Memory,
    free: Stack<MapData, u32>,
    told: RingBuf<MapData>,
}

impl SecretSlots {
    /// The maps that the programs use; all slots become free.
    pub(super) fn new(
        (array, slots): (BorrowedFd<'_>, u32),
        free: Stack<MapData, u32>,
        told: RingBuf<MapData>,
    ) -> Result<Self> {
        let memory = Memory::map(array, slots)?;
        let mut all = Self { memory, free, told };
        // The lowest is taken first, so that few pages are in use.
        for slot in (0..slots).rev() {
            all.free.push(slot, 0).context("a slot is not free")?;
        }
        Ok(all)
    }

    /// Hands over every secret that was told so far, and wipes it here; and each process that hashes too much to be
    /// followed.
    pub fn drain(&mut self, mut each: impl FnMut(&SecretSlot), mut busy: impl FnMut(u32)) {
        while let Some(record) = self.told.next() {
            let Ok(number) = <[u8; 4]>::try_from(&*record) else {
                continue;
            };
            drop(record);
            let slot = u32::from_ne_bytes(number);
            if slot & BUSY != 0 {
                busy(slot & !BUSY);
                continue;
            }
            let Some(copy) = self.memory.take(slot) else {
                continue;
            };
            // SAFETY: as many words as the struct has, which are integers only, aligned as words are.
            each(unsafe { &*copy.as_ptr().cast::<SecretSlot>() });
            if let Err(error) = self.free.push(slot, 0) {
                tracing::warn!(%error, "a slot for TLS secrets is lost");
            }
        }
    }
}

impl AsFd for SecretSlots {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }
}

/// The array of slots in our memory, read and written by atomic operations only.
struct Memory {
    memory: SharedMemory,
    slots: u32,
}

impl Memory {
    fn map(array: BorrowedFd<'_>, slots: u32) -> Result<Self> {
        let bytes = slots as usize * size_of::<SecretSlot>();
        let memory = SharedMemory::map(array, 0, bytes, true)
            .context("cannot map the slots of TLS secrets")?;
        // The kernel has marked it so already.
        memory.leave_out_of_dumps();
        Ok(Self { memory, slots })
    }

    /// What lies in a slot, which is zeroed. `None` where there is no such slot.
    fn take(&self, slot: u32) -> Option<Zeroizing<[u64; WORDS]>> {
        if slot >= self.slots {
            return None;
        }
        // SAFETY: inside of the mapping, which lives as long as `self`.
        let words = unsafe {
            std::slice::from_raw_parts(self.memory.words().add(slot as usize * WORDS), WORDS)
        };
        let mut copy = Zeroizing::new([0; WORDS]);
        for (to, from) in copy.iter_mut().zip(words) {
            *to = from.load(Ordering::Relaxed);
            from.store(0, Ordering::Relaxed);
        }
        // Zeroes first: the kernel may give it to another secret as soon as it is free.
        fence(Ordering::SeqCst);
        Some(copy)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::{fd::AsFd as _, unix::fs::FileExt as _},
    };

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn a_slot_is_zeroed_when_it_is_read_and_others_are_not() {
        let file = File::from(memfd_create("slots", MemfdFlags::CLOEXEC).unwrap());
        let size = size_of::<SecretSlot>();
        file.write_all_at(&vec![7; 4 * size], 0).unwrap();
        let memory = Memory::map(file.as_fd(), 4).unwrap();
        let taken = memory.take(2).unwrap();
        assert!(taken.iter().all(|word| *word == 0x0707_0707_0707_0707));
        assert!(memory.take(4).is_none());
        let mut left = vec![0; 4 * size];
        file.read_exact_at(&mut left, 0).unwrap();
        let zeroed = |slot: usize| {
            left[slot * size..(slot + 1) * size]
                .iter()
                .all(|byte| *byte == 0)
        };
        assert_eq!([0, 1, 2, 3].map(zeroed), [false, false, true, false]);
    }
}
