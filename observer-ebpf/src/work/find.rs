//! Who calls, and what that thread or unit works for.
//!
//! Cost: a lookup for a thread; for Go and Python two reads of user memory with it.

use observer_abi::{
    connection::Connection,
    context::{RequestReference, method},
    loss::Counter,
    process::runtime,
};

use crate::{
    core::output::count,
    kernel::task::Caller,
    work::{
        reference::{NOTHING, is_connected_for},
        runtime::{current::current, node, ruby, tokio},
        table::{THREADS, UNITS, resume},
    },
};

/// Writes into `owner` what the caller is working on, or nothing, and returns how that was found.
///
/// # Safety
/// `entry` is the live map value of a client's connection and `owner` its field of that name, which holds what the
/// process connected for.
#[inline(always)]
pub(crate) unsafe fn owner(entry: *const Connection, caller: &Caller, owner: *mut RequestReference) -> u8 {
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
