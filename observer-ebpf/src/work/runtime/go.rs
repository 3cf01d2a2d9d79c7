//! Uprobes in Go programs: where what a goroutine works for passes to another one.
//!
//! | program | where | registers (ABIInternal, since 1.17) |
//! |---|---|---|
//! | `go_round_trip` | `net/http.(*persistConn).roundTrip` | RAX: the connection |
//! | `go_connection_write` | `net/http.persistConnWriter.Write` | RAX: the connection |
//! | `go_created` | in `runtime.newproc.func1`, at the call of `runtime.runqput` | RBX: the new goroutine |
//! | `go_received` | calls of `runtime.chanrecv1`, `chanrecv2`, `selectgo` outside of the standard library | – |
//!
//! Cost: a breakpoint each time: a client request meets the first two once, each `go` statement the third. No return
//! probes: a goroutine's stack moves, which they do not survive.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_abi::context::unit as kind;

use crate::{
    kernel::{read::user, task},
    work::{
        runtime::current,
        table::{self, RUNTIMES, UNITS},
    },
};

/// Offset of `m` in a goroutine, of every version so far (`src/runtime/runtime2.go`).
const GOROUTINE_MACHINE: u64 = 48;

/// A request is handed to the connection's writer goroutine.
#[uprobe]
pub(crate) fn go_round_trip(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    let connection = unsafe { (*ctx.regs).rax };
    let tgid = (task::pid_tgid() >> 32) as u32;
    if let Some(own) = current::current(tgid) {
        if let Some(writes) = table::key(connection, tgid, kind::GO_CONNECTION) {
            table::inherit(&own, &writes, 0);
        }
    }
    0
}

/// The writer goroutine writes for whoever handed over last.
#[uprobe]
pub(crate) fn go_connection_write(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    let connection = unsafe { (*ctx.regs).rax };
    let tgid = (task::pid_tgid() >> 32) as u32;
    if let Some(own) = current::current(tgid) {
        if let Some(writes) = table::key(connection, tgid, kind::GO_CONNECTION) {
            table::inherit(&writes, &own, 0);
        }
    }
    0
}

/// `go`: the new goroutine works for what its creator works for.
#[uprobe]
pub(crate) fn go_created(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    let created = unsafe { (*ctx.regs).rbx };
    let tgid = (task::pid_tgid() >> 32) as u32;
    go_created_by(created, tgid);
    0
}

/// This runs on the thread's own stack, as another goroutine: the creator is the one that the thread had run.
#[inline(always)]
fn go_created_by(created: u64, tgid: u32) -> Option<()> {
    let found = RUNTIMES.get_ptr(tgid)?;
    // SAFETY: a live map value.
    let (goid, running) = unsafe { (u64::from((*found).unit_offset), u64::from((*found).second_offset)) };
    let system = current::thread_word(tgid)?;
    let machine = user(system.wrapping_add(GOROUTINE_MACHINE))?;
    let creator = user(machine.wrapping_add(running))?;
    let creator = user(creator.wrapping_add(goid))?;
    let created = user(created.wrapping_add(goid))?;
    let creator = table::key(creator, tgid, kind::GOROUTINE)?;
    let created = table::key(created, tgid, kind::GOROUTINE)?;
    table::inherit(&creator, &created, 1);
    Some(())
}

/// A goroutine that was begun for a request takes something from a channel: from here on it may work for others. What
/// the standard library itself waits for is no work.
#[uprobe]
pub(crate) fn go_received(_: ProbeContext) -> u32 {
    let tgid = (task::pid_tgid() >> 32) as u32;
    let Some(own) = current::current(tgid) else { return 0 };
    let inherited = match UNITS.get_ptr(own) {
        // SAFETY: a live map value.
        Some(known) => unsafe { (*known).inherited != 0 },
        None => false,
    };
    if inherited {
        let _ = UNITS.remove(own);
    }
    0
}
