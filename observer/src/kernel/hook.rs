//! Places in the kernel that a program attaches to.

use super::types::KernelTypes;

/// What a program attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Raw tracepoint with typed arguments.
    Tracepoint(&'static str),
    /// The same, left out where the kernel has none.
    TracepointIfThere(&'static str),
    /// Function entry.
    Enter(&'static str),
    /// Entry of a function with this many arguments; left out where the kernel's has another number, or there is no such function.
    EnterIf(&'static str, u32),
    /// Function exit.
    Exit(&'static str),
    /// Exit of a function with this many arguments; left out where the kernel's has another number, or there is no such function.
    ExitIf(&'static str, u32),
    /// Function entry by kprobe.
    Probe(&'static str),
    /// The same for a function with this many arguments, else left out.
    ProbeIf(&'static str, u32),
    /// Function entry by kprobe, left out where the kernel has no such function.
    ProbeIfThere(&'static str),
    /// Function exit by kretprobe.
    ProbeReturn(&'static str),
    /// The same for a function with this many arguments, else left out.
    ProbeReturnIf(&'static str, u32),
    /// Function entry by kprobe where another function, of the same type, has this many arguments; else left out.
    ProbeLike(&'static str, &'static str, u32),
    /// The same for its exit.
    ProbeReturnLike(&'static str, &'static str, u32),
}

impl Hook {
    /// The hook's name in the kernel.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tracepoint(name)
            | Self::TracepointIfThere(name)
            | Self::Enter(name)
            | Self::EnterIf(name, _)
            | Self::Exit(name)
            | Self::ExitIf(name, _)
            | Self::Probe(name)
            | Self::ProbeIf(name, _)
            | Self::ProbeIfThere(name)
            | Self::ProbeReturn(name)
            | Self::ProbeReturnIf(name, _)
            | Self::ProbeLike(name, ..)
            | Self::ProbeReturnLike(name, ..) => name,
        }
    }

    /// Whether programs are called by a trampoline, the last attached first.
    pub(super) const fn is_trampoline(self) -> bool {
        matches!(
            self,
            Self::Enter(_) | Self::EnterIf(..) | Self::Exit(_) | Self::ExitIf(..)
        )
    }

    /// Whether it is a kprobe or a kretprobe.
    pub(super) const fn is_probe(self) -> bool {
        matches!(
            self,
            Self::Probe(_)
                | Self::ProbeIf(..)
                | Self::ProbeIfThere(_)
                | Self::ProbeReturn(_)
                | Self::ProbeReturnIf(..)
                | Self::ProbeLike(..)
                | Self::ProbeReturnLike(..)
        )
    }

    /// Whether the hook is for another version of the kernel, or the kernel may lack it.
    pub(crate) fn is_left_out(self, types: &KernelTypes) -> bool {
        match self {
            Self::TracepointIfThere(name) => !types.has_tracepoint(name),
            Self::ProbeIfThere(name) => !types.has_function(name),
            Self::EnterIf(name, arguments)
            | Self::ExitIf(name, arguments)
            | Self::ProbeIf(name, arguments)
            | Self::ProbeReturnIf(name, arguments)
            | Self::ProbeLike(_, name, arguments)
            | Self::ProbeReturnLike(_, name, arguments) => types.arguments(name) != Some(arguments),
            _ => false,
        }
    }

    /// Whether the kernel's type information has it.
    pub(crate) fn exists(self, types: &KernelTypes) -> bool {
        match self {
            Self::Tracepoint(name) | Self::TracepointIfThere(name) => types.has_tracepoint(name),
            _ => types.has_function(self.name()),
        }
    }
}
