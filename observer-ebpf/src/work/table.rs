//! What threads and units work for, and of what runtime processes are.
//!
//! A unit is a goroutine, a Python context, a fiber or a task. A thread or unit that once read a second request before the
//! first was answered is a multiplexer: nothing is said of it any more.

use aya_ebpf::{
    helpers::generated::bpf_get_prandom_u32,
    macros::map,
    maps::{Array, HashMap, LruHashMap},
};
use observer_abi::{
    context::{RequestReference, Thread, Unit, UnitKey},
    loss::Counter,
    process::{Runtime, runtime, strict},
};

use crate::{
    core::output::count,
    kernel::task::Caller,
    work::reference::{is_same, resolve},
};

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

/// Kernel: what threads are working on, by thread id.
#[map]
pub(crate) static THREADS: LruHashMap<u32, Thread> = LruHashMap::with_max_entries(8192, 0);

/// Daemon, and the kernel at fork and exec: processes whose runtime tells more than their threads do.
#[map]
pub(crate) static RUNTIMES: HashMap<u32, Runtime> = HashMap::with_max_entries(8192, 0);

/// Kernel: what goroutines, Python contexts and waiting work are for.
#[map]
pub(crate) static UNITS: LruHashMap<UnitKey, Unit> = LruHashMap::with_max_entries(32768, 0);

/// Kernel: 1 once the runtime of a process that was forked could not be kept: of those that are not there nothing is said
/// any more.
#[map]
static RUNTIME_REFUSED: Array<u32> = Array::with_max_entries(1, 0);

/// The kind of the process's runtime, and whether it is strict, see [`strict`].
#[inline(always)]
pub(crate) fn runtime_of(tgid: u32) -> (u32, u32) {
    if let Some(found) = RUNTIMES.get_ptr(tgid) {
        // SAFETY: a live map value.
        return unsafe { ((*found).kind, (*found).strict) };
    }
    match RUNTIME_REFUSED.get_ptr(0) {
        // SAFETY: a live map value.
        Some(refused) if unsafe { *refused } == 0 => (runtime::THREADS, strict::NO),
        _ => (runtime::UNKNOWN, strict::NO),
    }
}

/// A child's runtime is its parent's, but another life: an earlier process may have had its id.
#[inline(always)]
pub(crate) fn inherit_runtime(parent: u32, child: u32) {
    let Some(found) = RUNTIMES.get_ptr(parent) else {
        let _ = RUNTIMES.remove(child);
        return;
    };
    // SAFETY: a live map value; a helper without arguments.
    let inherited = unsafe { Runtime { life: bpf_get_prandom_u32() as u32 >> KIND_BITS, ..*found } };
    if RUNTIMES.insert(child, &inherited, ANY).is_err() {
        count(Counter::ProcessTableFull, 1);
        if let Some(refused) = RUNTIME_REFUSED.get_ptr_mut(0) {
            // SAFETY: a live map value.
            unsafe { *refused = 1 };
        }
    }
}

/// Bits of [`UnitKey::kind`] that are the kind's; the others are the process's life.
const KIND_BITS: u32 = 8;

/// The key of a goroutine, a context or the like of this process's; `None` where nothing is known of its runtime.
#[inline(always)]
pub(crate) fn key(unit: u64, tgid: u32, kind: u32) -> Option<UnitKey> {
    // SAFETY: a live map value.
    RUNTIMES.get_ptr(tgid).map(|found| unsafe { key_of(&*found, unit, tgid, kind) })
}

/// The same where the runtime was looked up.
#[inline(always)]
pub(crate) fn key_of(runtime: &Runtime, unit: u64, tgid: u32, kind: u32) -> UnitKey {
    UnitKey { unit, tgid, kind: kind | runtime.life << KIND_BITS }
}

/// The kind of the process's runtime.
#[inline(always)]
pub(crate) fn kind_of(tgid: u32) -> u32 {
    runtime_of(tgid).0
}

/// Whether what an event loop does with an answer may be another request's business: one of
/// [`strict`](observer_abi::process::strict).
#[inline(always)]
pub(crate) fn strict(tgid: u32) -> u32 {
    runtime_of(tgid).1
}

/// A thread read a request in a way that keeps it busy until it answers.
#[inline(always)]
pub(crate) fn thread_read(caller: &Caller, request: &RequestReference, blocking: bool) {
    if let Some(thread) = THREADS.get_ptr_mut(caller.tid) {
        // SAFETY: a live map value.
        unsafe {
            if (*thread).start_ns == caller.thread_start {
                if (*thread).request.sock != request.sock
                    && (*thread).pending == 0
                    && resolve(&(*thread).request).is_some()
                {
                    // It read another request before it answered the first.
                    (*thread).ambiguous = 1;
                } else if blocking {
                    (*thread).request = *request;
                    (*thread).pending = 0;
                }
                return;
            }
        }
    }
    if blocking {
        let thread = Thread { request: *request, start_ns: caller.thread_start, ambiguous: 0, pending: 0 };
        if THREADS.insert(caller.tid, &thread, ANY).is_err() {
            count(Counter::ThreadTableFull, 1);
        }
    }
}

/// An event loop's thread turns to this request, or to nothing that is known.
#[inline(always)]
pub(crate) fn resume(caller: &Caller, request: &RequestReference) {
    set_thread(caller, request, 0);
}

#[inline(always)]
pub(crate) fn set_thread(caller: &Caller, request: &RequestReference, pending: u32) {
    if let Some(thread) = THREADS.get_ptr_mut(caller.tid) {
        // SAFETY: a live map value.
        unsafe {
            (*thread).request = *request;
            (*thread).start_ns = caller.thread_start;
            (*thread).pending = pending;
        }
        return;
    }
    let thread = Thread { request: *request, start_ns: caller.thread_start, ambiguous: 0, pending };
    if THREADS.insert(caller.tid, &thread, ANY).is_err() {
        count(Counter::ThreadTableFull, 1);
    }
}

/// The thread turns to something unknown.
#[inline(always)]
pub(crate) fn forget_thread(tid: u32) {
    if let Some(thread) = THREADS.get_ptr_mut(tid) {
        // SAFETY: a live map value.
        unsafe { (*thread).request.sock = 0 };
    }
}

/// [`Thread::pending`]: it read a request.
pub(crate) const READ: u32 = 1;
/// [`Thread::pending`]: it read the answer to a call made for a request.
pub(crate) const ANSWERED: u32 = 2;
/// [`Thread::pending`]: a context took it over.
const TAKEN: u32 = 3;

/// A unit read a request.
#[inline(always)]
pub(crate) fn take(key: &UnitKey, request: &RequestReference) {
    if let Some(known) = UNITS.get_ptr_mut(*key) {
        // SAFETY: a live map value.
        unsafe {
            let other = (*known).request.sock != request.sock && (*known).inherited == 0;
            if other && resolve(&(*known).request).is_some() {
                (*known).ambiguous = 1;
            } else {
                (*known).request = *request;
                (*known).inherited = 0;
            }
        }
        return;
    }
    begin(key, request, 0);
}

/// A unit read an answer: whatever it worked for, if that is not what the call was made for, it now turns to something
/// unknown.
#[inline(always)]
pub(crate) fn keep_only(key: &UnitKey, request: &RequestReference) {
    if let Some(known) = UNITS.get_ptr_mut(*key) {
        // SAFETY: a live map value.
        unsafe {
            if !is_same(&(*known).request, request) {
                (*known).request.sock = 0;
            }
        }
    }
}

/// A unit begins to work for a request.
#[inline(always)]
pub(crate) fn begin(key: &UnitKey, request: &RequestReference, inherited: u32) {
    let value = Unit { request: *request, ambiguous: 0, inherited };
    if UNITS.insert(*key, &value, ANY).is_err() {
        count(Counter::UnitTableFull, 1);
    }
}

/// Makes `to` work for what `from` works for, or for nothing.
#[inline(always)]
pub(crate) fn inherit(from: &UnitKey, to: &UnitKey, inherited: u32) {
    if let Some(known) = UNITS.get_ptr(*from) {
        // SAFETY: a live map value.
        let (request, ambiguous) = unsafe { ((*known).request, (*known).ambiguous) };
        if ambiguous == 0 && resolve(&request).is_some() {
            begin(to, &request, inherited);
            return;
        }
    }
    let _ = UNITS.remove(*to);
}

/// A context is entered by a thread that has read something outside of any.
#[inline(always)]
pub(crate) fn entered(key: &UnitKey, tid: u32) {
    let Some(thread) = THREADS.get_ptr_mut(tid) else { return };
    // SAFETY: a live map value.
    unsafe {
        let pending = (*thread).pending;
        if pending == READ {
            begin(key, &(*thread).request, 0);
        } else if pending == ANSWERED && (*thread).request.sock != 0 {
            keep_only(key, &(*thread).request);
        }
        if pending != 0 {
            (*thread).pending = TAKEN;
        }
    }
}
