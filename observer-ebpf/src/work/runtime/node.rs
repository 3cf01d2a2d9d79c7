//! Node: which request the JavaScript that runs now was set off by, as long as that is certain.
//!
//! JavaScript that handles the answer to one request's call may make another request's: a limiter or a pool starts what
//! waits in it when something ends, and nothing that V8 or Node keep tells that from a request's own next call
//! (`AsyncLocalStorage` itself names the wrong request then). But what waits there found no room when it came: so it was
//! put there after that began which ends now, by JavaScript that something else had set off. Hence: a request is alone
//! from when it was read until JavaScript runs that it did not set off, and what is called as long as it is alone is
//! called for it.
//!
//! | program | where | what runs then |
//! |---|---|---|
//! | `node_untold` | `uv__stream_io`; the call in `uv__async_io` for each handle that another thread woke | what is read or written next tells; if nothing does, something else |
//! | `node_other` | connections to accept, timers, datagrams, signals, handles that close | something else |
//! | `node_works` | `uv__work_done(uv_async_t *)` | nothing yet |
//! | `node_work_done`, `node_lookup_done` | `uv__fs_done(struct uv__work *, int)` and the like | whatever the work is for |
//! | `node_checked` | `uv__run_check`, once a turn of the loop | nothing yet |
//! | `node_immediates` | the call in `Environment::CheckImmediate` that runs immediates | what made them, where only one did |
//!
//! Cost: a breakpoint each time; two in each turn of the loop, and one for each event.

use aya_ebpf::{
    macros::{map, uprobe},
    maps::LruHashMap,
    programs::ProbeContext,
};
use observer_abi::context::{Loop, RequestReference, immediates, turn, unit as unit_kind};

use crate::{
    kernel::task,
    work::{
        link, reference,
        table::{self, UNITS},
    },
};

/// Kernel: Node's event loops, by thread id.
#[map]
pub(crate) static LOOPS: LruHashMap<u32, Loop> = LruHashMap::with_max_entries(4096, 0);

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

#[uprobe]
pub(crate) fn node_untold(_: ProbeContext) -> u32 {
    let tid = task::pid_tgid() as u32;
    table::forget_thread(tid);
    if let Some(known) = LOOPS.get_ptr_mut(tid) {
        // SAFETY: a live map value.
        unsafe {
            finish(known);
            (*known).turn = turn::UNTOLD;
            (*known).last.sock = 0;
        }
    }
    0
}

#[uprobe]
pub(crate) fn node_other(_: ProbeContext) -> u32 {
    let tid = task::pid_tgid() as u32;
    table::forget_thread(tid);
    other(tid);
    0
}

#[uprobe]
pub(crate) fn node_checked(_: ProbeContext) -> u32 {
    let tid = task::pid_tgid() as u32;
    table::forget_thread(tid);
    if let Some(known) = LOOPS.get_ptr_mut(tid) {
        // SAFETY: a live map value.
        unsafe {
            finish(known);
            (*known).due = (*known).pending;
            (*known).pending = 0;
            if (*known).due & immediates::OTHERS != 0 {
                // Node's own, which come first, may run JavaScript, too.
                (*known).alone.sock = 0;
            }
            (*known).turn = turn::OTHERS;
            (*known).last.sock = 0;
        }
    }
    0
}

#[uprobe]
pub(crate) fn node_immediates(_: ProbeContext) -> u32 {
    let pid_tgid = task::pid_tgid();
    let Some(known) = LOOPS.get_ptr_mut(pid_tgid as u32) else { return 0 };
    // SAFETY: a live map value; the current task calls.
    unsafe {
        if (*known).alone.sock == 0 || (*known).due != immediates::OWN {
            lose(known);
        } else {
            own(known);
            let caller = task::caller(pid_tgid);
            table::resume(&caller, &(*known).alone);
            (*known).last = (*known).alone;
            (*known).guess = 0;
        }
    }
    0
}

/// The loop is about to go through the work that the thread pool has done, each of which tells for itself.
#[uprobe]
pub(crate) fn node_works(_: ProbeContext) -> u32 {
    if let Some(known) = LOOPS.get_ptr_mut(task::pid_tgid() as u32) {
        // SAFETY: a live map value.
        unsafe {
            (*known).turn = turn::OTHERS;
            (*known).last.sock = 0;
        }
    }
    0
}

#[uprobe]
pub(crate) fn node_work_done(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    work_done(unsafe { (*ctx.regs).rdi }, false);
    0
}

/// Names are looked up to connect, and the connection is for what asked.
#[uprobe]
pub(crate) fn node_lookup_done(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    work_done(unsafe { (*ctx.regs).rdi }, true);
    0
}

#[inline(always)]
fn work_done(work: u64, is_lookup: bool) {
    let pid_tgid = task::pid_tgid();
    let tid = pid_tgid as u32;
    table::forget_thread(tid);
    let key = table::key(work, (pid_tgid >> 32) as u32, unit_kind::LIBUV_WORK);
    let Some((key, found)) = key.and_then(|key| Some((key, UNITS.get_ptr(key)?))) else {
        other(tid);
        return;
    };
    // SAFETY: live map values; the current task calls.
    unsafe {
        let request = (*found).request;
        let is_certain = (*found).ambiguous == 0;
        let _ = UNITS.remove(key);
        if is_certain {
            let is_own = answered(tid, &request);
            if is_own || is_lookup {
                table::resume(&task::caller(pid_tgid), &request);
            }
        } else {
            other(tid);
        }
        link::resumed(tid, &request);
    }
}

/// Something that was asked for in the name of `request` has come. Returns whether that is alone.
#[inline(always)]
fn answered(tid: u32, request: &RequestReference) -> bool {
    let Some(known) = LOOPS.get_ptr_mut(tid) else { return false };
    // SAFETY: a live map value.
    unsafe {
        let is_own = request.sock != 0 && reference::is_same(&(*known).alone, request);
        if is_own {
            own(known);
        } else {
            lose(known);
        }
        is_own
    }
}

/// Something else runs than what the request that is alone set off.
#[inline(always)]
pub(crate) fn other(tid: u32) {
    if let Some(known) = LOOPS.get_ptr_mut(tid) {
        // SAFETY: a live map value.
        unsafe { lose(known) };
    }
}

/// How what a thread read has to do with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// Its first bytes.
    Request,
    /// More of it.
    More,
    /// The answer to a call that was made for it.
    Answer,
}

/// The thread read from a connection. Returns whether what it does now is for the request.
#[inline(always)]
pub(crate) fn received(tid: u32, request: &RequestReference, read: Read) -> bool {
    if read != Read::Request {
        // Where others ran since it was read, more of a request does not make it alone again.
        return answered(tid, request) || read == Read::More;
    }
    let Some(known) = LOOPS.get_ptr_mut(tid) else {
        // What was there before is not known.
        let pending = immediates::OTHERS;
        let value = Loop {
            alone: *request,
            last: *request,
            turn: turn::OWN,
            pending,
            due: 0,
            guess: 0,
            guessed_right: 0,
            guessed_wrong: 0,
        };
        let _ = LOOPS.insert(tid, &value, ANY);
        return true;
    };
    // SAFETY: a live map value.
    unsafe {
        if (*known).pending != 0 {
            (*known).pending = immediates::OTHERS;
        }
        (*known).alone = *request;
        own(known);
    }
    true
}

/// The thread writes to a connection that `request` connected, now that it is there.
#[inline(always)]
pub(crate) fn connected(tid: u32, request: &RequestReference) {
    if let Some(known) = LOOPS.get_ptr_mut(tid) {
        // SAFETY: a live map value.
        unsafe {
            if (*known).turn == turn::UNTOLD && request.sock != 0 && reference::is_same(&(*known).alone, request) {
                own(known);
            }
        }
    }
}

/// Whether the thread is at something that the request that is alone set off.
#[inline(always)]
pub(crate) fn is_own_turn(tid: u32) -> bool {
    match LOOPS.get_ptr(tid) {
        // SAFETY: a live map value.
        Some(known) => unsafe { (*known).turn == turn::OWN },
        None => false,
    }
}

/// A turn is over that nothing was seen of.
///
/// # Safety
/// `known` is a live map value.
#[inline(always)]
unsafe fn finish(known: *mut Loop) {
    // SAFETY: as promised.
    unsafe {
        if (*known).turn == turn::UNTOLD {
            lose(known);
        }
    }
}

/// # Safety
/// `known` is a live map value.
#[inline(always)]
unsafe fn lose(known: *mut Loop) {
    // SAFETY: as promised.
    unsafe {
        (*known).alone.sock = 0;
        (*known).last.sock = 0;
        (*known).turn = turn::OTHERS;
        (*known).pending = immediates::OTHERS;
    }
}

/// # Safety
/// `known` is a live map value.
#[inline(always)]
unsafe fn own(known: *mut Loop) {
    // SAFETY: as promised.
    unsafe {
        (*known).turn = turn::OWN;
        (*known).pending |= immediates::OWN;
    }
}
