//! Memory that the kernel has, too: an array of a map's, a ring of perf's.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::NonNull,
    sync::atomic::AtomicU64,
};

use anyhow::{Context as _, Result};

/// A part of what lies behind a descriptor, in our memory until it is dropped.
#[derive(Debug)]
pub(super) struct SharedMemory {
    words: NonNull<AtomicU64>,
    bytes: usize,
}

// SAFETY: memory of the process, unmapped by its owner; what several threads do with it goes by atomic words.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps so many bytes from `from` on, to be written, too, if `writes`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn map(
        behind: BorrowedFd<'_>,
        from: usize,
        bytes: usize,
        writes: bool,
    ) -> Result<Self> {
        let protection = if writes {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        // SAFETY: a new mapping, of a descriptor that is open.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                behind.as_raw_fd(),
                libc::off_t::try_from(from)?,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("the mmap syscall failed");
        }
        let words = NonNull::new(memory.cast()).context("it was mapped at address 0")?;
        Ok(Self { words, bytes })
    }

    /// Its first word, of as many as were asked for.
    pub(super) const fn words(&self) -> *mut AtomicU64 {
        self.words.as_ptr()
    }

    /// Leaves it out of core dumps.
    pub(super) fn leave_out_of_dumps(&self) {
        // SAFETY: the mapping, which is ours.
        unsafe { libc::madvise(self.words.as_ptr().cast(), self.bytes, libc::MADV_DONTDUMP) };
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.bytes) };
    }
}
