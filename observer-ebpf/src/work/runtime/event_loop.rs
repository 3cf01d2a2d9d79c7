//! Uprobes in programs that run each event to completion: where the loop turns to something else.
//!
//! | program | where (libuv in Node; nginx) |
//! |---|---|
//! | `loop_turned` | the loop's dispatchers: a stream, a timer, a check handle, the thread pool, a listener; nginx's accept and timers |
//! | `work_submitted` | `uv__work_submit(uv_loop_t *, struct uv__work *, …)` |
//! | `work_done` | `uv__getaddrinfo_done(struct uv__work *, int)` |
//!
//! Where more is known of Node, `node` does this.
//!
//! Cost: a breakpoint each time. Which functions they are is for the daemon to find, and where one is missing the
//! program is not treated as an event loop at all.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_abi::context::unit as kind;

use crate::{
    kernel::task,
    work::{
        link,
        table::{self, THREADS, UNITS},
    },
};

#[uprobe]
pub(crate) fn loop_turned(_: ProbeContext) -> u32 {
    table::forget_thread(task::pid_tgid() as u32);
    0
}

/// A name is looked up on another thread: the work remembers what for.
#[uprobe]
pub(crate) fn work_submitted(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    let work = unsafe { (*ctx.regs).rsi };
    let pid_tgid = task::pid_tgid();
    let Some(key) = table::key(work, (pid_tgid >> 32) as u32, kind::LIBUV_WORK) else { return 0 };
    if let Some(thread) = THREADS.get_ptr(pid_tgid as u32) {
        // SAFETY: a live map value.
        let request = unsafe { (*thread).request };
        if request.sock != 0 {
            table::begin(&key, &request, 0);
            return 0;
        }
    }
    if link::submitted(&key, pid_tgid as u32) {
        return 0;
    }
    let _ = UNITS.remove(key);
    0
}

/// The loop handles the result of that work, and nothing else.
#[uprobe]
pub(crate) fn work_done(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    let work = unsafe { (*ctx.regs).rdi };
    let pid_tgid = task::pid_tgid();
    let Some(key) = table::key(work, (pid_tgid >> 32) as u32, kind::LIBUV_WORK) else { return 0 };
    match UNITS.get_ptr(key) {
        // SAFETY: a live map value; the current task calls.
        Some(found) if unsafe { (*found).ambiguous == 0 } => unsafe {
            let caller = task::caller(pid_tgid);
            table::resume(&caller, &(*found).request);
            let _ = UNITS.remove(key);
        },
        _ => table::forget_thread(pid_tgid as u32),
    }
    0
}
