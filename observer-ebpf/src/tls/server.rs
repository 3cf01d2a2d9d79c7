//! The server's end of an opaque connection: whoever reads works for the request that the bytes were written for.

use observer_abi::{
    connection::{Connection, INBOUND, OUTBOUND, flag},
    context::{Handoff, method},
    control::shape,
    loss::Counter,
};

use super::{
    between_hosts::{self, arrived},
    handshake::state,
    opaque::forget,
};
use crate::{
    carry::context::{self, HANDOFF},
    core::{
        call::Call,
        connection,
        output::{self, count},
        scratch,
    },
    kernel::{
        globals::settings,
        task::{self, Caller},
    },
    work::unit,
};

/// A server has read, application data from `look` bytes into the call on.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_read(slot: u32, look: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let this = &raw mut (*entry).directions[INBOUND as usize];
        let out = &raw const (*entry).directions[OUTBOUND as usize];
        let written = if (*out).announced > (*out).end { (*out).announced } else { (*out).end };
        if (*this).runs == 0 || (*this).other_at_start != written {
            (*this).other_at_start = written;
            (*this).runs += 1;
            (*this).shipped = state::OPEN;
            forget(entry);
        }
        let first = call.start.wrapping_add(u64::from(look));
        let found = match HANDOFF.get_ptr(context::handoff_key(&*entry, 0)) {
            Some(handoff) if (*handoff).observer != 0 => {
                (*entry).shape = shape::IGNORE;
                (*entry).flags |= flag::OBSERVER;
                return 0;
            }
            Some(handoff) => claimed(entry, first, call.end, handoff),
            None if settings().tcp_option() != 0 => between_hosts::opaque_arrived(slot, first),
            None => arrived::NEVER,
        };
        let open = (*entry).context.span_id != [0; 8];
        let spoiled = (*this).shipped & state::SPOILED != 0;
        match found {
            // The ids are in the entry.
            arrived::NOW if !spoiled => take(entry, call),
            arrived::SAME if open => {}
            arrived::SECOND => {
                forget(entry);
                (*entry).shape = shape::IGNORE;
                count(Counter::OpaqueShared, 1);
            }
            // Whoever is at the other end, it tells nothing.
            arrived::NEVER => {
                forget(entry);
                (*entry).shape = shape::IGNORE;
            }
            _ => {
                forget(entry);
                (*this).shipped |= state::SPOILED;
            }
        }
    }
    0
}

/// What the client's end claims of the bytes that were read, one of [`arrived`].
#[inline(always)]
unsafe fn claimed(entry: *mut Connection, first: u64, end: u64, handoff: *const Handoff) -> u32 {
    // SAFETY: as the callers promise.
    unsafe {
        if (*handoff).from > first || (*handoff).until < end || (*handoff).span_id == [0; 8] {
            return arrived::NOTHING;
        }
        if (*entry).context.span_id != [0; 8] {
            let same = (*handoff).span_id == (*entry).context.span_id;
            return if same { arrived::SAME } else { arrived::SECOND };
        }
        output::copy_words(&raw mut (*entry).context.trace_id, &raw const (*handoff).trace_id);
        (*entry).context.span_id = (*handoff).span_id;
        arrived::NOW
    }
}

/// Whoever read works for the request whose ids are in the entry's context.
#[inline(always)]
unsafe fn take(entry: *mut Connection, call: &Call) {
    // SAFETY: as the callers promise.
    unsafe {
        let caller: Caller = task::caller(call.pid_tgid);
        let context = &raw mut (*entry).context;
        (*context).parent_span_id = [0; 8];
        (*context).parent_method = method::NONE;
        (*context).tid = caller.tid;
        (*context).tgid = caller.tgid;
        (*context).start_ns = caller.process_start;
        (*context).response_at_open = (*entry).directions[OUTBOUND as usize].end;
        count(Counter::OpaqueTaken, 1);
        unit::request_read(call.sock, entry, &caller, call.blocking);
    }
}
