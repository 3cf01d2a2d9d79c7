//! What the C library does with memory that is freed.

/// Bytes from which an allocation is mapped by itself, and which a heap keeps at its end: the C library's own first value.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// What is large goes back to the system when it is freed. By itself the C library would take the largest part that was
/// ever freed (the kernel's type information: 5 MB) as the new bound, and keep twice as much in each thread's heap.
#[cfg(target_env = "gnu")]
pub(super) fn bound() {
    for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: mallopt(3) may be called at any time; no other thread allocates yet.
        unsafe { libc::mallopt(option, LARGE) };
    }
}

/// Gives freed heap back to the system, where it lies between what is in use.
#[cfg(target_env = "gnu")]
pub(super) fn trim() {
    // SAFETY: malloc_trim(3) may be called at any time, from any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries do it themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn bound() {}

/// Other C libraries do it themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn trim() {}
