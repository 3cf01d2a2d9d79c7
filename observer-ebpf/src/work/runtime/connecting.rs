//! What an event loop's client sockets are for, from connect() to close().
//!
//! An event loop connects for a request, does other things, and writes when the connection is there: the new socket
//! remembers. And when it closes such a socket it is working for that request again (nginx closes an upstream that
//! failed, then tries the next one).
//!
//! State changes run in softirq, too, on top of whichever task was interrupted. These do not, as in
//! `net/ipv4/tcp.c` and `tcp_ipv4.c` since 4.16: CLOSE to SYN_SENT (connect), to FIN_WAIT1 or LAST_ACK
//! (`tcp_close_state`: close, shutdown), and `tcp_destroy_sock` of a sock that reached CLOSE before its process closed
//! it.

use aya_ebpf::{macros::map, maps::LruHashMap};
use observer_abi::{
    connection::{Connection, role},
    context::RequestReference,
    process::{runtime, strict},
};

use crate::{
    carry::inject,
    core::connection,
    kernel::{sock::state, task},
    work::{
        link, reference,
        runtime::node,
        table::{self, THREADS},
    },
};

/// Kernel: what sockets of event loops are for that are connecting, or broke before the process closed them.
#[map]
pub(crate) static CONNECTING: LruHashMap<u64, RequestReference> = LruHashMap::with_max_entries(4096, 0);

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

/// connect() was called.
#[inline(always)]
pub(crate) fn began(sock: *const u8) {
    let pid_tgid = task::pid_tgid();
    inject::connecting(sock, (pid_tgid >> 32) as u32);
    if table::kind_of((pid_tgid >> 32) as u32) != runtime::EVENT_LOOP {
        return;
    }
    let request = match THREADS.get_ptr(pid_tgid as u32) {
        // SAFETY: a live map value.
        Some(thread) => unsafe { (*thread).request },
        None => reference::NOTHING,
    };
    let _ = CONNECTING.insert(sock as u64, &request, ANY);
    link::wrote(sock as u64, pid_tgid as u32);
}

/// The connection is there.
///
/// # Safety
/// `entry` is a valid map value.
#[inline(always)]
pub(crate) unsafe fn established(sock: u64, entry: *mut Connection) {
    if let Some(request) = CONNECTING.get_ptr(sock) {
        // SAFETY: as promised; a live map value.
        unsafe { (*entry).owner = *request };
        let _ = CONNECTING.remove(sock);
    }
}

/// The process closes a client's connection.
#[inline(always)]
pub(crate) fn closed(sock: *const u8) {
    if let Some(entry) = connection::find(sock as u64) {
        // SAFETY: a live map value.
        unsafe {
            if (*entry).role == role::CLIENT && (*entry).runtime == runtime::EVENT_LOOP {
                work_for(&(*entry).owner);
            }
        }
    }
}

/// The connection reached CLOSE; where the process did not close it first, it will.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn broke(sock: u64, entry: *const Connection, old: i32) {
    let open = old == i32::from(state::ESTABLISHED) || old == i32::from(state::CLOSE_WAIT);
    // SAFETY: as promised.
    unsafe {
        if open && (*entry).role == role::CLIENT && (*entry).runtime == runtime::EVENT_LOOP {
            let _ = CONNECTING.insert(sock, &(*entry).owner, ANY);
        }
    }
}

/// The process closed a sock that never connected or had broken.
#[inline(always)]
pub(crate) fn destroyed(sock: *const u8) {
    if let Some(request) = CONNECTING.get_ptr(sock as u64) {
        // SAFETY: a live map value.
        work_for(unsafe { &*request });
        let _ = CONNECTING.remove(sock as u64);
    }
}

#[inline(always)]
fn work_for(request: &observer_abi::context::RequestReference) {
    let pid_tgid = task::pid_tgid();
    // An event loop's thread only: a process that ends closes its sockets, too.
    if table::kind_of((pid_tgid >> 32) as u32) == runtime::EVENT_LOOP {
        // SAFETY: the current task calls.
        let caller = unsafe { task::caller(pid_tgid) };
        match table::strict(caller.tgid) {
            strict::NO => table::resume(&caller, request),
            // Whatever it closes, it goes on with what it is at.
            strict::ALONE if node::is_own_turn(caller.tid) => {}
            _ => table::resume(&caller, &reference::NOTHING),
        }
    }
}
