//! Which request the calling thread, goroutine or Python context is working on.
//!
//! A wrong parent is worse than none. What is kept is never an id alone but a reference to the request where it lies,
//! in the entry of the connection that it came on: a request that was answered, whose connection ended, or after which
//! another one came resolves to nothing.
//!
//! | runtime | who works on a request | since when | until |
//! |---|---|---|---|
//! | threads | the thread | it read it by a call of its own from a socket that is blocking and (but for a JVM) watched by no epoll | it is answered |
//! | event loop | the thread | it read from the request's connection, or the answer to a call made for it, or closed such a call's connection; in Node only under the conditions of `node` | it reads anything else, or the loop turns to something else (`event_loop`) |
//! | Go | the goroutine | it read it, was begun by a goroutine that works for it (`go`), or writes for one | it is answered |
//! | Python | the context | it read it, or was copied from a context that works for it (`python`) | it is answered |
//! | Ruby | the fiber | it asked for the state of the request's connection (`ruby`) | it is answered, or it asked for another's |
//! | tokio | the task | it read it; or a task that did handed it a request to write (`tokio`) | it is answered; of one handed over, until it is written |
//!
//! A thread, goroutine or context that once read a second request before the first was answered is a multiplexer:
//! nothing is said of it any more. What is received for an io_uring is nobody's: the thread that happens to be in the
//! kernel then may go on with anything. (Multiplexer waits themselves cannot be seen in the `socket` tier without taxing
//! every process.)
//!
//! Cost: threads pay one lookup a request, as before; the others a lookup a receive, Go and Python two reads of user
//! memory with it.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_prandom_u32, bpf_probe_read_user},
    macros::map,
    maps::{Array, HashMap, LruHashMap},
};
use observer_abi::{
    connection::{Connection, OUTBOUND, flag, role},
    context::{RequestReference, Thread, Unit, UnitKey, method, unit},
    loss::Counter,
    process::{Runtime, runtime, strict},
};

use crate::{
    carry::context::Caller,
    core::{connection::{self, CONNECTIONS}, output::count, scratch},
    kernel::{sock::blocking, task},
    work::runtime::{node, ruby, tokio},
};

/// Kernel: what threads are working on, by thread id.
#[map]
pub(crate) static THREADS: LruHashMap<u32, Thread> = LruHashMap::with_max_entries(8192, 0);

/// Daemon, and the kernel at fork and exec: processes whose runtime tells more than their threads do.
#[map]
pub(crate) static RUNTIMES: HashMap<u32, Runtime> = HashMap::with_max_entries(8192, 0);

/// Kernel: what goroutines, Python contexts and waiting work are for.
#[map]
pub(crate) static UNITS: LruHashMap<UnitKey, Unit> = LruHashMap::with_max_entries(32768, 0);

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

pub(crate) const NOTHING: RequestReference = RequestReference { sock: 0, generation: 0, span_id: 0 };

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

/// The request that is open on a server's connection.
///
/// # Safety
/// `entry` is the live map value of the sock at `sock`.
#[inline(always)]
pub(crate) unsafe fn reference(sock: u64, entry: *const Connection) -> RequestReference {
    // SAFETY: as promised.
    unsafe {
        RequestReference {
            sock,
            generation: (*entry).generation,
            span_id: u64::from_ne_bytes((*entry).context.span_id),
        }
    }
}

/// Whether no byte of the answer to the server's request has left.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn is_unanswered(entry: *const Connection) -> bool {
    // SAFETY: as promised.
    unsafe {
        let out = &raw const (*entry).directions[OUTBOUND as usize];
        let from = (*entry).context.response_at_open;
        (*out).end == from && (*out).announced <= from
    }
}

/// Makes references to the open request of a server's connection lead nowhere.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn close(entry: *mut Connection) {
    // SAFETY: as promised.
    unsafe { (*entry).context.response_at_open = u64::MAX };
}

/// The entry that the request lies in, while it is open.
#[inline(always)]
pub(crate) fn resolve(request: &RequestReference) -> Option<*const Connection> {
    if request.sock == 0 {
        return None;
    }
    let entry = CONNECTIONS.get_ptr(request.sock)?;
    // SAFETY: a live map value.
    let open = unsafe {
        (*entry).generation == request.generation
            && u64::from_ne_bytes((*entry).context.span_id) == request.span_id
            && is_unanswered(entry)
    };
    if open { Some(entry) } else { None }
}

#[inline(always)]
pub(crate) fn is_same(one: &RequestReference, other: &RequestReference) -> bool {
    one.sock == other.sock && one.generation == other.generation && one.span_id == other.span_id
}

/// Whether nothing but its first run was written to a client's connection: then it is for what the process connected for.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn is_connected_for(entry: *const Connection) -> bool {
    // SAFETY: as promised.
    unsafe { (*entry).flags & flag::FROM_START != 0 && (*entry).directions[OUTBOUND as usize].runs <= 1 }
}

/// Writes into `owner` what the caller is working on, or nothing, and returns how that was found.
///
/// # Safety
/// `entry` is the live map value of a client's connection and `owner` its field of that name, which holds what the
/// process connected for.
#[inline(always)]
pub(crate) unsafe fn find(entry: *const Connection, caller: &Caller, owner: *mut RequestReference) -> u8 {
    // SAFETY: as promised; live map values.
    unsafe {
        let kind = (*entry).runtime;
        if kind == runtime::EVENT_LOOP && is_connected_for(entry) {
            // What the loop did last may be another request's business.
            resume(caller, &*owner);
            node::connected(caller.tid, &*owner);
            return method::EVENT_LOOP;
        }
        working_on(kind, caller, owner)
    }
}

/// The same without a connection that the process made for something.
///
/// # Safety
/// `kind` is that of the caller's process; `owner` is writable.
#[inline(always)]
pub(crate) unsafe fn working_on(kind: u32, caller: &Caller, owner: *mut RequestReference) -> u8 {
    // SAFETY: as promised; live map values.
    unsafe {
        *owner = NOTHING;
        if kind == runtime::EVENT_LOOP {
            if let Some(thread) = THREADS.get_ptr(caller.tid) {
                if (*thread).start_ns == caller.thread_start {
                    *owner = (*thread).request;
                }
            }
            return method::EVENT_LOOP;
        }
        if kind == runtime::UNKNOWN {
            return method::NONE;
        }
        if kind == runtime::RUBY {
            if let Some(request) = ruby::request(caller) {
                *owner = request;
                return method::RUBY_FIBER;
            }
        } else if kind == runtime::TOKIO {
            if let Some(key) = tokio::current(caller.tgid) {
                *owner = tokio::request(&key);
                return method::TOKIO_TASK;
            }
        } else if kind == runtime::GO || kind == runtime::PYTHON {
            if let Some(key) = current(caller.tgid) {
                if let Some(unit) = UNITS.get_ptr(key) {
                    if (*unit).ambiguous == 0 {
                        *owner = (*unit).request;
                    } else {
                        count(Counter::ThreadAmbiguous, 1);
                    }
                }
                return if kind == runtime::GO { method::GOROUTINE } else { method::PYTHON_CONTEXT };
            }
            if kind == runtime::GO {
                return method::NONE;
            }
        }
        if let Some(thread) = THREADS.get_ptr(caller.tid) {
            if (*thread).start_ns == caller.thread_start && (*thread).pending == 0 {
                if (*thread).ambiguous == 0 {
                    *owner = (*thread).request;
                } else {
                    count(Counter::ThreadAmbiguous, 1);
                }
            }
        }
        method::THREAD
    }
}

/// A server's request was read, in the open or not; `blocking` one of [`blocking`]. Where that keeps its thread busy,
/// the thread works for the request until it is answered.
///
/// # Safety
/// `entry` is the live map value of the sock at `sock`, with the request's ids.
#[inline(always)]
pub(crate) unsafe fn request_read(sock: u64, entry: *const Connection, caller: &Caller, blocking: u32) {
    // SAFETY: as promised.
    let (kind, request) = unsafe { ((*entry).runtime, reference(sock, entry)) };
    if !matches!(kind, runtime::EVENT_LOOP | runtime::GO | runtime::UNKNOWN) {
        let in_jvm = kind == runtime::JAVA && blocking == blocking::WATCHED;
        thread_read(caller, &request, blocking == blocking::PLAINLY || in_jvm);
    }
}

/// A thread read a request in a way that keeps it busy until it answers.
#[inline(always)]
fn thread_read(caller: &Caller, request: &RequestReference, blocking: bool) {
    if let Some(thread) = THREADS.get_ptr_mut(caller.tid) {
        // SAFETY: a live map value.
        unsafe {
            if (*thread).start_ns == caller.thread_start {
                if (*thread).request.sock != request.sock && (*thread).pending == 0 && resolve(&(*thread).request).is_some() {
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
        let thread =
            Thread { request: *request, start_ns: caller.thread_start, ambiguous: 0, pending: 0 };
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
fn set_thread(caller: &Caller, request: &RequestReference, pending: u32) {
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

/// Something arrived that is no connection of ours (a datagram, an encrypted stream): an event loop that read it is
/// no longer at what it read before.
#[inline(always)]
pub(crate) fn disturbed(pid_tgid: u64) {
    if THREADS.get_ptr(pid_tgid as u32).is_some() && kind_of((pid_tgid >> 32) as u32) == runtime::EVENT_LOOP {
        forget_thread(pid_tgid as u32);
        node::other(pid_tgid as u32);
    }
}

/// After each receive in a process whose runtime is known; the call lies in the scratch of `slot`. `opened` is 1 where a
/// run began with what it read. A function to the verifier, too, so that the stack that it needs is not its callers';
/// see `capture`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn unit_received(slot: u32, opened: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; the current task calls.
    unsafe {
        let (sock, pid_tgid) = ((*scratch).call.sock, (*scratch).call.pid_tgid);
        if let Some(entry) = connection::of(&(*scratch).call) {
            received(sock, entry, pid_tgid, opened != 0);
        }
    }
    0
}

/// # Safety
/// `entry` is the live map value of the sock at `sock`; called by the task that read.
#[inline(always)]
unsafe fn received(sock: u64, entry: *const Connection, pid_tgid: u64, opened: bool) {
    // SAFETY: as promised.
    unsafe {
        // What a fiber reads says nothing, and what a thread of a JVM reads is known already.
        if matches!((*entry).runtime, runtime::RUBY | runtime::JAVA | runtime::UNKNOWN) {
            return;
        }
        let caller = crate::carry::context::caller(pid_tgid);
        let serves = (*entry).role == role::SERVER && (*entry).context.span_id != [0; 8] && is_unanswered(entry);
        let request = if serves {
            reference(sock, entry)
        } else if (*entry).role == role::CLIENT {
            (*entry).owner
        } else {
            NOTHING
        };
        if (*entry).runtime == runtime::EVENT_LOOP {
            let is_told = match u32::from((*entry).strict) {
                strict::NO => true,
                strict::ALONE => {
                    let read = match (serves, opened) {
                        (true, true) => node::Read::Request,
                        (true, false) => node::Read::More,
                        _ => node::Read::Answer,
                    };
                    node::received(caller.tid, &request, read)
                }
                _ => serves,
            };
            resume(&caller, if is_told { &request } else { &NOTHING });
            return;
        }
        if (*entry).runtime == runtime::TOKIO {
            if let Some(key) = tokio::current(caller.tgid) {
                tokio::received(&key, &request, serves);
            }
            return;
        }
        match current(caller.tgid) {
            Some(key) if serves => take(&key, &request),
            Some(key) if request.sock != 0 => keep_only(&key, &request),
            Some(_) => {}
            // Python without a context: uvloop enters one to handle what it read.
            None if (*entry).runtime == runtime::PYTHON => {
                let known = THREADS.get_ptr(caller.tid);
                // A thread that reads blocking sockets goes on with what it is at.
                let busy = match known {
                    Some(thread) => (*thread).pending == 0 && resolve(&(*thread).request).is_some(),
                    None => false,
                };
                if !busy {
                    set_thread(&caller, &request, if serves { READ } else { ANSWERED });
                }
            }
            None => {}
        }
    }
}

/// [`Thread::pending`]: it read a request.
const READ: u32 = 1;
/// [`Thread::pending`]: it read the answer to a call made for a request.
const ANSWERED: u32 = 2;
/// [`Thread::pending`]: a context took it over.
const TAKEN: u32 = 3;

/// A unit read a request.
#[inline(always)]
fn take(key: &UnitKey, request: &RequestReference) {
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
fn keep_only(key: &UnitKey, request: &RequestReference) {
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

/// The goroutine or entered Python context that the calling thread runs.
#[inline(always)]
pub(crate) fn current(tgid: u32) -> Option<UnitKey> {
    let found = RUNTIMES.get_ptr(tgid)?;
    // SAFETY: a live map value.
    let found = unsafe { &*found };
    let holder = thread_word(tgid)?;
    if holder == 0 {
        return None;
    }
    let id = user(holder.wrapping_add(u64::from(found.unit_offset)))?;
    if id == 0 {
        return None;
    }
    if found.kind == runtime::GO {
        return Some(key_of(found, id, tgid, unit::GOROUTINE));
    }
    // A context that nobody entered is the thread's own: everything that runs on it shares it.
    let entered = user(id.wrapping_add(u64::from(found.second_offset)))?;
    if entered as u32 == 1 { Some(key_of(found, id, tgid, unit::PYTHON_CONTEXT)) } else { None }
}

/// The address that the runtime keeps for each thread: of its goroutine, or of its thread state.
#[inline(always)]
pub(crate) fn thread_word(tgid: u32) -> Option<u64> {
    let found = RUNTIMES.get_ptr(tgid)?;
    let pointer = task::thread_pointer()?;
    // SAFETY: a live map value.
    user(pointer.wrapping_add(unsafe { (*found).thread_pointer_offset } as u64))
}

/// A word of the process's memory.
#[inline(always)]
pub(crate) fn user(address: u64) -> Option<u64> {
    let mut word = 0u64;
    // SAFETY: a user address; a fault is reported.
    if unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, address as *const _) } == 0 { Some(word) } else { None }
}

#[inline(always)]
pub(crate) fn pid_tgid() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_pid_tgid() }
}
