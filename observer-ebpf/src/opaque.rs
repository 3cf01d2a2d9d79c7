//! Connections that nobody can read: TLS. Contexts cross them all the same, since whose bytes they are can be seen.
//!
//! Both ends know a TLS connection by its first record. From then on no byte of it is shipped. The client's end says for
//! which request it writes, before the bytes leave: *these bytes, from here to there, are that request's*. The server's end
//! looks that up for what it has read, and whoever read it works for that request from then on, as for one that came in
//! the open. So what it calls gets the client's request as its parent: the hop between has no span of its own.
//!
//! On one host the claim is the handoff's entry of the connection; between hosts it is the TCP option on the segment that
//! begins a run, good for that run.
//!
//! A wrong parent is worse than none:
//! - Only where the client offers HTTP/1.1 or nothing by name (`hello`). HTTP/2 puts many requests on one connection.
//! - A claim is good for bytes that lie in it whole. What was missed, or came in one read with somebody else's, is nobody's,
//!   and so is the rest of that run. The handshake's bytes, which both ends follow record by record, do not count.
//! - A client that writes for two requests in one run shares the connection between them (own protocols do): nothing
//!   passes on it any more. If it is not known for whom it writes on, nothing passes until the next run.
//! - A server that was told of a second request before it answered the first: the same.
//! - Alerts and key updates are known by their length, and begin nothing.
//!
//! TLS 1.3's session tickets, which servers write behind the handshake, look like an answer. Servers that read record
//! by record (OpenSSL does so) have not read the request by then. For one that reads ahead, and sends tickets after it
//! got the handshake's end and the first request in one read, that request is answered with the tickets.
//!
//! Cost: nothing for connections on which nothing can pass (an ignored one's lookup). Otherwise one lookup and, at the
//! client, one update a call; at a run's beginning what a request in the open costs, without copy and record.

use observer_abi::{
    connection::{Connection, Direction, INBOUND, OUTBOUND, flag, role},
    context::{Handoff, RequestReference, method},
    control::mode,
    loss::Counter,
    process::runtime,
};

use crate::{
    buffer,
    capture::{self, Call},
    connection,
    context::{self, Caller},
    globals::settings,
    hello::{self, walked},
    maps::{self, CONNECTIONS, HANDOFF, Scratch},
    option::{self, arrived},
    output::{self, count},
    unit,
};

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;
/// A write that is no longer than this is no request: a KeyUpdate of TLS 1.3 has 27 bytes, an alert 24.
const SHORT: u64 = 27;
/// An alert of older versions, with the longest of their paddings, is shorter, and told by its record's type.
const LONGEST_ALERT: u64 = 128;
/// Bytes of a handshake's flight that are looked at.
const FLIGHT: u64 = 4096;
/// With its head, as large as any record may be and a call be ahead of the next one.
const LONGEST_RECORD: u64 = 5 + 65535;

/// Whether the call's bytes are the first of a connection's request direction, of which all was seen.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn may_begin(entry: *const Connection, call: &Call) -> bool {
    let direction = if call.direction == u32::from(INBOUND) { INBOUND } else { OUTBOUND };
    // SAFETY: as promised.
    unsafe {
        call.start == 0
            && (*entry).flags & flag::FROM_START != 0
            && (*entry).mode == mode::PROBE
            && connection::is_request((*entry).role, direction)
    }
}

/// Looks at those bytes, `copied` of which lie in the scratch: 1 where the connection is TLS.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_begun(slot: u32, copied: u32) -> u32 {
    let Some(scratch) = maps::scratch(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = CONNECTIONS.get_ptr_mut(call.sock) else { return 0 };
        if !hello::is_tls((&raw const (*scratch).payload).cast(), copied) {
            return 0;
        }
        // Its end is told, since it was announced.
        (*entry).flags |= flag::ACTIVE;
        (*entry).mode = mode::OPAQUE;
        let requests = if (*entry).role == role::SERVER { INBOUND } else { OUTBOUND };
        let this = &raw mut (*entry).directions[requests as usize];
        (*this).first_ns = 0;
        (*this).shipped = 0;
        if pass_handshake(this, call, slot, copied) == look::LOST {
            (*entry).mode = mode::IGNORE;
        } else if (*entry).role == role::SERVER {
            return 1;
        } else if hello::hello_offers_turns(slot, copied) != 0 {
            count(Counter::Opaque, 1);
            // So that the other end knows that this one tells.
            claim(entry, scratch, 0);
        } else {
            (*entry).mode = mode::IGNORE;
        }
    }
    1
}

/// Takes the call on an opaque connection that lies in the scratch of `slot`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_moved(slot: u32) -> u32 {
    let Some(scratch) = maps::scratch(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = CONNECTIONS.get_ptr_mut(call.sock) else { return 0 };
        let inbound = call.direction == u32::from(INBOUND);
        // One after the other, not one in the other: the stack is short.
        let look = opaque_looked_at(slot);
        if look == look::LOST {
            forget(entry);
            (*entry).mode = mode::IGNORE;
        } else if look == look::HANDSHAKE {
            // It is nobody's.
        } else if (*entry).role == role::CLIENT && !inbound {
            opaque_written(slot, look);
        } else if (*entry).role == role::SERVER && inbound {
            opaque_read(slot, look);
        }
        capture::account(&raw mut (*entry).directions[usize::from(!inbound)], call, 0);
        if !inbound {
            if call.pending != 0 {
                (*entry).flags |= flag::SEND_PENDING;
            } else {
                (*entry).flags &= !flag::SEND_PENDING;
            }
        }
    }
    0
}

/// The connection ended.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn ended(entry: *const Connection) {
    // SAFETY: as promised.
    unsafe {
        if (*entry).mode == mode::OPAQUE && (*entry).role == role::CLIENT {
            let _ = HANDOFF.remove(context::handoff_key(&*entry, 0));
        }
    }
}

/// What [`opaque_looked_at`] says besides.
mod look {
    /// No application data: the handshake.
    pub(super) const HANDSHAKE: u32 = u32::MAX;
    /// A client's alert or key update.
    pub(super) const ASIDE: u32 = u32::MAX - 1;
    /// It is not known where records begin.
    pub(super) const LOST: u32 = u32::MAX - 2;
}

/// Bits of the request direction's `shipped`, which counts nothing here.
mod state {
    /// The handshake is over.
    pub(super) const OPEN: u32 = 1;
    /// Its last record was a ChangeCipherSpec.
    pub(super) const AFTER_CHANGE: u32 = 2;
    /// The run that is read has bytes that nobody claims: none of it is anybody's.
    pub(super) const SPOILED: u32 = 4;
}

/// Follows the handshake in a client's bytes, `copied` of which lie in the scratch, as [`opaque_looked_at`].
///
/// The direction's `first_ns`, which is no time here, is where the next record begins.
#[inline(always)]
unsafe fn pass_handshake(this: *mut Direction, call: &Call, slot: u32, copied: u32) -> u32 {
    // SAFETY: as the callers promise.
    unsafe {
        let length = call.end.wrapping_sub(call.start);
        let at = (*this).first_ns.wrapping_sub(call.start);
        if at > LONGEST_RECORD {
            // The call does not begin where the last one ended.
            return look::LOST;
        }
        let found = hello::walk(slot, at as u32, copied, length, (*this).shipped & state::AFTER_CHANGE);
        let at = found as u32;
        (*this).first_ns = call.start.wrapping_add(u64::from(at));
        if found & walked::LOST != 0 {
            return look::LOST;
        }
        if found & walked::DATA != 0 {
            (*this).shipped = state::OPEN;
            return at;
        }
        (*this).shipped = if found & walked::AFTER_CHANGE != 0 { state::AFTER_CHANGE } else { 0 };
        look::HANDSHAKE
    }
}

/// Looks at the few bytes that tell: where in the call's bytes application data begins, or [`look`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_looked_at(slot: u32) -> u32 {
    let Some(scratch) = maps::scratch(slot) else { return look::LOST };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = CONNECTIONS.get_ptr_mut(call.sock) else { return look::LOST };
        let length = call.end.wrapping_sub(call.start);
        let direction = if call.direction == u32::from(INBOUND) { INBOUND } else { OUTBOUND };
        if !connection::is_request((*entry).role, direction) {
            return 0;
        }
        let this = &raw mut (*entry).directions[direction as usize];
        if (*this).shipped & state::OPEN == 0 {
            let wanted = if length < FLIGHT { length } else { FLIGHT };
            let copied = buffer::bounded(buffer::copy_payload(slot, wanted));
            return pass_handshake(this, call, slot, copied);
        }
        let short = length <= SHORT || (length <= LONGEST_ALERT && first_byte(scratch, slot) == hello::ALERT);
        if direction == OUTBOUND && short { look::ASIDE } else { 0 }
    }
}

/// The record type of the call's first byte; 0 where it cannot be read.
#[inline(always)]
unsafe fn first_byte(scratch: *const Scratch, slot: u32) -> u8 {
    if buffer::copy_payload(slot, 1) == 0 {
        return 0;
    }
    // SAFETY: as the callers promise.
    unsafe { (&raw const (*scratch).payload).cast::<u8>().read_volatile() }
}

// === the client's end ===

/// Claims the bytes from `from` to the call's end for the request in the entry's context, or for none.
#[inline(always)]
unsafe fn claim(entry: *mut Connection, scratch: *mut Scratch, from: u64) {
    // SAFETY: as the callers promise. Nothing of this connection is shipped, so there is room in the scratch, and there is
    // little on the stack.
    unsafe {
        (*entry).directions[OUTBOUND as usize].run_start = from;
        let context = &raw const (*entry).context;
        let handoff: *mut Handoff = (&raw mut (*scratch).opened).cast();
        output::copy_words(&raw mut (*handoff).trace_id, &raw const (*context).trace_id);
        output::copy_words(&raw mut (*handoff).span_id, &raw const (*context).span_id);
        (*handoff).time_ns = (*scratch).call.now;
        (*handoff).observer = 0;
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
        claim(entry, scratch, (*scratch).call.start);
        if withdraw && settings().tcp_option() != 0 {
            option::withdraw((*scratch).call.sock);
        }
    }
}

#[inline(always)]
unsafe fn forget(entry: *mut Connection) {
    // SAFETY: as the callers promise.
    unsafe {
        (*entry).context.trace_id = [0; 16];
        (*entry).context.span_id = [0; 8];
    }
}

/// A client is about to write.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_written(slot: u32, look: u32) -> u32 {
    let Some(scratch) = maps::scratch(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = CONNECTIONS.get_ptr_mut(call.sock) else { return 0 };
        let this = &raw mut (*entry).directions[OUTBOUND as usize];
        let answered = (*entry).directions[INBOUND as usize].end;
        let opens = (*this).runs == 0 || (*this).other_at_start != answered;
        if look == look::ASIDE {
            disown(entry, scratch, !opens);
            return 0;
        }
        let from = call.start.wrapping_add(u64::from(look));
        let contiguous = call.start.wrapping_sub((*this).announced) as i64 <= 0;
        if opens {
            (*this).other_at_start = answered;
            (*this).runs += 1;
        }
        let caller: Caller = context::caller(call.pid_tgid);
        // As in `claim`, behind what that writes.
        let writer: *mut RequestReference = (&raw mut (*scratch).opened.context).cast();
        let owner = &raw mut (*entry).owner;
        copy(writer, owner);
        unit::find(entry, &caller, writer);
        let same = is_same(writer, owner);
        let named = (*entry).context.span_id != [0; 8];
        if !opens {
            if same && contiguous {
                extend(entry, call);
                return 0;
            }
            let second = !same && named && unit::resolve(&*writer).is_some();
            disown(entry, scratch, true);
            if second {
                count(Counter::OpaqueShared, 1);
                (*entry).mode = mode::IGNORE;
            }
            return 0;
        }

        copy(owner, writer);
        forget(entry);
        if let Some(request) = unit::resolve(&*owner) {
            (*entry).context.trace_id = (*request).context.trace_id;
            (*entry).context.span_id = (*owner).span_id.to_ne_bytes();
            if unit::resolve(&*owner).is_none() {
                // Answered, and another one came, while this was copied.
                forget(entry);
            }
        }
        if (*entry).context.span_id == [0; 8] {
            claim(entry, scratch, from);
            return 0;
        }
        // The same request asks again: what it wrote before stays claimed, the other end may not have read it all.
        claim(entry, scratch, if same && named && contiguous { (*this).run_start } else { from });
        count(Counter::OpaquePassed, 1);
        if settings().tcp_option() != 0 {
            option::leave_for(slot, from);
        }
    }
    0
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

// === the server's end ===

/// A server has read, application data from `look` bytes into the call on.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_read(slot: u32, look: u32) -> u32 {
    let Some(scratch) = maps::scratch(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = CONNECTIONS.get_ptr_mut(call.sock) else { return 0 };
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
                (*entry).mode = mode::IGNORE;
                (*entry).flags |= flag::OBSERVER;
                return 0;
            }
            Some(handoff) => claimed(entry, first, call.end, handoff),
            None if settings().tcp_option() != 0 => option::opaque_arrived(slot, first),
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
                (*entry).mode = mode::IGNORE;
                count(Counter::OpaqueShared, 1);
            }
            // Whoever is at the other end, it tells nothing.
            arrived::NEVER => {
                forget(entry);
                (*entry).mode = mode::IGNORE;
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
        (*entry).context.trace_id = (*handoff).trace_id;
        (*entry).context.span_id = (*handoff).span_id;
        arrived::NOW
    }
}

/// Whoever read works for the request whose ids are in the entry's context.
#[inline(always)]
unsafe fn take(entry: *mut Connection, call: &Call) {
    // SAFETY: as the callers promise.
    unsafe {
        let caller: Caller = context::caller(call.pid_tgid);
        let context = &raw mut (*entry).context;
        (*context).parent_span_id = [0; 8];
        (*context).parent_method = method::NONE;
        (*context).tid = caller.tid;
        (*context).tgid = caller.tgid;
        (*context).start_ns = caller.process_start;
        (*context).response_at_open = (*entry).directions[OUTBOUND as usize].end;
        count(Counter::OpaqueTaken, 1);
        if (*entry).runtime == runtime::THREADS || (*entry).runtime == runtime::PYTHON {
            unit::thread_read(&caller, &unit::reference(call.sock, entry), call.blocking != 0);
        }
    }
}
