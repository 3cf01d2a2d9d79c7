//! The ways to see a call: each file is an adapter between hooks and `core`.
//!
//! In: the hooks' arguments. Out: calls, to `core`. Owns: what has to be kept from a call's beginning to its end, and the
//! turns of programs that were left out (`spare`).

pub(crate) mod fentry;
pub(crate) mod kprobe;
pub(crate) mod ktls;
pub(crate) mod ktls_hooks;
pub(crate) mod retry;
pub(crate) mod socket;
pub(crate) mod spare;
pub(crate) mod syscall;
