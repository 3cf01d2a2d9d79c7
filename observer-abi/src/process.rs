//! Processes: policy and life events.

use crate::plain;

/// A process's policy, keyed by tgid. The daemon decides; at fork the kernel copies the parent's to the child.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// 1 to capture, 0 to leave alone.
    pub capture: u32,
    /// Explicit padding.
    pub reserved: u32,
}
plain!(Policy, 8);

/// Kinds of [`ProcessEvent`].
pub mod event {
    /// A process called exec; `comm` is its new name.
    pub const EXEC: u32 = 1;
    /// A process (not a thread) was forked.
    pub const FORK: u32 = 2;
    /// A process's leader ended.
    pub const EXIT: u32 = 3;
}

/// One event of a process's life, in the ring `PROCESS_EVENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEvent {
    /// CLOCK_MONOTONIC ns.
    pub time_ns: u64,
    /// Start time of the leader, ns since boot.
    pub start_ns: u64,
    /// One of [`event`].
    pub kind: u32,
    /// The process.
    pub tgid: u32,
    /// Its parent.
    pub parent_tgid: u32,
    /// Explicit padding.
    pub reserved: u32,
    /// The thread's name, NUL-terminated.
    pub comm: [u8; 16],
}
plain!(ProcessEvent, 48);
