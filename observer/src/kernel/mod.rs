//! The running kernel: what it allows, which programs observe it, what they tell.
//!
//! In: the kernel's BTF and its answers to trial loads; the committed eBPF object.
//! Out: records and process events from the rings, entries and counters from the maps.
//! Owns: every program, link and map; nothing is pinned, so all of it goes with the daemon.

mod breakpoints;
pub mod counters;
pub mod inject;
mod ktls;
pub mod loader;
mod modules;
pub mod offsets;
pub mod option;
mod parallel;
mod preemption;
mod programs;
pub mod reader;
mod system_call;
pub mod tier;
pub mod uprobes;

pub use ktls::KernelTls;
pub use loader::{Kernel, LoadOptions};
pub use tier::{Features, Tier};
