//! Processes: policy and life events.

use crate::plain;

/// A process's policy, keyed by tgid. The daemon decides; at fork the kernel copies the parent's to the child. It lives
/// until the process's last thread ends.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// 1 to capture, 0 to leave alone.
    pub capture: u32,
    /// Explicit padding.
    pub reserved: u32,
}
plain!(Policy, 8);

/// Kinds of [`Runtime`].
pub mod runtime {
    /// Whatever is not in the map: requests belong to threads that read blocking sockets.
    pub const THREADS: u32 = 0;
    /// A program that runs each event to completion on one thread (nginx, Node): what was resumed last is worked on.
    pub const EVENT_LOOP: u32 = 1;
    /// Go: requests belong to goroutines.
    pub const GO: u32 = 2;
    /// CPython: requests belong to contexts (contextvars), else to threads.
    pub const PYTHON: u32 = 3;
    /// Ruby: requests belong to the execution context that turned to them, else to threads.
    pub const RUBY: u32 = 4;
    /// Rust with tokio: requests belong to tasks, else to threads.
    pub const TOKIO: u32 = 5;
    /// A JVM: as [`THREADS`], also where an epoll still watches the blocking socket.
    pub const JAVA: u32 = 6;
    /// There was no room to keep what it is: nothing is said of it.
    pub const UNKNOWN: u32 = 7;
}

/// How a process's runtime tells what it is working on, keyed by tgid. Written by the daemon once everything is in
/// place; the kernel copies it at fork and drops it at exec and when the last thread ends. A process that is not in the
/// map is of kind [`runtime::THREADS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// Where, from the thread pointer (FS base), the address of the current goroutine or Python thread state lies. Ruby: of
    /// the thread's table of thread-local storage (`dtv`). Tokio: where the current task's id lies itself.
    pub thread_pointer_offset: i64,
    /// One of [`runtime`].
    pub kind: u32,
    /// Go: offset of the id in the goroutine. Python: offset of the current context in the thread state. Ruby: offset in
    /// that table of the entry of the file that has `ruby_current_ec`. Tokio: offset of the id in a task, from its header.
    pub unit_offset: u32,
    /// Go: offset of the running goroutine (`curg`) in the machine. Python: offset of `ctx_entered` in the context. Ruby:
    /// offset of `ruby_current_ec` in what that entry points to.
    pub second_offset: u32,
    /// Event loop: one of [`strict`].
    pub strict: u32,
    /// Tells this process from an earlier one with its id, below 2^24: what is kept for goroutines, contexts and the like
    /// is kept under it, too.
    pub life: u32,
    /// Explicit padding.
    pub reserved: u32,
}
plain!(Runtime, 32);

/// Values of [`Runtime::strict`].
pub mod strict {
    /// The answer to a call is handled for the request that the call was made for, and for no other.
    pub const NO: u32 = 0;
    /// The program lets work wait for other work to end (promises, connection pools), so that the answer to one request's
    /// call may set off another one's: then only reading a request tells what is worked on.
    pub const READ: u32 = 1;
    /// The same, and every place is known where something else begins to run: what a request set off is told as long as
    /// nothing else ran since it was read ([`Loop`](crate::context::Loop)).
    pub const ALONE: u32 = 2;
}

/// Kinds of [`ProcessEvent`].
pub mod event {
    /// A process called exec; `comm` is its new name.
    pub const EXEC: u32 = 1;
    /// A process (not a thread) was forked.
    pub const FORK: u32 = 2;
    /// A process's last thread ended.
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
