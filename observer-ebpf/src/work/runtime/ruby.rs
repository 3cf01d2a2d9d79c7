//! Ruby: which fiber turned to which request.
//!
//! Reading says nothing in puma, the server of most Ruby programs: its reactor reads requests that came slowly, and its
//! workers begin to read some that the reactor finishes and another worker answers. But before a worker calls the
//! application it asks the kernel for the state of the client's connection, to leave out those that went away:
//! `getsockopt(descriptor, IPPROTO_TCP, TCP_INFO)`. From there on it works for the request that is open on it.
//!
//! | program | where | registers |
//! |---|---|---|
//! | `ruby_connection_asked` | `getsockopt`, as Ruby's `socket.so` calls it | RDI: descriptor, RSI: level, RDX: option |
//!
//! Not a thread but its current fiber: one that the application switches to may work for others. A thread that the
//! application starts works for nothing that is known.
//!
//! Cost: a breakpoint a request. Not under lockdown, where the kernel lets no program follow a descriptor.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_abi::{
    connection::role,
    context::{RequestReference, UnitKey, unit as kind},
    process::runtime,
};

use crate::{
    core::connection,
    kernel::{
        descriptor,
        globals::{offset, settings},
        read::{KernelRead, Probe, user},
        task::{self, Caller},
    },
    work::{
        reference,
        table::{self, RUNTIMES, UNITS},
    },
};

const IPPROTO_TCP: u32 = 6;
/// `include/uapi/linux/tcp.h`
const TCP_INFO: u32 = 11;

#[uprobe]
pub(crate) fn ruby_connection_asked(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    let (descriptor, level, option) = unsafe { ((*ctx.regs).rdi, (*ctx.regs).rsi, (*ctx.regs).rdx) };
    if settings().may_probe_read() == 0 || level as u32 != IPPROTO_TCP || option as u32 != TCP_INFO {
        return 0;
    }
    let pid_tgid = task::pid_tgid();
    let Some(key) = fiber((pid_tgid >> 32) as u32, pid_tgid as u32) else { return 0 };
    match open_request(descriptor) {
        Some(request) => table::begin(&key, &request, 0),
        // Whatever it turned to, it is nothing that is known.
        None => {
            let _ = UNITS.remove(key);
        }
    }
    0
}

/// The request that is open on the connection with this descriptor, if the process serves it.
#[inline(always)]
fn open_request(descriptor: u64) -> Option<RequestReference> {
    // SAFETY: read by address; a null gives zero. A live map value.
    unsafe {
        let file = descriptor::socket_file(descriptor::files(), descriptor)?;
        let socket: *const u8 = Probe::read(file, offset!(file_private));
        let sock: u64 = Probe::read(socket, offset!(socket_sk));
        let entry = connection::find(sock)?;
        let serves =
            (*entry).role == role::SERVER && (*entry).context.span_id != [0; 8] && reference::is_unanswered(entry);
        if serves { Some(reference::reference(sock, entry)) } else { None }
    }
}

/// What the calling fiber turned to, while that is open.
#[inline(always)]
pub(crate) fn request(caller: &Caller) -> Option<RequestReference> {
    let found = UNITS.get_ptr(fiber(caller.tgid, caller.tid)?)?;
    // SAFETY: a live map value.
    let request = unsafe { (*found).request };
    reference::resolve(&request)?;
    Some(request)
}

/// The fiber that the calling thread runs: `ruby_current_ec`, found as the x86-64 ABI for thread-local storage says.
#[inline(always)]
fn fiber(tgid: u32, tid: u32) -> Option<UnitKey> {
    let found = RUNTIMES.get_ptr(tgid)?;
    // SAFETY: a live map value.
    let found = unsafe { &*found };
    if found.kind != runtime::RUBY {
        return None;
    }
    let table = user(task::thread_pointer()?.wrapping_add(found.thread_pointer_offset as u64))?;
    let block = user(table.wrapping_add(u64::from(found.unit_offset)))?;
    let context = user(block.wrapping_add(u64::from(found.second_offset)))?;
    if context == 0 {
        return None;
    }
    Some(table::key_of(found, context, tid, kind::RUBY_FIBER))
}
