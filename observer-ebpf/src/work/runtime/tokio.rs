//! Rust programs with tokio: which task works for which request.
//!
//! A task is known by its id, which tokio counts up and keeps for the thread while it polls the task: nothing has to
//! stop for that. hyper reads a request and runs its handler in the task of the server's connection, but has the
//! handler's calls written by the tasks of its client's connections. It hands each to one of these over a channel of
//! that connection's own, and then wakes the task that waits at its other end:
//!
//! | program | where | registers |
//! |---|---|---|
//! | `hyper_request_sent` | in `hyper::client::dispatch::Sender::{try_send, send}`, at the call of `AtomicWaker::wake` | RDI: the channel's waker |
//!
//! From there on the woken task has a request to write for the one that is at work here, until it wrote it or read an
//! answer. Only one task at a time can hand requests to a connection of HTTP/1, and only when that is idle. Which task
//! woke which otherwise tells nothing: a task that reads the end of an answer wakes the connection, too, and what this
//! then writes may be somebody else's. (Seen once in a thousand calls at 64 at once.)
//!
//! A task that reads requests from two connections is a multiplexer, whether or not they overlap: nothing is said of it.
//! A task that is begun by another one works for nothing that is known.
//!
//! Cost: a breakpoint for each call that hyper makes; a word of user memory with each receive.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_abi::{
    context::{RequestReference, UnitKey, unit as kind},
    loss::Counter,
    process::runtime,
};

use crate::{
    core::output::count,
    kernel::{read::user, task},
    work::{
        reference,
        table::{self, RUNTIMES, UNITS},
    },
};

/// [`observer_abi::context::Unit::inherited`]: the request is that of a task which handed over one of its own.
const HANDED_OVER: u32 = 1;

/// `Header::vtable` (`tokio/src/runtime/task/core.rs`).
const TABLE: u64 = 16;
/// In that table, behind seven functions and the trailer's offset: the scheduler's, the id's.
const SCHEDULER_OFFSET: u64 = 64;
const ID_OFFSET: u64 = 72;

#[uprobe]
pub(crate) fn hyper_request_sent(ctx: ProbeContext) -> u32 {
    // SAFETY: the registers of the probe.
    let waker = unsafe { (*ctx.regs).rdi };
    let tgid = (task::pid_tgid() >> 32) as u32;
    sent(waker, tgid);
    0
}

#[inline(always)]
fn sent(waker: u64, tgid: u32) -> Option<()> {
    let found = RUNTIMES.get_ptr(tgid)?;
    // SAFETY: a live map value.
    let (runtime, id) = unsafe { ((*found).kind, u64::from((*found).unit_offset)) };
    if runtime != runtime::TOKIO {
        return None;
    }
    let writer = user(waiting_task(waker, id)?.wrapping_add(id))?;
    let writer = table::key(writer, tgid, kind::TOKIO_TASK)?;
    if let Some(known) = UNITS.get_ptr_mut(writer) {
        // SAFETY: a live map value.
        unsafe {
            if (*known).inherited != HANDED_OVER {
                return None;
            }
            (*known).request.sock = 0;
        }
    }
    let own = UNITS.get_ptr(current(tgid)?)?;
    // SAFETY: a live map value.
    let (request, has_read) = unsafe { ((*own).request, (*own).inherited == 0 && (*own).ambiguous == 0) };
    if has_read && reference::resolve(&request).is_some() {
        table::begin(&writer, &request, HANDED_OVER);
    }
    Some(())
}

/// The header of the task whose waker is kept here: two words, the address of functions and that of the task, and one
/// for the state, in the order that the compiler chose.
#[inline(always)]
fn waiting_task(waker: u64, id: u64) -> Option<u64> {
    let words = [user(waker)?, user(waker.wrapping_add(8))?, user(waker.wrapping_add(16))?];
    // A zero is the state, or in place of the functions' address: then nobody waits, and the other word is an old one.
    let (one, other) = if words[0] != 0 { (words[0], words[1]) } else { (words[1], words[2]) };
    if one == 0 || other == 0 {
        return None;
    }
    if is_task(other, id) {
        return Some(other);
    }
    if is_task(one, id) { Some(one) } else { None }
}

/// Whether a task of a scheduler of one word begins here: it points to a table with these offsets.
#[inline(always)]
fn is_task(header: u64, id: u64) -> bool {
    let Some(table) = user(header.wrapping_add(TABLE)) else { return false };
    user(table.wrapping_add(ID_OFFSET)) == Some(id)
        && user(table.wrapping_add(SCHEDULER_OFFSET)) == Some(id.wrapping_sub(8))
}

/// What a task works for that is about to write a request.
#[inline(always)]
pub(crate) fn request(key: &UnitKey) -> RequestReference {
    let Some(known) = UNITS.get_ptr_mut(*key) else { return reference::NOTHING };
    // SAFETY: a live map value.
    unsafe {
        if (*known).ambiguous != 0 {
            count(Counter::ThreadAmbiguous, 1);
            return reference::NOTHING;
        }
        let request = (*known).request;
        if (*known).inherited == HANDED_OVER {
            (*known).request.sock = 0;
        }
        request
    }
}

/// A task received: a request that it serves, or an answer to a call made for that one.
#[inline(always)]
pub(crate) fn received(key: &UnitKey, request: &RequestReference, serves: bool) {
    if let Some(known) = UNITS.get_ptr_mut(*key) {
        // SAFETY: a live map value.
        unsafe {
            if !serves {
                let other = request.sock != 0 && !reference::is_same(&(*known).request, request);
                if other || (*known).inherited == HANDED_OVER {
                    (*known).request.sock = 0;
                }
                return;
            }
            if (*known).inherited != HANDED_OVER {
                let before = (*known).request;
                let same = before.sock == request.sock && before.generation == request.generation;
                if same || before.sock == 0 {
                    (*known).request = *request;
                } else {
                    (*known).ambiguous = 1;
                }
                return;
            }
        }
    }
    if serves {
        table::begin(key, request, 0);
    }
}

/// The task that the calling thread polls.
#[inline(always)]
pub(crate) fn current(tgid: u32) -> Option<UnitKey> {
    let found = RUNTIMES.get_ptr(tgid)?;
    // SAFETY: a live map value.
    let found = unsafe { &*found };
    let id = user(task::thread_pointer()?.wrapping_add(found.thread_pointer_offset as u64))?;
    if id == 0 { None } else { Some(table::key_of(found, id, tgid, kind::TOKIO_TASK)) }
}
