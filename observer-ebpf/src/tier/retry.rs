//! Sends whose bytes could not be read before they left: they lay in pages that the process had not touched (a file
//! mapped into memory, a constant). The kernel's own copy brings the page in, so they are read when the send is over.
//!
//! Cost: an array lookup at the end of each send.

use aya_ebpf::{macros::map, maps::Array};
use observer_abi::{connection::OUTBOUND, loss::Counter};

use crate::{
    core::{call::retry, output::count, scratch::Scratch},
    kernel::{read::KernelRead, sock::Kind, task},
    tier::socket::{self, Buffer, Moved},
};

/// Kernel: sends that are to be read at their end.
#[map]
pub(crate) static FAULTED: Array<Faulted> = Array::with_max_entries(PLACES, 0);

/// A send that is to be read at its end.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Faulted {
    sock: u64,
    /// The position behind its last byte.
    end: u64,
    tid: u32,
    reserved: u32,
}

/// Places, by the low bits of the thread's id: a power of two. Of two threads in one place the first one's send is lost,
/// and counted.
pub(crate) const PLACES: u32 = 1024;

#[inline(always)]
fn place(tid: u32) -> Option<*mut Faulted> {
    FAULTED.get_ptr_mut(tid & (PLACES - 1))
}

/// The call in the scratch is read later, where the core says that it is to be.
///
/// # Safety
/// `scratch` is a map value.
#[inline(always)]
pub(crate) unsafe fn note_wanted(scratch: *const Scratch) {
    // SAFETY: as promised; a live map value.
    unsafe {
        let call = &(*scratch).call;
        if call.retry != retry::WANTED {
            return;
        }
        let tid = call.pid_tgid as u32;
        if let Some(place) = place(tid) {
            if (*place).tid != 0 {
                count(Counter::CopyFault, 1);
            }
            (*place).sock = call.sock;
            (*place).end = call.end;
            (*place).tid = tid;
        }
    }
}

/// Whether this send, up to `end`, was noted: a segment of it has left since.
#[inline(always)]
pub(crate) fn is_noted(sock: u64, end: u64, pid_tgid: u64) -> bool {
    let tid = pid_tgid as u32;
    match place(tid) {
        // SAFETY: a live map value.
        Some(place) => unsafe { (*place).tid == tid && (*place).sock == sock && (*place).end == end },
        None => false,
    }
}

/// Reads the send that is over and moved `result` bytes, if it was noted. Returns whether it was.
///
/// # Safety
/// `sock` is a TCP sock, see [`KernelRead`]; called by the task that sent.
#[inline(always)]
pub(crate) unsafe fn sent<R: KernelRead>(sock: *const u8, result: i32, buffer: Buffer, slot: u32) -> bool {
    let tid = task::pid_tgid() as u32;
    let Some(place) = place(tid) else { return false };
    // SAFETY: a live map value, and as promised.
    unsafe {
        if (*place).tid != tid {
            return false;
        }
        (*place).tid = 0;
        if (*place).sock != sock as u64 || result <= 0 {
            return false;
        }
        let moved = Moved { direction: OUTBOUND, bytes: result as u32, buffer, record: 0 };
        socket::after_call::<R>(sock, Kind::Tcp, &moved, slot);
    }
    true
}
