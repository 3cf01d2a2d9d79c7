//! Capture tiers.
//!
//! In: the kernel's types. Out: the plan of a tier, that is its programs and their hooks on this kernel.
//! Owns: the names of the programs.

mod programs;
mod spares;

use std::fmt;

use self::programs::SHARED_PROGRAMS;
pub(crate) use self::spares::with_spares;
use super::{hook::Hook, types::KernelTypes};

/// A way to see the bytes. The order is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// fentry/fexit on the protocols' own functions.
    Fentry,
    /// Raw tracepoints that hand over the sock.
    Socket,
    /// The fentry functions through kprobes.
    Kprobe,
    /// The exit of every system call.
    Syscall,
}

impl Tier {
    /// Every tier, best first.
    pub const ALL: [Self; 4] = [Self::Fentry, Self::Socket, Self::Kprobe, Self::Syscall];

    /// Those that may be taken unasked, best first. Not `syscall`, which makes every process slower.
    pub const AUTOMATIC: [Self; 3] = [Self::Fentry, Self::Socket, Self::Kprobe];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Socket => "socket",
            Self::Kprobe => "kprobe",
            Self::Syscall => "syscall",
        }
    }

    /// What is loaded and attached for it on this kernel, and nothing else; `dns`: for DNS, too.
    ///
    /// # Errors
    /// The hook that this kernel does not have.
    pub(crate) fn plan(
        self,
        types: &KernelTypes,
        dns: bool,
    ) -> Result<Vec<(&'static str, Hook)>, MissingHook> {
        let on_datagrams = if dns { self.datagram_programs() } else { &[] };
        let plan: Vec<_> = self
            .programs()
            .iter()
            .chain(on_datagrams)
            .chain(SHARED_PROGRAMS)
            .copied()
            .filter(|(_, hook)| !hook.is_left_out(types))
            .collect();
        match plan.iter().find(|(_, hook)| !hook.exists(types)) {
            Some((_, hook)) => Err(MissingHook(hook.name())),
            None => Ok(plan),
        }
    }
}

/// The kernel has not what a tier attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this kernel has no {0}")]
pub(crate) struct MissingHook(&'static str);

impl fmt::Display for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
#[path = "layouts_tests.rs"]
mod layouts;
