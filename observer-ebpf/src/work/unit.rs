//! Which request the calling thread, goroutine or Python context is working on.
//!
//! A wrong parent is worse than none. What is kept is a reference that resolves to nothing once the request is answered
//! (`reference`).
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
//! Cost: threads pay one lookup a request; the others a lookup a receive, Go and Python two reads of user memory with it.

use observer_abi::{
    connection::{Connection, role},
    process::{runtime, strict},
};

use crate::{
    core::{connection, scratch},
    kernel::{
        sock::blocking,
        task::{self, Caller},
    },
    tls::records,
    work::{
        reference::{NOTHING, is_unanswered, reference, resolve},
        runtime::{current::current, node, tokio},
        table::{ANSWERED, READ, THREADS, forget_thread, keep_only, kind_of, resume, set_thread, take, thread_read},
    },
};

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
        let caller = task::caller(pid_tgid);
        let serves = (*entry).role == role::SERVER && (*entry).context.span_id != [0; 8] && is_unanswered(entry);
        let request = if serves {
            reference(sock, entry)
        } else if (*entry).role == role::CLIENT && !records::is_shared(entry) {
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
