//! The client's end of a TLS connection: it says for which request it writes; where records are shipped, that this is a request
//! of its own, whose parent that is.

use observer_abi::{
    connection::{Connection, INBOUND, OUTBOUND, tls},
    context::{Handoff, RequestReference, claim},
    control::shape,
    loss::Counter,
    process::runtime,
};

use super::{
    between_hosts,
    handshake::look,
    opaque::{forget, give_up},
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
    work::{find, link, reference},
};

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

/// The position under which the claim before the last one lies; no request of such a connection has another one than 0.
pub(super) const BEFORE: u64 = 1;

/// Claims the bytes from `from` to the call's end for the request in the entry's context, or for none. `maybe` is
/// [`claim::MAYBE`] or 0.
#[inline(always)]
pub(super) unsafe fn claim(entry: *mut Connection, scratch: *mut Scratch, from: u64, maybe: u32) {
    // SAFETY: as the callers promise. No record is made yet, so there is room in the scratch, and there is little on the stack.
    unsafe {
        (*entry).directions[OUTBOUND as usize].run_start = from;
        let context = &raw const (*entry).context;
        let handoff: *mut Handoff = (&raw mut (*scratch).opened).cast();
        output::copy_words(&raw mut (*handoff).trace_id, &raw const (*context).trace_id);
        output::copy_words(&raw mut (*handoff).span_id, &raw const (*context).span_id);
        (*handoff).time_ns = (*scratch).call.now;
        (*handoff).observer = 0;
        let turns = if (*entry).tls & tls::TURNS != 0 { claim::TURNS } else { 0 };
        (*handoff).claim = if (*entry).shape == shape::RECORDS { turns | maybe | claim::OWN } else { turns };
        (*handoff).from = from;
        (*handoff).until = (*scratch).call.end;
        let _ = HANDOFF.insert(context::handoff_key(&*entry, 0), &*handoff, ANY);
    }
}

/// The client's bytes are no known request's from here on. `withdraw`: in the run others were.
#[inline(always)]
unsafe fn disown(entry: *mut Connection, scratch: *mut Scratch, withdraw: bool) {
    // SAFETY: as the callers promise.
    unsafe {
        forget(entry);
        claim(entry, scratch, (*scratch).call.start, 0);
        if withdraw && settings().tcp_option() != 0 {
            between_hosts::withdraw((*scratch).call.sock);
        }
    }
}

/// Room for the request that is written for: as in `claim`, behind what that writes.
#[inline(always)]
unsafe fn writer(scratch: *mut Scratch) -> *mut RequestReference {
    // SAFETY: as the callers promise.
    unsafe { (&raw mut (*scratch).opened.context).cast() }
}

/// What [`opaque_writer`] says.
mod writes {
    /// A run begins.
    pub(super) const OPENS: u32 = 1;
    /// One does if another one writes than before: what was read meanwhile may have been session tickets.
    pub(super) const MAY_OPEN: u32 = 2;
    /// A run begins, with what may be the rest of the request before, for that reason.
    pub(super) const MAYBE: u32 = 4;
    /// Where it is said how that was found for which request the caller writes.
    pub(super) const METHOD: u32 = 8;
}

/// Leaves there for which request the caller writes, and returns whether a run begins: [`writes`]. However that was found, to the
/// verifier what follows is one state.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_writer(slot: u32, look: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let this = &raw mut (*entry).directions[OUTBOUND as usize];
        let answered = (*entry).directions[INBOUND as usize].end;
        let opens = (*this).runs == 0 || (*this).other_at_start != answered;
        let may_go_on = if opens { records::may_go_on(entry, slot) } else { goes_on::NO };
        let goes_on = may_go_on == goes_on::YES;
        if look == look::ASIDE && opens && !goes_on {
            return writes::OPENS;
        }
        if opens && !goes_on {
            (*this).other_at_start = answered;
            (*this).runs += 1;
        }
        let caller: Caller = task::caller(call.pid_tgid);
        let writer = writer(scratch);
        copy(writer, &raw const (*entry).owner);
        let found = find::owner(entry, &caller, writer);
        let opens = if goes_on { writes::MAY_OPEN } else { u32::from(opens) };
        let maybe = if may_go_on == goes_on::MAYBE { writes::MAYBE } else { 0 };
        opens | maybe | u32::from(found) << writes::METHOD
    }
}

/// A client is about to write, and `how` says what [`opaque_writer`] did. Returns 1 where that begins a request of its own, which is
/// to be [given ids](client_turn).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_written(slot: u32, look: u32, how: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let this = &raw mut (*entry).directions[OUTBOUND as usize];
        let mut opens = how & writes::OPENS != 0;
        let shipped = (*entry).shape == shape::RECORDS;
        if look == look::ASIDE && opens {
            disown(entry, scratch, false);
            return 0;
        }
        let from = call.start.wrapping_add(u64::from(look));
        let contiguous = call.start.wrapping_sub((*this).announced) as i64 <= 0;
        let writer = writer(scratch);
        let owner = &raw mut (*entry).owner;
        let same = is_same(writer, owner);
        let context = &raw const (*entry).context;
        let named = if shipped { (*context).parent_span_id } else { (*context).span_id } != [0; 8];
        if how & writes::MAY_OPEN != 0 {
            (*this).other_at_start = (*entry).directions[INBOUND as usize].end;
            opens = look != look::ASIDE && !(same && contiguous);
            if opens {
                (*this).runs += 1;
            }
        }
        if !opens {
            if same && contiguous {
                extend(entry, call);
                return 0;
            }
            // What is so short is a request's body, if the request's writer writes it; else it may be anything.
            let second = look != look::ASIDE && !same && named && reference::resolve(&*writer).is_some();
            disown(entry, scratch, true);
            if second {
                count(Counter::OpaqueShared, 1);
                give_up(entry);
            }
            return 0;
        }

        copy(owner, writer);
        if shipped {
            return 1;
        }
        forget(entry);
        if let Some(request) = reference::resolve(&*owner) {
            output::copy_words(&raw mut (*entry).context.trace_id, &raw const (*request).context.trace_id);
            (*entry).context.span_id = (*owner).span_id.to_ne_bytes();
            if reference::resolve(&*owner).is_none() {
                // Answered, and another one came, while this was copied.
                forget(entry);
            }
        }
        if (*entry).context.span_id == [0; 8] {
            claim(entry, scratch, from, 0);
            return 0;
        }
        // The same request asks again: what it wrote before stays claimed, the other end may not have read it all.
        claim(entry, scratch, if same && named && contiguous { (*this).run_start } else { from }, 0);
        count(Counter::OpaquePassed, 1);
        if settings().tcp_option() != 0 {
            between_hosts::leave_for(slot, from);
        }
    }
    0
}

/// A client's turn begins with a request of its own, `look` bytes into the call, for the connection's owner; `how` says what
/// [`opaque_writer`] did. One of [`begins`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn client_turn(slot: u32, look: u32, how: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let caller: Caller = task::caller(call.pid_tgid);
        if (*entry).tls & tls::NOBODYS != 0 {
            context::begin_trace(entry, &caller, call.now);
            return begins::REQUEST;
        }
        let from = call.start.wrapping_add(u64::from(look));
        if context::begin_client(entry, &caller, (how >> writes::METHOD) as u8, call.now) {
            count(Counter::OpaquePassed, 1);
        }
        let mut maybe = 0;
        if how & writes::MAYBE != 0 {
            // The other end may not have read what was claimed before.
            if let Some(before) = HANDOFF.get_ptr(context::handoff_key(&*entry, 0)) {
                let _ = HANDOFF.insert(context::handoff_key(&*entry, BEFORE), &*before, ANY);
                maybe = claim::MAYBE;
            }
        }
        claim(entry, scratch, from, maybe);
        if settings().tcp_option() != 0 {
            between_hosts::leave_for(slot, from);
        }
        if settings().links() != 0 && (*entry).runtime == runtime::EVENT_LOOP && (*entry).tls & tls::TURNS != 0 {
            link::link_called(slot);
        }
    }
    begins::REQUEST
}

/// The claim reaches to the call's end.
#[inline(always)]
unsafe fn extend(entry: *const Connection, call: &Call) {
    // SAFETY: as the callers promise.
    unsafe {
        if let Some(handoff) = HANDOFF.get_ptr_mut(context::handoff_key(&*entry, 0)) {
            (*handoff).until = call.end;
        }
    }
}

#[inline(always)]
unsafe fn copy(to: *mut RequestReference, from: *const RequestReference) {
    // Field by field: there is little room on the stack.
    // SAFETY: as the callers promise.
    unsafe {
        (*to).sock = (*from).sock;
        (*to).generation = (*from).generation;
        (*to).span_id = (*from).span_id;
    }
}

#[inline(always)]
unsafe fn is_same(one: *const RequestReference, other: *const RequestReference) -> bool {
    // SAFETY: as the callers promise.
    unsafe {
        (*one).sock == (*other).sock
            && ((*one).sock == 0 || ((*one).generation == (*other).generation && (*one).span_id == (*other).span_id))
    }
}
