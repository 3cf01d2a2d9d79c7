//! The running kernel: what it allows, which programs observe it, what they tell.
//!
//! In: the kernel's BTF and its answers to trial loads; the committed eBPF object.
//! Out: records and process events from the rings, entries and counters from the maps.
//! Owns: every program, link and map; nothing is pinned, so all of it goes with the daemon.
//!
//! From below to above: what the kernel is (`types`, `offsets`, `features`), where programs attach (`hook`, `tier`,
//! `uring`), single programs (`programs`, `attach`), all of them (`attached`, `ktls`), the whole (`running`), how it comes
//! to be (`load`), and what is added while it works (`inject`, `breakpoints`, `uprobes`).

mod attach;
mod attached;
mod breakpoints;
mod control_group;
pub mod counters;
mod features;
mod hook;
pub mod inject;
mod ktls;
mod load;
pub(crate) mod mappings;
mod maps;
mod modules;
mod offsets;
mod parallel;
mod preemption;
mod programs;
pub mod reader;
mod refusal;
mod running;
mod secrets;
mod shared_memory;
mod statistics;
mod system_call;
pub mod tcp_option;
mod tier;
mod types;
pub mod uprobes;
pub mod uring;

pub use self::{
    features::Features,
    ktls::KernelTls,
    load::{LoadOptions, ProtocolRows, try_tcp_option},
    maps::{connections::ConnectionMaps, places::Places, policy::PolicyMaps},
    offsets::offsets,
    running::Kernel,
    secrets::SecretSlots,
    statistics::ProgramStats,
    system_call::refused_calls,
    tier::Tier,
    types::{KernelTypes, TypesError},
};
pub(crate) use breakpoints::NEEDS_ADMIN;
pub(crate) use refusal::brief;
