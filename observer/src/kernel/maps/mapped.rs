//! An array of the kernel's in our memory: what lies in it is read without a call.

use std::{
    marker::PhantomData,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use anyhow::{Context as _, Result, ensure};
use aya::Pod;

use crate::kernel::shared_memory::SharedMemory;

/// Readings of a value that the kernel writes at the same time, before one is taken as it is: what a copy by the kernel would
/// give, too.
const READINGS: u32 = 4;

/// Values of a window. So many are whole pages, whatever a value's words and a page's bytes (up to 8 KiB).
const WINDOW: u32 = 1024;

/// An array whose map was made with `BPF_F_MMAPABLE` (5.5), to be read. It is mapped window by window, as they are asked for:
/// what is mapped counts as our memory, though the kernel has it anyway.
#[derive(Debug)]
pub(in crate::kernel) struct Mapped<T> {
    array: OwnedFd,
    windows: Vec<OnceLock<Option<SharedMemory>>>,
    entries: u32,
    value: PhantomData<T>,
}

impl<T: Pod> Mapped<T> {
    /// Words of a value.
    const WORDS: usize = {
        assert!(size_of::<T>().is_multiple_of(8), "a value is whole words");
        size_of::<T>() / 8
    };

    /// The array of `entries` values behind a descriptor.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(in crate::kernel) fn new(array: OwnedFd, entries: u32) -> Result<Self> {
        let windows = (0..entries.div_ceil(WINDOW)).map(|_| OnceLock::new());
        let mapped = Self {
            array,
            windows: windows.collect(),
            entries,
            value: PhantomData,
        };
        // So that a kernel that refuses says so at once.
        let first = mapped.map(0)?;
        if let Some(window) = mapped.windows.first() {
            window.get_or_init(|| Some(first));
        }
        Ok(mapped)
    }

    fn map(&self, window: u32) -> Result<SharedMemory> {
        let first = window * WINDOW;
        let entries = self.entries.saturating_sub(first).min(WINDOW);
        ensure!(entries != 0, "an array has no such entries");
        SharedMemory::map(
            self.array.as_fd(),
            first as usize * size_of::<T>(),
            entries as usize * size_of::<T>(),
            false,
        )
        .context("cannot map an array of the kernel's")
    }

    /// How many values it has.
    pub(in crate::kernel) const fn len(&self) -> u32 {
        self.entries
    }

    /// A value's words.
    fn words(&self, index: u32) -> Option<&[AtomicU64]> {
        if index >= self.entries {
            return None;
        }
        let number = index / WINDOW;
        let window = self.windows.get(number as usize)?;
        let window = window.get_or_init(|| {
            let mapped = self.map(number);
            let refused = |error| tracing::warn!(error = format!("{error:#}"), "entries unread");
            mapped.map_err(refused).ok()
        });
        let first = (index % WINDOW) as usize * Self::WORDS;
        let words = window.as_ref()?.words();
        // SAFETY: inside of the window, which begins at a page, and lives as long as `self`.
        Some(unsafe { std::slice::from_raw_parts(words.add(first), Self::WORDS) })
    }

    /// One word of a value; 0 where there is no such.
    pub(in crate::kernel) fn word(&self, index: u32, word: usize) -> u64 {
        let words = self.words(index);
        words
            .and_then(|words| words.get(word))
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// A value, as two readings agree on it. `None` where there is none at this index, and once `is_it`, which is asked before
    /// and after each reading, says that it is not the one that is looked for.
    pub(in crate::kernel) fn read(&self, index: u32, is_it: impl Fn(&Self) -> bool) -> Option<T> {
        let words = self.words(index)?;
        if !is_it(self) {
            return None;
        }
        let mut value = copy::<T>(words);
        for _ in 1..READINGS {
            let again = copy::<T>(words);
            fence(Ordering::Acquire);
            if !is_it(self) {
                return None;
            }
            if bytes_of(&value) == bytes_of(&again) {
                break;
            }
            value = again;
        }
        Some(value)
    }
}

/// A copy of a value, word by word.
fn copy<T: Pod>(words: &[AtomicU64]) -> T {
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    let to = value.as_mut_ptr().cast::<u64>();
    for (index, word) in words.iter().enumerate() {
        // SAFETY: a value has so many words; it may be less aligned than they are.
        unsafe {
            to.add(index).write_unaligned(word.load(Ordering::Relaxed));
        }
    }
    // SAFETY: plain old data, all of it written.
    unsafe { value.assume_init() }
}

/// A value's bytes.
fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: plain old data has no padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::fd::AsRawFd as _,
        sync::atomic::{AtomicBool, AtomicU32},
    };

    use observer_abi::connection::Connection;
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    /// Two windows, and a part of one.
    const ENTRIES: u32 = 2 * WINDOW + 64;

    /// Memory that is mapped twice: as the daemon does, and to be written.
    fn shared() -> (Mapped<Connection>, &'static [AtomicU64]) {
        let file = File::from(memfd_create("entries", MemfdFlags::CLOEXEC).unwrap());
        let bytes = ENTRIES as usize * size_of::<Connection>();
        file.set_len(bytes as u64).unwrap();
        let read = Mapped::new(file.try_clone().unwrap().into(), ENTRIES).unwrap();
        // SAFETY: a new mapping, which stays.
        let written = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let null = std::ptr::null_mut();
            let fd = file.as_raw_fd();
            let memory = libc::mmap(null, bytes, protection, libc::MAP_SHARED, fd, 0);
            assert_ne!(memory, libc::MAP_FAILED);
            std::slice::from_raw_parts(memory.cast::<AtomicU64>(), bytes / 8)
        };
        (read, written)
    }

    fn of(words: &[AtomicU64], index: u32) -> &[AtomicU64] {
        let words_each = size_of::<Connection>() / 8;
        &words[index as usize * words_each..][..words_each]
    }

    #[test]
    fn a_value_is_read_where_it_lies_and_nothing_behind_the_last() {
        let (read, written) = shared();
        for last in [0, WINDOW - 1, WINDOW, 2 * WINDOW + 1, ENTRIES - 1] {
            of(written, last)[0].store(7, Ordering::Relaxed);
            let value = read.read(last, |array| array.word(last, 0) == 7);
            assert_eq!(value.unwrap().generation, 7);
            assert!(read.read(last, |array| array.word(last, 0) == 8).is_none());
        }
        assert!(read.read(ENTRIES, |_| true).is_none());
        assert_eq!(read.word(ENTRIES, 0), 0);
    }

    #[test]
    fn a_value_that_becomes_anothers_while_it_is_read_is_not_given() {
        let (read, written) = shared();
        let asked = AtomicU32::new(0);
        let is_it = |array: &Mapped<Connection>| {
            if asked.fetch_add(1, Ordering::Relaxed) == 1 {
                of(written, 3)[0].store(2, Ordering::Relaxed);
            }
            array.word(3, 0) == 1
        };
        of(written, 3)[0].store(1, Ordering::Relaxed);
        assert!(read.read(3, is_it).is_none());
    }

    #[test]
    fn nothing_is_seen_half_written_while_the_writer_rests_in_between() {
        let (read, written) = shared();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    for word in &of(written, 5)[1..] {
                        word.store(round, Ordering::Release);
                    }
                    for _ in 0..20_000 {
                        std::hint::spin_loop();
                    }
                }
            });
            for _ in 0..20_000 {
                let value = read.read(5, |_| true).unwrap();
                let [low, high] = value.tls.to_ne_bytes();
                let last = u32::from_ne_bytes([low, high, value.reserved[0], value.reserved[1]]);
                let last = u64::from(last) | u64::from(value.aside) << 32;
                assert_eq!(value.inode, last, "first and last word");
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
