//! Uprobes in CPython: where what a context (contextvars) works for passes to another one.
//!
//! | program | where | registers |
//! |---|---|---|
//! | `python_context_copied` | the returns of `PyContext_CopyCurrent` | RAX: the new context |
//! | `python_context_entered` | `PyContext_Enter`, which uvloop calls and asyncio does not | RDI: the context |
//!
//! A task of asyncio has a context of its own, copied from that of whatever created it.
//!
//! Cost: a breakpoint for each copy: each task, and each callback that asyncio schedules without a context.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_abi::context::unit as kind;

use crate::{
    kernel::task,
    work::{
        runtime::current,
        table::{self, UNITS},
    },
};

#[uprobe]
pub(crate) fn python_context_copied(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    let copied = unsafe { (*ctx.regs).rax };
    let tgid = (task::pid_tgid() >> 32) as u32;
    let Some(key) = table::key(copied, tgid, kind::PYTHON_CONTEXT) else { return 0 };
    match current::current(tgid) {
        Some(own) => table::inherit(&own, &key, 1),
        // The address may have been another context's.
        None => {
            let _ = UNITS.remove(key);
        }
    }
    0
}

#[uprobe]
pub(crate) fn python_context_entered(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    let entered = unsafe { (*ctx.regs).rdi };
    let pid_tgid = task::pid_tgid();
    let Some(key) = table::key(entered, (pid_tgid >> 32) as u32, kind::PYTHON_CONTEXT) else { return 0 };
    table::entered(&key, pid_tgid as u32);
    0
}
