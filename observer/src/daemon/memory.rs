//! Memory that start-up needed and the daemon does not.

/// Gives freed heap back to the system: reading the kernel's type information takes some 50 MB for a moment, which the
/// C library would otherwise keep.
#[cfg(target_env = "gnu")]
pub(super) fn trim() {
    // SAFETY: malloc_trim(3) may be called at any time, from any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give it back themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn trim() {}
