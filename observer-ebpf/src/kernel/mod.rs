//! Reading the kernel's memory, by the offsets of the kernel that runs.
//!
//! In: addresses and typed pointers from hooks; offsets and settings from the daemon. Out: facts of tasks, socks and
//! messages. Owns: the read-only globals.

pub(crate) mod above;
pub(crate) mod arch;
pub(crate) mod descriptor;
pub(crate) mod globals;
pub(crate) mod iterator;
pub(crate) mod read;
pub(crate) mod sock;
pub(crate) mod task;
