//! The server's end of a TLS connection: whoever reads works for the request that the bytes were written for, or, where records
//! are shipped, for a request of its own whose parent that is.

use observer_abi::{
    connection::{Connection, INBOUND, OUTBOUND, UPGRADED, flag, tls},
    context::{Handoff, claim, method},
    control::shape,
    loss::Counter,
};

use super::{
    between_hosts::{self, arrived},
    opaque::{forget, give_up},
    client::BEFORE,
    records::{self, begins, goes_on},
};
use crate::{
    carry::context::{self, HANDOFF},
    core::{
        call::Call,
        connection,
        output::{self, count},
        scratch::{self, Scratch},
    },
    kernel::{
        globals::settings,
        task::{self, Caller},
    },
    work::{reference, unit},
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
            (*entry).tls = (*entry).tls & !tls::SPOILED | tls::OPEN;
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
            None if settings().tcp_option() != 0 => by_option(entry, scratch, slot, first),
            None => arrived::NEVER,
        };
        let open = (*entry).context.span_id != [0; 8];
        let spoiled = (*entry).tls & tls::SPOILED != 0;
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
                (*entry).tls |= tls::SPOILED;
            }
        }
    }
    0
}

/// What came by the option; where that is new, its ids are the context's.
#[inline(always)]
unsafe fn by_option(entry: *mut Connection, scratch: *const Scratch, slot: u32, first: u64) -> u32 {
    // SAFETY: as the callers promise.
    unsafe {
        let context = &raw mut (*entry).context;
        let arrived = between_hosts::opaque_arrived(slot, first, u64::from_ne_bytes((*context).span_id));
        if arrived == arrived::NOW {
            output::copy_words(&raw mut (*context).trace_id, &raw const (*scratch).opened.context.trace_id);
            (*context).span_id = (*scratch).opened.context.span_id;
        }
        arrived
    }
}

/// The same where records are shipped: what was read is a request of its own. Returns what [`parent`] found where one begins with
/// this call, which is to be [given ids](server_turn); else [`GOES_ON`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn records_read(slot: u32, look: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return GOES_ON };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return GOES_ON };
        let this = &raw mut (*entry).directions[INBOUND as usize];
        let out = &raw const (*entry).directions[OUTBOUND as usize];
        let written = if (*out).announced > (*out).end { (*out).announced } else { (*out).end };
        let opens = (*this).runs == 0 || (*this).other_at_start != written;
        let found = parent(slot, call.start.wrapping_add(u64::from(look)), u32::from(opens));
        if found == OBSERVER {
            (*entry).shape = shape::IGNORE;
            (*entry).flags |= flag::OBSERVER;
            return GOES_ON;
        }
        (*this).other_at_start = written;
        let goes_on = opens && found == arrived::NEVER && records::may_go_on(entry, slot) == goes_on::YES;
        if !opens || goes_on || found == arrived::SAME {
            if found == arrived::SECOND {
                give_up(entry);
                count(Counter::OpaqueShared, 1);
            } else if found == arrived::NOTHING {
                // Whose the rest is, and so what is done now, is not known.
                reference::close(entry);
            } else if opens && (*entry).context.response_at_open != u64::MAX {
                // It is still to be answered.
                (*entry).context.response_at_open = (*out).end;
            }
            return GOES_ON;
        }
        (*this).runs += 1;
        found
    }
}

/// See [`records_read`].
pub(super) const GOES_ON: u32 = u32::MAX - 1;

/// The other end is observer, see [`parent`].
const OBSERVER: u32 = u32::MAX;

/// What the other end says of what was read, from `first` on: one of [`arrived`], and then the parent lies in the
/// entry's context; or [`OBSERVER`]. `opens` is 1 where this side has written since it read last.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn parent(slot: u32, first: u64, opens: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return arrived::NEVER };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return arrived::NEVER };
        let context = &raw mut (*entry).context;
        let open = u64::from_ne_bytes((*context).parent_span_id);
        let Some(handoff) = HANDOFF.get_ptr(context::handoff_key(&*entry, 0)) else {
            if opens == 0 && open == 0 {
                return arrived::SAME;
            }
            if settings().tcp_option() == 0 {
                return arrived::NEVER;
            }
            let arrived = between_hosts::opaque_arrived(slot, first, if opens != 0 { 0 } else { open });
            if arrived == arrived::NOW {
                output::copy_words(&raw mut (*context).trace_id, &raw const (*scratch).opened.context.trace_id);
                (*context).parent_span_id = (*scratch).opened.context.span_id;
            }
            return match arrived {
                // Nothing came with them.
                arrived::SAME if opens != 0 => arrived::NEVER,
                arrived::SECOND if opens == 0 && only_tickets(entry) => arrived::SAME,
                _ => arrived,
            };
        };
        if (*handoff).observer != 0 {
            return OBSERVER;
        }
        if (*handoff).claim & claim::TURNS != 0 && (*entry).tls & tls::NOBODYS == 0 {
            (*entry).tls |= tls::TURNS;
        }
        let mut said = handoff;
        if (*handoff).from > first && (*handoff).claim & claim::MAYBE != 0 {
            match HANDOFF.get_ptr(context::handoff_key(&*entry, BEFORE)) {
                Some(before) => said = before,
                None => return arrived::NOTHING,
            }
        }
        if (*said).from > first || (*handoff).until < call.end || (*said).span_id == [0; 8] {
            return arrived::NOTHING;
        }
        if open == u64::from_ne_bytes((*said).span_id) && (opens == 0 || (*said).claim & claim::OWN != 0) {
            // What was written meanwhile was no answer: TLS 1.3's session tickets.
            return arrived::SAME;
        }
        if opens == 0 {
            if open == 0 {
                return arrived::NOTHING;
            }
            return if only_tickets(entry) { arrived::SAME } else { arrived::SECOND };
        }
        output::copy_words(&raw mut (*context).trace_id, &raw const (*said).trace_id);
        (*context).parent_span_id = (*said).span_id;
    }
    arrived::NOW
}

/// Where the client's bytes are another turn's to it, and this side has written nothing since it read the turn before: whether all
/// that the client can have read between them is TLS 1.3's session tickets, so that both are one.
#[inline(always)]
unsafe fn only_tickets(entry: *const Connection) -> bool {
    // SAFETY: as the callers promise.
    unsafe { (*entry).tls & tls::TICKETS != 0 && (*entry).directions[INBOUND as usize].runs & !UPGRADED == 1 }
}

/// A server's turn begins with a request of its own, of which the other end said what [`parent`] has `found`. One of [`begins`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn server_turn(slot: u32, found: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let caller: Caller = task::caller(call.pid_tgid);
        let context = &raw mut (*entry).context;
        if found == arrived::NOW {
            let by_option = settings().tcp_option() != 0 && HANDOFF.get_ptr(context::handoff_key(&*entry, 0)).is_none();
            context::begin_child(entry, &caller, if by_option { method::TCP_OPTION } else { method::HANDOFF });
        } else {
            context::begin_trace(entry, &caller, call.now);
        }
        (*context).response_at_open = (*entry).directions[OUTBOUND as usize].end;
        if (*entry).tls & tls::TURNS == 0 || found == arrived::NOTHING {
            // Who reads may read others' with it.
            reference::close(entry);
        } else {
            if found == arrived::NOW {
                count(Counter::OpaqueTaken, 1);
            }
            unit::request_read(call.sock, entry, &caller, call.blocking);
        }
    }
    begins::REQUEST
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
