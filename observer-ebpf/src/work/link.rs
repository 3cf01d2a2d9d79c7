//! Node: which request a call without a parent may have been made for.
//!
//! Where `node` can't be certain, the request that the thread resumed last in this turn is likely the one: it was read, or
//! the answer to a call (or work of the thread pool) that may have been for it came. Not so where requests wait for one
//! another: what handles the answer to A's call may start the call that B had waiting. But then A, which has what it asked
//! for, is mostly answered before the call of B is. So the daemon is told when the call's answer comes, and only if the
//! request is still unanswered by then.
//!
//! What remains is watched: an answer mostly serves somebody at once. If that is often another request than the one that was
//! likely, calls of this thread get no links.
//!
//! Nothing of this is ever a parent, and nothing is handed on: the daemon makes a link of it.
//!
//! Cost: for each call of a Node process two or three map lookups, and for each of its receives and answers one or two; in
//! nginx a lookup each.

use aya_ebpf::{macros::map, maps::LruHashMap};
use observer_abi::{
    connection::{INBOUND, role},
    context::{RequestReference, Unit, UnitKey, method},
    loss::Counter,
    record::{LinkFound, RecordHeader, kind},
};

use crate::{
    core::{connection, output, scratch},
    kernel::globals::settings,
    tls::records,
    work::{reference, runtime::node::LOOPS, table::UNITS},
};

/// Kernel: what Node had resumed last when it connected or wrote, by sock address.
#[map]
pub(crate) static LIKELY: LruHashMap<u64, RequestReference> = LruHashMap::with_max_entries(4096, 0);

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;
/// A thread's calls get links as long as at most one of so many answers served another request than was likely.
const TRUSTED: u32 = 32;
/// Answers after which older ones count half.
const REMEMBERED: u32 = 256;

/// The thread resumed `request`, or something that is for none.
#[inline(always)]
pub(crate) fn resumed(tid: u32, request: &RequestReference) {
    if settings().links() == 0 {
        return;
    }
    if let Some(known) = LOOPS.get_ptr_mut(tid) {
        // SAFETY: a live map value.
        unsafe {
            (*known).last = *request;
            (*known).guess = 0;
        }
    }
}

/// The thread connects the sock, or writes to it.
#[inline(always)]
pub(crate) fn wrote(sock: u64, tid: u32) {
    if settings().links() == 0 {
        return;
    }
    // nginx has none, and pays no more than this.
    let Some(known) = LOOPS.get_ptr(tid) else { return };
    // SAFETY: a live map value.
    unsafe {
        if (*known).last.sock != 0 {
            let _ = LIKELY.insert(sock, &(*known).last, ANY);
        } else {
            let _ = LIKELY.remove(sock);
        }
    }
}

/// The thread gives work to the thread pool. Returns whether that is for something.
#[inline(always)]
pub(crate) fn submitted(work: &UnitKey, tid: u32) -> bool {
    if settings().links() == 0 {
        return false;
    }
    let Some(known) = LOOPS.get_ptr(tid) else { return false };
    // SAFETY: a live map value.
    let last = unsafe { (*known).last };
    if last.sock == 0 {
        return false;
    }
    let value = Unit { request: last, ambiguous: 1, inherited: 0 };
    if UNITS.insert(*work, &value, ANY).is_err() {
        output::count(Counter::UnitTableFull, 1);
        return false;
    }
    true
}

/// The thread read: what lies in the scratch of `slot`. A function to the verifier, too, as those of `capture`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn link_received(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let (sock, tid) = ((*scratch).call.sock, (*scratch).call.pid_tgid as u32);
        let Some(entry) = connection::of(&(*scratch).call) else { return 0 };
        let Some(known) = LOOPS.get_ptr_mut(tid) else { return 0 };
        let last = &raw mut (*known).last;
        (*known).guess = 0;
        let (role, context) = ((*entry).role, &raw const (*entry).context);
        if role == role::SERVER && (*context).span_id != [0; 8] && reference::is_unanswered(entry) {
            (*last).sock = sock;
            (*last).generation = (*entry).generation;
            (*last).span_id = u64::from_ne_bytes((*context).span_id);
        } else if role == role::CLIENT && records::is_followed(entry) {
            // Whose the bytes of a TLS connection are is followed elsewhere.
            output::copy_words(last, &raw const (*entry).owner);
        } else if role == role::CLIENT
            && let Some(likely) = LIKELY.get_ptr(sock)
        {
            output::copy_words(last, likely);
            if (*context).parent_method == method::NONE {
                (*known).guess = 1;
            }
        } else {
            (*last).sock = 0;
        }
    }
    0
}

/// A run of a client's connection begins, with the call that lies in the scratch of `slot`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn link_called(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let (sock, tid) = ((*scratch).call.sock, (*scratch).call.pid_tgid as u32);
        let Some(entry) = connection::of(&(*scratch).call) else { return 0 };
        if !reference::is_connected_for(entry) {
            wrote(sock, tid);
        } else if let Some(likely) = LIKELY.get_ptr(sock) {
            resumed(tid, &*likely);
        } else {
            resumed(tid, &reference::NOTHING);
        }
    }
    0
}

/// The answer to a call begins.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn link_answered(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let sock = (*scratch).call.sock;
        let Some(entry) = connection::of(&(*scratch).call) else { return 0 };
        let context = &raw const (*entry).context;
        if (*context).parent_method != method::NONE || (*context).span_id == [0; 8] {
            return 0;
        }
        let Some(likely) = LIKELY.get_ptr(sock) else { return 0 };
        let tid = (*scratch).call.pid_tgid as u32;
        match LOOPS.get_ptr(tid) {
            Some(known) if (*known).guessed_wrong * TRUSTED <= (*known).guessed_right => {}
            _ => return 0,
        }
        let Some(request) = reference::resolve(&*likely) else { return 0 };
        if (*request).context.tid != tid {
            // Left over from another thread's socket at this address.
            return 0;
        }
        let link = &raw mut (*scratch).link;
        (*link).header = RecordHeader {
            sock,
            generation: (*entry).generation,
            time_ns: (*scratch).call.now,
            captured: 0,
            kind: kind::LINK_FOUND,
            direction: INBOUND,
            flags: 0,
            role: role::CLIENT,
        };
        (*link).call_span_id = (*context).span_id;
        (*link).span_id = (*likely).span_id.to_ne_bytes();
        output::copy_words(&raw mut (*link).trace_id, &raw const (*request).context.trace_id);
        // Answered, and another one came, while this was copied.
        if reference::resolve(&*likely).is_some() {
            output::count(Counter::LinkFound, 1);
            output::send((*entry).generation, link.cast(), size_of::<LinkFound>() as u64);
        }
    }
    0
}

/// The thread answers a request.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn link_served(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let (sock, tid) = ((*scratch).call.sock, (*scratch).call.pid_tgid as u32);
        let Some(known) = LOOPS.get_ptr_mut(tid) else { return 0 };
        let last = &raw const (*known).last;
        if (*known).guess == 0 || (*last).sock == 0 {
            return 0;
        }
        if (*last).sock == sock {
            (*known).guessed_right += 1;
        } else if reference::resolve(&*last).is_some() {
            (*known).guessed_wrong += 1;
        }
        if (*known).guessed_right + (*known).guessed_wrong > REMEMBERED {
            (*known).guessed_right /= 2;
            (*known).guessed_wrong /= 2;
        }
    }
    0
}
