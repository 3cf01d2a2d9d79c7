//! The capture core: what happens with the bytes of one call, whichever tier saw it.
//!
//! Consecutive data in one direction is a run. A run's first bytes go to the ring, up to a budget; the rest is
//! counted in the connection's entry. A run is over once the other direction has moved since it began.

use observer_abi::{
    connection::{Connection, INBOUND, OUTBOUND, flag, role},
    control::mode,
    record::{self, MAX_PAYLOAD, RecordHeader, RunData, RunOpened},
};

use crate::{
    buffer::{self, Source},
    connection,
    context::{self, Caller, Opened},
    globals::settings,
    maps::{CONN_CONTROL, CONTROL_BLOCK, POLICY, Scratch},
    output,
    read::KernelRead,
    sock::{self, Kind},
    unit,
};

/// One call that moved, or is about to move, bytes.
pub(crate) struct Call {
    pub(crate) sock: *const u8,
    pub(crate) kind: Kind,
    pub(crate) file: *const u8,
    pub(crate) direction: u8,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The send may not fit into the send buffer.
    pub(crate) pending: bool,
    pub(crate) now: u64,
    pub(crate) pid_tgid: u64,
}

/// Whether the process may be captured, and the connection is worth it. Cheap for the common case: the process that
/// was let through before.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn admitted(entry: *mut Connection, tgid: u32) -> bool {
    let Some(control) = CONTROL_BLOCK.get_ptr(0) else { return false };
    // SAFETY: live map values.
    unsafe {
        if (*control).enabled == 0 {
            return false;
        }
        let epoch = (*control).policy_epoch;
        if (*entry).tgid == tgid && (*entry).policy_epoch == epoch {
            return true;
        }
        let allowed = match POLICY.get_ptr(tgid) {
            Some(policy) => (*policy).capture != 0,
            None => settings().selected_only() == 0,
        };
        if allowed {
            (*entry).tgid = tgid;
            (*entry).policy_epoch = epoch;
            (*entry).runtime = unit::kind_of(tgid);
        }
        allowed
    }
}

/// # Safety
/// `entry` is the live map value of `call.sock`, `scratch` belongs to this program, and the call is made by the
/// current task.
#[inline(always)]
pub(crate) unsafe fn data<R: KernelRead>(call: &Call, source: Source, entry: *mut Connection, scratch: *mut Scratch) {
    // SAFETY: the scratch is a map value.
    let source = unsafe { source.through(&raw mut (*scratch).source) };
    let length = call.end.wrapping_sub(call.start);
    let other = usize::from(call.direction == INBOUND);
    // SAFETY: as promised; indices are 0 and 1.
    unsafe {
        let this: *mut _ = &raw mut (*entry).directions[usize::from(call.direction != INBOUND)];
        let that: *const _ = &raw const (*entry).directions[other];
        let that_seen = if (*that).announced > (*that).end { (*that).announced } else { (*that).end };

        let opens = (*this).runs == 0 || (*this).other_at_start != that_seen;
        if opens {
            if let Some(control) = CONN_CONTROL.get_ptr(call.sock as u64) {
                if (*control).generation == (*entry).generation {
                    (*entry).mode = (*control).mode as u8;
                }
            }
            if (*entry).mode == mode::IGNORE {
                return;
            }
        }

        let shipped = if opens { 0 } else { (*this).shipped };
        let room = room(&*entry, call.direction, shipped);
        if !opens && room == 0 {
            account(this, call, buffer::tail(source, length, (*this).tail));
            return;
        }
        if (*entry).flags & flag::ANNOUNCED == 0 {
            let record = scratch.cast();
            connection::announce::<R>(call.sock, call.kind, call.file, entry, record, call.now, tgid(call));
        }
        let wanted = if length < u64::from(room) { length } else { u64::from(room) };
        let payload: *mut u8 = (&raw mut (*scratch).payload).cast();
        let slot = &raw mut (*scratch).copied;
        buffer::copy(source, wanted, payload, slot);
        let copied = buffer::copied(slot);
        let tail = if u64::from(copied) < length { buffer::tail(source, length, (*this).tail) } else { 0 };

        if opens {
            let opened = &raw mut (*scratch).opened;
            (*opened).previous_end = (*this).end;
            (*opened).previous_last_ns = (*this).last_ns;
            (*this).run_start = call.start;
            (*this).first_ns = call.now;
            (*this).other_at_start = that_seen;
            (*this).runs += 1;
            if !open::<R>(call, entry, payload, copied, opened) {
                return;
            }
            (*opened).other_end = (*that).end;
            (*opened).other_last_ns = (*that).last_ns;
            (*opened).other_tail = (*that).tail;
            (*opened).run = (*this).runs;
            fill(&raw mut (*opened).data, call, entry, record::kind::RUN_OPENED, copied);
            let size = size_of::<RunOpened>() as u64 + u64::from(copied);
            output::send((*entry).generation, scratch.cast(), size);
            if call.direction == OUTBOUND && is_interim(payload, copied) {
                interim_sent(call, entry);
            }
        } else {
            let data: *mut RunData = payload.sub(size_of::<RunData>()).cast();
            fill(data, call, entry, record::kind::RUN_DATA, copied);
            let size = size_of::<RunData>() as u64 + u64::from(copied);
            output::send((*entry).generation, data.cast(), size);
        }
        (*this).shipped = shipped + wanted as u32;
        (*entry).flags |= flag::ACTIVE;
        account(this, call, tail);
        if call.direction == OUTBOUND {
            if call.pending {
                (*entry).flags |= flag::SEND_PENDING;
            } else {
                (*entry).flags &= !flag::SEND_PENDING;
            }
        }
    }
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

/// Moves the direction's end.
#[inline(always)]
unsafe fn account(this: *mut observer_abi::connection::Direction, call: &Call, tail: u64) {
    // SAFETY: a live map value.
    unsafe {
        (*this).last_ns = call.now;
        (*this).tail = tail;
        if call.direction == OUTBOUND {
            (*this).announced = call.end;
        }
        (*this).end = if call.pending { call.start } else { call.end };
    }
}

/// A run begins: role, ids, thread context. `false` when the connection turns out to be observer's own.
///
/// # Safety
/// As for [`data`].
#[inline(always)]
unsafe fn open<R: KernelRead>(
    call: &Call,
    entry: *mut Connection,
    payload: *const u8,
    copied: u32,
    opened: *mut RunOpened,
) -> bool {
    // SAFETY: as promised.
    unsafe {
        if (*entry).role == role::UNKNOWN && copied >= 8 {
            (*entry).role = role_from(payload, copied, call.direction);
        }
        let caller: Caller = context::caller(call.pid_tgid);
        (*opened).start_ns = caller.process_start;
        (*opened).netns = (*entry).netns;
        (*opened).established_ns = 0;
        (*opened).accepted_ns = 0;
        if connection::is_request((*entry).role, call.direction) && looks_like_request(payload, copied) {
            if (*entry).role == role::CLIENT {
                context::open_client(call.sock as u64, entry, &caller, call.start, call.now);
            } else {
                let blocking = sock::is_plainly_blocking::<R>(call.file);
                let peer = sock::unix_peer::<R>(call.sock, call.kind);
                let found = context::open_server(call.sock as u64, entry, &caller, call.start, peer, blocking);
                if found == Opened::Observer {
                    (*entry).mode = mode::IGNORE;
                    (*entry).flags |= flag::OBSERVER;
                    return false;
                }
            }
            (*opened).established_ns = (*entry).established_ns;
            (*opened).accepted_ns = (*entry).accepted_ns;
            (*entry).established_ns = 0;
        } else if (*entry).role == role::CLIENT && call.direction == INBOUND {
            context::answered(call.sock as u64, entry);
        }
        output::copy_words(&raw mut (*opened).context, &raw const (*entry).context);
        true
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
        if call.pending {
            flags |= record::flag::SEND_PENDING;
        }
        if (*entry).flags & flag::FROM_START != 0 {
            flags |= record::flag::FROM_START;
        }
        (*data).header = RecordHeader {
            sock: call.sock as u64,
            generation: (*entry).generation,
            time_ns: call.now,
            captured: copied,
            kind,
            direction: call.direction,
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

/// `HTTP/1.`
#[inline(always)]
unsafe fn is_response(payload: *const u8) -> bool {
    // SAFETY: the payload's room is larger than 8 bytes; the record's start is 8-byte aligned.
    let word = u64::from_be(unsafe { payload.cast::<u64>().read_volatile() });
    word >> 8 == 0x48_54_54_50_2f_31_2e
}

/// The role of an older connection, from the first bytes seen.
#[inline(always)]
unsafe fn role_from(payload: *const u8, copied: u32, direction: u8) -> u8 {
    // SAFETY: the payload's room is larger than 8 bytes.
    unsafe {
        if is_response(payload) {
            return if direction == INBOUND { role::CLIENT } else { role::SERVER };
        }
        if looks_like_request(payload, copied) {
            return if direction == INBOUND { role::SERVER } else { role::CLIENT };
        }
    }
    role::UNKNOWN
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
