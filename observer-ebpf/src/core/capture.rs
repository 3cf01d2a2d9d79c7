//! The capture core: what happens with the bytes of one call, whichever tier saw it.
//!
//! Consecutive data in one direction is a run. A run's first bytes go to the ring, up to a budget; the rest is
//! counted in the connection's entry. A run is over once the other direction has moved since it began.
//!
//! The functions with a C ABI are functions to the verifier, too: it looks at each once a program, with nothing known of
//! the arguments, so that their work adds up instead of multiplying. (It lets them take plain numbers only; what a call
//! is about lies in the program's scratch. Since 5.6.)

use aya_ebpf::{
    macros::map,
    maps::{Array, LruHashMap},
};
use observer_abi::{
    connection::{Connection, Direction, INBOUND, OUTBOUND, flag, role, transport},
    control::{ConnectionControl, MAX_RINGS, mode},
    process::runtime,
    record::{self, MAX_PAYLOAD, RecordHeader, RunData, RunOpened},
};

use crate::{
    carry::{
        context::{self, Caller, Opened},
        tcp_option,
    },
    core::{
        buffer,
        call::Call,
        connection::{self, CONNECTIONS},
        output, retry, scratch,
    },
    kernel::globals::settings,
    tier::ktls,
    tls::opaque,
    work::link,
};

/// Daemon: capture modes by sock address.
#[map]
pub(crate) static CONN_CONTROL: LruHashMap<u64, ConnectionControl> = LruHashMap::with_max_entries(16384, 0);

/// Daemon: how many modes it has set there, by ring: a connection looks only where that has changed.
#[map]
pub(crate) static MODES_SET: Array<u32> = Array::with_max_entries(MAX_RINGS as u32, 0);

/// Takes the bytes of the call that lies in the scratch of `slot`, with its buffer. Called in the context of the task
/// that moves the data, after the connection was announced. Returns how many bytes lie in the scratch's payload, with
/// [`OPENED`] where a run began with them.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_data(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: a live map value.
    let call = unsafe { &(*scratch).call };
    let Some(entry) = CONNECTIONS.get_ptr_mut(call.sock) else { return 0 };
    let length = call.end.wrapping_sub(call.start);
    let inbound = call.direction == u32::from(INBOUND);
    // SAFETY: live map values; indices are 0 and 1.
    unsafe {
        if (*entry).mode == mode::OPAQUE {
            opaque::opaque_moved(slot);
            return 0;
        }
        let this: *mut _ = &raw mut (*entry).directions[usize::from(!inbound)];
        let that: *const _ = &raw const (*entry).directions[usize::from(inbound)];
        let that_seen = if (*that).announced > (*that).end { (*that).announced } else { (*that).end };

        let opens = (*this).runs == 0 || (*this).other_at_start != that_seen;
        if opens {
            if let Some(set) = MODES_SET.get_ptr(output::ring_of((*entry).generation)) {
                // Before the mode, which is written before it is counted.
                let set = set.read_volatile();
                if (*entry).modes_set != set {
                    (*entry).modes_set = set;
                    heed_mode(slot);
                }
            }
            if (*entry).mode == mode::IGNORE {
                return 0;
            }
        }

        let shipped = if opens { 0 } else { (*this).shipped };
        let room = room(&*entry, direction(call), shipped);
        if !opens && (room == 0 || (is_body(&*entry, call) && !begins_response(slot))) {
            account(entry, this, call, buffer::read_tail(slot, (*this).tail));
            return 0;
        }
        let wanted = if length < u64::from(room) { length } else { u64::from(room) };
        let payload: *mut u8 = (&raw mut (*scratch).payload).cast();
        let copied = buffer::bounded(buffer::copy_payload(slot, wanted));
        if copied == 0 && call.retry != 0 && buffer::is_known(scratch) {
            retry::note(call);
            return 0;
        }
        let tail = if u64::from(copied) < length { buffer::read_tail(slot, (*this).tail) } else { 0 };

        if opens {
            if opaque::may_begin(entry, call) && opaque::opaque_begun(slot, copied) != 0 {
                account(entry, this, call, 0);
                return 0;
            }
            let opened = &raw mut (*scratch).opened;
            (*opened).previous_end = (*this).end;
            (*opened).previous_last_ns = (*this).last_ns;
            (*this).run_start = call.start;
            (*this).first_ns = call.now;
            (*this).other_at_start = that_seen;
            (*this).runs += 1;
            let run = open_run(slot, copied);
            if run == run::NONE {
                return 0;
            }
            if settings().tcp_option() != 0 && run == run::REQUEST {
                tcp_option::request_opened(slot);
            }
            if settings().links() != 0 && (*entry).runtime == runtime::EVENT_LOOP {
                if (*entry).role == role::SERVER && !inbound {
                    link::link_served(slot);
                } else if (*entry).role == role::CLIENT && inbound {
                    link::link_answered(slot);
                } else if (*entry).role == role::CLIENT {
                    link::link_called(slot);
                }
            }
            (*opened).other_end = (*that).end;
            (*opened).other_last_ns = (*that).last_ns;
            (*opened).other_tail = (*that).tail;
            (*opened).run = (*this).runs;
            let responds = responds(&*entry, call);
            if responds {
                note_head(entry, call, payload, copied);
            }
            fill(&raw mut (*opened).data, call, entry, record::kind::RUN_OPENED, copied);
            let size = size_of::<RunOpened>() as u64 + u64::from(copied);
            output::send_run((*entry).generation, scratch.cast(), size);
            if responds && !inbound && is_interim(payload, copied) {
                interim_sent(call, entry);
            }
        } else {
            let data: *mut RunData = payload.sub(size_of::<RunData>()).cast();
            fill(data, call, entry, record::kind::RUN_DATA, copied);
            let size = size_of::<RunData>() as u64 + u64::from(copied);
            output::send_run((*entry).generation, data.cast(), size);
        }
        (*this).shipped = shipped + wanted as u32;
        (*entry).flags |= flag::ACTIVE;
        account(entry, this, call, tail);
        if opens { copied | OPENED } else { copied }
    }
}

/// See [`capture_data`].
const OPENED: u32 = 1 << 31;

/// Whether a run began with what [`capture_data`] took.
#[inline(always)]
pub(crate) fn opened(taken: u32) -> bool {
    taken & OPENED != 0
}

/// Whether a server's read brought more than one request, or one while another is open (pipelining): 0 or 1. `taken` is
/// what [`capture_data`] returned. A word of a head or body that looks like the end of a request line counts, too.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn is_pipelined(slot: u32, taken: u32) -> u32 {
    let copied = taken & !OPENED;
    let own = if taken & OPENED != 0 { 1 } else { 0 };
    let mut lines = 0;
    let mut from = 0;
    while from < MAX_PAYLOAD as u32 {
        if from >= copied {
            break;
        }
        lines += request_lines(slot, from, copied);
        from += STRETCH;
    }
    u32::from(lines > own)
}

/// Bytes that [`request_lines`] looks at: short, since the verifier walks through each step of the loop.
const STRETCH: u32 = 128;

/// Ends of request lines in a stretch of the scratch's payload from `from`, a multiple of [`STRETCH`], to `copied`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn request_lines(slot: u32, from: u32, copied: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    let from = from & (MAX_PAYLOAD as u32 - 1);
    let mut index = 0u32;
    // SAFETY: from and index stay within the payload's room, which is twice MAX_PAYLOAD.
    unsafe {
        // By way of memory, so that the verifier does not follow each count that is possible.
        let zero = &raw mut (*scratch).found[0];
        zero.write_volatile(0);
        let mut lines = zero.read_volatile();
        let payload: *const u8 = (&raw const (*scratch).payload).cast();
        let stretch = payload.add(from as usize);
        while index < STRETCH {
            if from + index + 4 > copied {
                break;
            }
            // Each `HTTP/1.` has one of these at a multiple of four.
            let word = u32::from_be(stretch.add(index as usize).cast::<u32>().read_volatile());
            if matches!(word, 0x48_54_54_50 | 0x54_54_50_2f | 0x54_50_2f_31 | 0x50_2f_31_2e) {
                lines += 1;
            }
            index += 4;
        }
        lines as u32
    }
}

/// Takes over the mode that the daemon wants for the connection of the scratch's call.
///
/// A function of its own, since the callers' stack has no room for it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn heed_mode(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let sock = (*scratch).call.sock;
        let Some(entry) = CONNECTIONS.get_ptr_mut(sock) else { return 0 };
        if let Some(control) = CONN_CONTROL.get_ptr(sock) {
            if (*control).generation == (*entry).generation {
                (*entry).mode = (*control).mode as u8;
            }
        }
    }
    0
}

#[inline(always)]
fn direction(call: &Call) -> u8 {
    if call.direction == u32::from(INBOUND) { INBOUND } else { OUTBOUND }
}

#[inline(always)]
fn tgid(call: &Call) -> u32 {
    (call.pid_tgid >> 32) as u32
}

/// Bytes that this run may still ship.
#[inline(always)]
fn room(entry: &Connection, direction: u8, shipped: u32) -> u32 {
    if entry.mode == mode::FULL || entry.mode == mode::FRAMES {
        return MAX_PAYLOAD as u32;
    }
    let responds = entry.role != role::UNKNOWN && !connection::is_request(entry.role, direction);
    let budget = if responds { settings().response_budget() } else { settings().request_budget() };
    budget.saturating_sub(shipped)
}

/// Whether bytes that are sent now would be shipped.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn wants_sent(entry: *const Connection) -> bool {
    // SAFETY: as promised.
    unsafe {
        let out = &raw const (*entry).directions[OUTBOUND as usize];
        let opens = (*out).runs == 0 || (*out).other_at_start != (*entry).directions[INBOUND as usize].end;
        opens || room(&*entry, OUTBOUND, (*out).shipped) != 0
    }
}

/// Moves the direction's end.
#[inline(always)]
pub(crate) unsafe fn account(entry: *mut Connection, this: *mut Direction, call: &Call, tail: u64) {
    // SAFETY: a live map value, and a part of it.
    unsafe {
        (*this).last_ns = call.now;
        (*this).tail = tail;
        if call.direction == u32::from(OUTBOUND) {
            (*this).announced = call.end;
            if call.pending != 0 {
                (*entry).flags |= flag::SEND_PENDING;
            } else {
                (*entry).flags &= !flag::SEND_PENDING;
            }
        }
        (*this).end = if call.pending != 0 { call.start } else { call.end };
    }
}

/// What [`open_run`] opened.
mod run {
    /// Nothing: the connection turned out to be observer's own.
    pub(super) const NONE: u32 = 0;
    /// A run that begins no request.
    pub(super) const OTHER: u32 = 1;
    /// A request.
    pub(super) const REQUEST: u32 = 2;
}

/// A run begins, and `copied` bytes of it lie in the scratch: role, ids, thread context. One of [`run`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn open_run(slot: u32, copied: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return run::NONE };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = CONNECTIONS.get_ptr_mut(call.sock) else { return run::NONE };
        let opened = &raw mut (*scratch).opened;
        let mut run = run::OTHER;
        let direction = direction(call);
        let first = first_bytes(slot, copied);
        if (*entry).role == role::UNKNOWN && copied >= 8 {
            (*entry).role = role_from(first, direction);
        }
        let caller: Caller = context::caller(call.pid_tgid);
        (*opened).start_ns = caller.process_start;
        (*opened).netns = (*entry).netns;
        (*opened).established_ns = 0;
        (*opened).accepted_ns = 0;
        if connection::is_request((*entry).role, direction) && first == message::REQUEST {
            let position = ktls::wire_position(call, &*entry);
            if (*entry).role == role::CLIENT {
                context::open_client(call.sock, entry, &caller, position, call.now);
            } else {
                let found = context::open_server(call.sock, entry, &caller, position, call.peer, call.blocking, call.now);
                if found == Opened::Observer {
                    (*entry).mode = mode::IGNORE;
                    (*entry).flags |= flag::OBSERVER;
                    return run::NONE;
                }
            }
            (*opened).established_ns = (*entry).established_ns;
            (*opened).accepted_ns = (*entry).accepted_ns;
            (*entry).established_ns = 0;
            run = run::REQUEST;
        } else if (*entry).role == role::CLIENT && direction == INBOUND {
            context::answered(call.sock, entry);
        }
        output::copy_words(&raw mut (*opened).context, &raw const (*entry).context);
        run
    }
}

/// What [`first_bytes`] takes them for.
pub(crate) mod message {
    pub(crate) const OTHER: u32 = 0;
    pub(crate) const REQUEST: u32 = 1;
    pub(crate) const RESPONSE: u32 = 2;
}

/// What the first bytes of a run, `copied` of which lie in the scratch, are the beginning of.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn first_bytes(slot: u32, copied: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return message::OTHER };
    // SAFETY: the payload's room is larger than what is looked at.
    unsafe {
        let payload: *const u8 = (&raw const (*scratch).payload).cast();
        if copied >= 8 && is_response(payload) {
            message::RESPONSE
        } else if looks_like_request(payload, copied) {
            message::REQUEST
        } else {
            message::OTHER
        }
    }
}

#[inline(always)]
unsafe fn fill(data: *mut RunData, call: &Call, entry: *const Connection, kind: u8, copied: u32) {
    // SAFETY: room in the scratch; a live map value.
    unsafe {
        let mut flags = 0;
        if copied == 0 {
            flags |= record::flag::NO_PAYLOAD;
        }
        if call.pending != 0 {
            flags |= record::flag::SEND_PENDING;
        }
        if (*entry).flags & flag::FROM_START != 0 {
            flags |= record::flag::FROM_START;
        }
        if (*entry).tcp == transport::KERNEL_TLS {
            flags |= record::flag::KERNEL_TLS;
        }
        if is_body(&*entry, call) {
            flags |= record::flag::HEAD_ENDED;
        }
        (*data).header = RecordHeader {
            sock: call.sock,
            generation: (*entry).generation,
            time_ns: call.now,
            captured: copied,
            kind,
            direction: direction(call),
            flags,
            role: (*entry).role,
        };
        (*data).start = call.start;
        (*data).end = call.end;
        (*data).tid = call.pid_tgid as u32;
        (*data).tgid = tgid(call);
    }
}

/// A 100 Continue is no answer yet: the request's body that follows belongs to the run before it, and the request is
/// still open.
#[inline(always)]
unsafe fn interim_sent(call: &Call, entry: *mut Connection) {
    // SAFETY: a live map value.
    unsafe {
        (*entry).directions[INBOUND as usize].other_at_start = call.end;
        (*entry).context.response_at_open = call.end;
    }
}

/// `HTTP/1.x 1`
#[inline(always)]
unsafe fn is_interim(payload: *const u8, copied: u32) -> bool {
    // SAFETY: the payload's room is larger than 16 bytes.
    unsafe { copied >= 12 && is_response(payload) && *payload.add(9) == b'1' }
}

/// A response's run began with `copied` bytes. Where they are all of the call and end as a head does, its body is moved
/// by other calls, of which nobody needs the bytes.
#[inline(always)]
unsafe fn note_head(entry: *mut Connection, call: &Call, payload: *const u8, copied: u32) {
    let last = buffer::barrier(u64::from(copied).wrapping_sub(4)) & (MAX_PAYLOAD as u64 - 1);
    // SAFETY: a live map value; `last` is within the payload's room.
    unsafe {
        let mut word = 0;
        let mut index = 0;
        while index < 4 {
            word = word << 8 | u32::from(payload.add(last as usize + index).read_volatile());
            index += 1;
        }
        // Of a Unix socket nobody tells the end, and another soon lies at its address: what was counted would be gone.
        let told = copied >= 12 && (*entry).tcp != transport::UNIX;
        let whole = told && call.end.wrapping_sub(call.start) == u64::from(copied);
        if whole && word == 0x0d_0a_0d_0a && is_response(payload) && !is_interim(payload, copied) {
            (*entry).flags |= flag::HEAD_ENDED;
        } else {
            (*entry).flags &= !flag::HEAD_ENDED;
        }
    }
}

/// Whether the call's direction is known to be that of responses.
#[inline(always)]
fn responds(entry: &Connection, call: &Call) -> bool {
    entry.role != role::UNKNOWN && !connection::is_request(entry.role, direction(call))
}

/// Whether what the run moves after its first call is more of a response whose head is whole, so that its bytes are of no use.
#[inline(always)]
fn is_body(entry: &Connection, call: &Call) -> bool {
    entry.flags & flag::HEAD_ENDED != 0
        && entry.mode != mode::FULL
        && entry.mode != mode::FRAMES
        && responds(entry, call)
}

/// Whether the call's bytes begin as a response does: one to another request that was not waited for.
#[inline(always)]
unsafe fn begins_response(slot: u32) -> bool {
    let Some(scratch) = scratch::at(slot) else { return false };
    // SAFETY: a map value; the payload's room is larger than 8 bytes.
    unsafe { buffer::is_known(scratch) && buffer::copy_payload(slot, 8) == 8 && is_response((&raw const (*scratch).payload).cast()) }
}

/// `HTTP/1.`
#[inline(always)]
unsafe fn is_response(payload: *const u8) -> bool {
    // SAFETY: the payload's room is larger than 8 bytes; the record's start is 8-byte aligned.
    let word = u64::from_be(unsafe { payload.cast::<u64>().read_volatile() });
    word >> 8 == 0x48_54_54_50_2f_31_2e
}

/// The role of an older connection, from the first bytes seen.
#[inline(always)]
fn role_from(first: u32, direction: u8) -> u8 {
    match (first, direction) {
        (message::RESPONSE, INBOUND) | (message::REQUEST, OUTBOUND) => role::CLIENT,
        (message::RESPONSE, OUTBOUND) | (message::REQUEST, INBOUND) => role::SERVER,
        _ => role::UNKNOWN,
    }
}

/// The longest method token that is recognised here.
const MAX_METHOD: u32 = 17;

/// Method token, space, then `/`, `*`, `h` (absolute form) or, for CONNECT, an authority. Whether it really is a
/// request is for the daemon's parser to say; this only keeps bodies from being given ids of their own.
#[inline(always)]
unsafe fn looks_like_request(payload: *const u8, copied: u32) -> bool {
    let mut index = 0u32;
    while index < MAX_METHOD {
        if index + 1 >= copied {
            // So short a first read: what there is looks like a method. (Go reads one byte ahead while it answers.)
            // SAFETY: as below.
            return index > 0 || (copied == 1 && is_method_byte(unsafe { payload.read_volatile() }));
        }
        // SAFETY: index is below MAX_METHOD, the payload's room larger.
        let byte = unsafe { payload.add(index as usize).read_volatile() };
        if byte == b' ' {
            // SAFETY: as above.
            let next = unsafe { payload.add(index as usize + 1).read_volatile() };
            // SAFETY: as above.
            let connect = index == 7 && unsafe { payload.read_volatile() } == b'C';
            return index > 0 && (next == b'/' || next == b'*' || next == b'h' || connect);
        }
        if !is_method_byte(byte) {
            return false;
        }
        index += 1;
    }
    false
}

#[inline(always)]
fn is_method_byte(byte: u8) -> bool {
    let upper = byte.wrapping_sub(b'A') < 26;
    let lower = byte.wrapping_sub(b'a') < 26;
    upper || lower || byte == b'-' || byte == b'_'
}

/// A send is over: its last byte is queued now.
///
/// # Safety
/// `entry` is the live map value of a TCP sock.
#[inline(always)]
pub(crate) unsafe fn send_done(entry: *mut Connection, write_seq: u32, now: u64) {
    // SAFETY: as promised.
    unsafe {
        if (*entry).flags & flag::SEND_PENDING == 0 {
            return;
        }
        let base = (*entry).outbound_base;
        let out = &mut (*entry).directions[OUTBOUND as usize];
        let end = connection::extend(out.end, base, write_seq);
        out.end = end;
        out.last_ns = now;
        if end >= out.announced {
            (*entry).flags &= !flag::SEND_PENDING;
        }
    }
}
