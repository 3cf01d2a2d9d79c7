//! Ids of requests, what threads are working on, and the same-host handoff.
//!
//! A wrong parent is worse than none. A thread has a context only while exactly one request that it read is open, and
//! only if it read that request from a socket that is blocking and watched by no epoll: such a thread can turn to
//! nothing else before it has answered. (Multiplexer waits themselves cannot be seen in the `socket` tier without
//! taxing every process, so a thread that reads any other way has no context at all.)

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use observer_abi::{
    connection::{Connection, OUTBOUND, role},
    context::{Context, Handoff, HandoffKey, Thread, method},
    loss::Counter,
};

use crate::{
    maps::{CONNECTIONS, HANDOFF, THREADS},
    output::count,
    task,
};

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

/// The calling task, with the start times that make its ids unique.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
    /// Start of the process's leader, ns since boot.
    pub(crate) process_start: u64,
    /// Start of the thread, ns since boot.
    pub(crate) thread_start: u64,
}

/// # Safety
/// Called in the context of the task that moves the data.
#[inline(always)]
pub(crate) unsafe fn caller(pid_tgid: u64) -> Caller {
    let (process_start, thread_start) = task::start_times();
    Caller { tgid: (pid_tgid >> 32) as u32, tid: pid_tgid as u32, process_start, thread_start }
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_prandom_u32() as u32 }
}

#[inline(always)]
fn new_span_id() -> [u8; 8] {
    let id = (u64::from(random()) << 32) | u64::from(random()) | 1;
    id.to_ne_bytes()
}

#[inline(always)]
fn new_trace_id() -> [u8; 16] {
    let id = (u128::from(random()) << 96)
        | (u128::from(random()) << 64)
        | (u128::from(random()) << 32)
        | u128::from(random())
        | 1;
    id.to_ne_bytes()
}

/// The request's first sequence number, and position 0 of the server's stream: both are on the wire, so both ends have
/// them, whatever addresses lie between. (The other stream's position 0 is not usable: an active opener counts its SYN
/// as an acknowledged byte.)
#[inline(always)]
fn handoff_key(entry: &Connection, position: u64) -> HandoffKey {
    let (request, response) = if entry.role == role::CLIENT {
        (entry.outbound_base, entry.inbound_base)
    } else {
        (entry.inbound_base, entry.outbound_base)
    };
    HandoffKey { pair: u64::from(response), position: u64::from(request.wrapping_add(position as u32)) }
}

/// Ids for a request that a client is about to send.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn open_client(entry: *mut Connection, caller: &Caller, position: u64, now: u64) {
    // SAFETY: live map values.
    unsafe {
        let context = &mut (*entry).context;
        begin(context, caller);
        if let Some(thread) = THREADS.get_ptr(caller.tid) {
            let thread = &*thread;
            if thread.start_ns == caller.thread_start && is_open(thread) {
                if thread.ambiguous == 0 {
                    context.trace_id = thread.trace_id;
                    context.parent_span_id = thread.span_id;
                    context.parent_method = method::THREAD;
                    count(Counter::ThreadParent, 1);
                } else {
                    count(Counter::ThreadAmbiguous, 1);
                }
            }
        }
        if (*entry).tcp == 0 {
            return;
        }
        let handoff =
            Handoff { trace_id: context.trace_id, span_id: context.span_id, time_ns: now, observer: 0 };
        if HANDOFF.insert(handoff_key(&*entry, position), &handoff, ANY).is_ok() {
            count(Counter::HandoffWritten, 1);
        }
    }
}

/// Marks the other end of a connection of observer's own, so that it is left alone.
#[inline(always)]
pub(crate) fn mark_observer(entry: &Connection, position: u64, now: u64) {
    let handoff = Handoff { trace_id: [0; 16], span_id: [0; 8], time_ns: now, observer: 1 };
    let _ = HANDOFF.insert(handoff_key(entry, position), &handoff, ANY);
}

/// What a server finds about the request that it just read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// A request to be traced.
    Request,
    /// The other end is observer.
    Observer,
}

/// Ids for a request that a server has read.
///
/// # Safety
/// `entry` is a live map value of the sock at `sock`; `blocking` as [`crate::sock::is_plainly_blocking`] says.
#[inline(always)]
pub(crate) unsafe fn open_server(
    sock: u64,
    entry: *mut Connection,
    caller: &Caller,
    position: u64,
    blocking: bool,
) -> Opened {
    // SAFETY: live map values.
    unsafe {
        let response_at_open = (*entry).directions[OUTBOUND as usize].end;
        begin(&mut (*entry).context, caller);
        (*entry).context.response_at_open = response_at_open;
        if (*entry).tcp != 0 {
            let key = handoff_key(&*entry, position);
            if let Some(handoff) = HANDOFF.get_ptr(key) {
                let handoff = &*handoff;
                if handoff.observer != 0 {
                    return Opened::Observer;
                }
                (*entry).context.trace_id = handoff.trace_id;
                (*entry).context.parent_span_id = handoff.span_id;
                (*entry).context.parent_method = method::HANDOFF;
                let _ = HANDOFF.remove(key);
                count(Counter::HandoffFound, 1);
            }
        }
        let known = THREADS.get_ptr_mut(caller.tid);
        let busy = match known {
            Some(thread) => (*thread).start_ns == caller.thread_start && is_open(&*thread),
            None => false,
        };
        if busy {
            // It read another request before it answered the first.
            if let Some(thread) = known {
                (*thread).ambiguous = 1;
            }
        } else if blocking {
            let thread = Thread {
                sock,
                generation: (*entry).generation,
                trace_id: (*entry).context.trace_id,
                span_id: (*entry).context.span_id,
                response_at_open,
                start_ns: caller.thread_start,
                ambiguous: 0,
            };
            if THREADS.insert(caller.tid, &thread, ANY).is_err() {
                count(Counter::ThreadTableFull, 1);
            }
        }
        Opened::Request
    }
}

#[inline(always)]
fn begin(context: &mut Context, caller: &Caller) {
    context.trace_id = new_trace_id();
    context.span_id = new_span_id();
    context.parent_span_id = [0; 8];
    context.parent_method = method::NONE;
    context.tid = caller.tid;
    context.tgid = caller.tgid;
    context.start_ns = caller.process_start;
}

/// Whether the thread's request has not been answered yet, by whichever thread.
#[inline(always)]
fn is_open(thread: &Thread) -> bool {
    match CONNECTIONS.get_ptr(thread.sock) {
        // SAFETY: a live map value.
        Some(entry) => unsafe {
            (*entry).generation == thread.generation
                && (*entry).directions[OUTBOUND as usize].end == thread.response_at_open
                && (*entry).directions[OUTBOUND as usize].announced <= thread.response_at_open
        },
        None => false,
    }
}

/// The thread answered with an interim response: its request is still open.
#[inline(always)]
pub(crate) fn interim_sent(sock: u64, tid: u32, response_end: u64) {
    if let Some(thread) = THREADS.get_ptr_mut(tid) {
        // SAFETY: a live map value.
        unsafe {
            if (*thread).sock == sock {
                (*thread).response_at_open = response_end;
            }
        }
    }
}
