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
    connection::{Connection, Direction, INBOUND, OUTBOUND, flag, role, role_source, tls, transport},
    control::{ConnectionControl, MAX_RINGS, shape, told_role},
    process::runtime,
    record::{self, MAX_PAYLOAD, RecordHeader, RunData, TAIL},
};

use crate::{
    carry::{
        context::{self, Opened},
        tcp_option,
    },
    core::{
        buffer,
        call::{Call, retry},
        connection,
        output::{self, piece},
        scratch::{self, Scratch},
    },
    detect::{
        frames::{self, look},
        http1, table,
    },
    kernel::{
        globals::settings,
        read::KernelRead,
        sock::Kind,
        task::{self, Caller},
    },
    tls::{opaque, records},
    work::{link, reference},
};

/// Daemon: what it knows of connections, by sock address.
#[map]
pub(crate) static CONN_CONTROL: LruHashMap<u64, ConnectionControl> = LruHashMap::with_max_entries(16384, 0);

/// Daemon: how often it has written there, by ring: a connection looks only where that has changed.
#[map]
pub(crate) static CONTROLS_SET: Array<u32> = Array::with_max_entries(MAX_RINGS as u32, 0);

/// Announces the connection if that was not done yet, and leaves the call in the scratch.
///
/// # Safety
/// `entry` is the live map value of `sock`.
#[inline(always)]
pub(crate) unsafe fn tell<R: KernelRead>(
    call: &Call,
    sock: *const u8,
    kind: Kind,
    file: *const u8,
    entry: *mut Connection,
    slot: u32,
) -> Option<*mut Scratch> {
    let scratch = scratch::at(slot)?;
    // SAFETY: as promised; a Call is whole words.
    unsafe {
        let generation = (*entry).generation;
        if generation == 0 {
            // It ended meanwhile.
            return None;
        }
        // Field by field: a copy of the whole would need it on the stack, which is short.
        let into = &raw mut (*scratch).call;
        (*into).sock = call.sock;
        (*into).generation = generation;
        (*into).place = (*entry).place;
        (*into).start = call.start;
        (*into).end = call.end;
        (*into).now = call.now;
        (*into).pid_tgid = call.pid_tgid;
        (*into).direction = call.direction;
        (*into).pending = call.pending;
        (*into).blocking = call.blocking;
        (*into).retry = call.retry;
        (*into).peer.pair = call.peer.pair;
        (*into).peer.position = call.peer.position;
        if (*entry).flags & flag::ANNOUNCED == 0 {
            connection::announce::<R>(sock, kind, file, entry, scratch.cast(), call.now, (call.pid_tgid >> 32) as u32);
        }
    }
    Some(scratch)
}

/// Takes the bytes of the call that lies in the scratch of `slot`, with its buffer. Called in the context of the task
/// that moves the data, after the connection was announced. Returns how many bytes lie in the scratch's payload, with
/// [`OPENED`] where a run began with them and [`MORE`] where more of the call is to be told, [`FRAMED`] where frame by frame.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_data(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: a live map value.
    let call = unsafe { &(*scratch).call };
    let Some(entry) = connection::of(call) else { return 0 };
    let length = call.end.wrapping_sub(call.start);
    let inbound = call.direction == u32::from(INBOUND);
    // SAFETY: live map values; indices are 0 and 1.
    unsafe {
        if (*entry).shape == shape::OPAQUE {
            // One after the other, not one in the other: the stack is short.
            opaque::opaque_moved(slot, opaque::opaque_looked_at(slot));
            return 0;
        }
        if (*entry).shape == shape::RECORDS {
            return records::records_moved(slot, opaque::opaque_looked_at(slot));
        }
        // Before the daemon is asked, who may have said something of what was before.
        if opaque::may_begin(entry, call) && opaque::opaque_begun(slot) != 0 {
            if (*entry).shape == shape::RECORDS {
                return BEGUN;
            }
            opaque::opaque_opened(slot, opaque::opaque_looked_at(slot));
            account(entry, &raw mut (*entry).directions[usize::from(!inbound)], call, 0);
            return 0;
        }
        let this: *mut _ = &raw mut (*entry).directions[usize::from(!inbound)];
        let that: *const _ = &raw const (*entry).directions[usize::from(inbound)];
        let that_seen = if (*that).announced > (*that).end { (*that).announced } else { (*that).end };

        let opens = (*this).runs == 0 || (*this).other_at_start != that_seen || ((*entry).shape == shape::FRAMES && frames::frames_turn(slot) != 0);
        if opens || (*entry).shape == shape::FULL {
            take_control(slot);
            if (*entry).shape == shape::IGNORE {
                return 0;
            }
        }

        let shipped = if opens { 0 } else { (*this).shipped };
        let framed = (*entry).shape == shape::FRAMES && !buffer::is_copied(scratch);
        if framed && !opens {
            begin_frames(scratch, entry, shipped);
            return MORE | FRAMED;
        }
        let room = if framed { FRAMES_TOLD_BY } else { room(&*entry, direction(call), shipped) };
        if !opens && (*entry).shape == shape::HEAD_TAIL && room == 0 {
            fill(payload_of(scratch).sub(size_of::<RunData>()).cast(), call, entry, record::kind::RUN_DATA, 1);
            ((*scratch).told, (*scratch).rest) = (0, 0);
            account(entry, this, call, buffer::read_tail(slot, (*this).tail));
            return MORE;
        }
        if !opens && (room == 0 || (is_body(&*entry, call) && !http1::begins_response(slot))) {
            account(entry, this, call, buffer::read_tail(slot, (*this).tail));
            return 0;
        }
        let wanted = if length < u64::from(room) { length } else { u64::from(room) };
        let payload = payload_of(scratch);
        let mut copied = buffer::bounded(buffer::copy_payload(slot, 0, wanted));
        if copied == 0 && call.retry != retry::NO && buffer::is_known(scratch) {
            (*scratch).call.retry = retry::WANTED;
            return 0;
        }
        if (*entry).generation != call.generation {
            // Given to another connection while the bytes were copied.
            return 0;
        }
        let is_all = copied == 0 || buffer::is_copied(scratch);
        (*scratch).told = u64::from(copied);
        (*scratch).rest = if is_all { 0 } else { wanted.wrapping_sub(u64::from(copied)) };
        (*scratch).sure = 0;
        let tail = if u64::from(copied) < length && !framed { buffer::read_tail(slot, (*this).tail) } else { 0 };

        if opens {
            let opened = &raw mut (*scratch).opened;
            (*opened).previous_end = (*this).end;
            (*opened).previous_last_ns = (*this).last_ns;
            (*this).run_start = call.start;
            (*this).first_ns = call.now;
            (*this).other_at_start = that_seen;
            (*this).runs += 1;
            let wants_role = u32::from((*entry).role == role::UNKNOWN);
            let found = table::run_begins(slot, copied, u32::from((*entry).protocol), wants_role);
            let run = open_run(slot, found);
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
            if (*entry).shape == shape::FRAMES && !buffer::is_copied(scratch) {
                frames::frames_adopt(slot, found);
            }
            (*scratch).more = u64::from(left(entry, scratch, copied, length));
            if (*entry).shape == shape::FRAMES && !buffer::is_copied(scratch) {
                ((*scratch).told, (*scratch).shipped) = (0, 0);
                let piece = frames::frames_look(slot, 1);
                copied = buffer::bounded(buffer::copy_payload(slot, 0, u64::from(piece & look::BYTES)));
                (*scratch).more = u64::from(piece_left(scratch, piece, copied));
            }
            (*opened).other_end = (*that).end;
            (*opened).other_last_ns = (*that).last_ns;
            (*opened).other_tail = (*that).tail;
            (*opened).run = (*this).runs;
            let responds = responds(&*entry, call);
            if responds {
                http1::note_head(entry, call, payload, copied);
                if (*entry).shape == shape::HEAD && http1::is_switch(payload, copied) {
                    // Until the daemon says what follows.
                    (*entry).shape = shape::FULL;
                }
            }
            fill(&raw mut (*opened).data, call, entry, record::kind::RUN_OPENED, copied);
            (*opened).data.end = call.start + (*scratch).until;
            if (*scratch).more & u64::from(FRAMED) != 0 {
                mark(&raw mut (*opened).data, scratch);
            }
            if (*scratch).more & u64::from(EMPTY) != 0 {
                // The run begins with bytes that are not shipped.
                (*opened).data.header.flags &= !record::flag::NO_PAYLOAD;
            }
            if output::send_run(slot, piece::OPENED, copied) == 0 && (*scratch).more & u64::from(FRAMED) != 0 {
                frames::frames_missed(slot, 0);
            }
            if responds && !inbound && http1::is_interim(payload, copied) {
                interim_sent(call, entry);
            }
        } else {
            let data: *mut RunData = payload.sub(size_of::<RunData>()).cast();
            fill(data, call, entry, record::kind::RUN_DATA, copied);
            (*scratch).more = u64::from(left(entry, scratch, copied, length));
            (*data).end = call.start + (*scratch).until;
            output::send_run(slot, piece::DATA, copied);
        }
        // What can't be read uses the budget up, too: otherwise each call of a long body would be told.
        let unread = copied == 0 && (*scratch).more & u64::from(FRAMED) == 0;
        (*this).shipped = shipped + if unread { wanted as u32 } else { copied };
        (*entry).flags |= flag::ACTIVE;
        if (*scratch).more & u64::from(FRAMED) == 0 || (*scratch).more & u64::from(MORE) == 0 {
            account(entry, this, call, tail);
        }
        copied | if opens { OPENED } else { 0 } | (*scratch).more as u32
    }
}

/// Bytes by which it is told what a run on a connection begins with whose frames are shipped: those that are come later.
const FRAMES_TOLD_BY: u32 = 64;

/// A call goes on with a run of which frame by frame is shipped: leaves in the scratch what each record begins with.
#[inline(always)]
pub(crate) unsafe fn begin_frames(scratch: *mut Scratch, entry: *const Connection, shipped: u32) {
    // SAFETY: live map values.
    unsafe {
        fill(&raw mut (*scratch).opened.data, &(*scratch).call, entry, record::kind::RUN_DATA, 1);
        ((*scratch).told, (*scratch).shipped) = (0, u64::from(shipped));
    }
}

/// How far into the call the record reaches that has its first `copied` bytes, which is left in the scratch; and whether more of
/// the call is to be told behind it.
#[inline(always)]
unsafe fn left(entry: *const Connection, scratch: *mut Scratch, copied: u32, length: u64) -> u32 {
    // SAFETY: live map values.
    unsafe {
        let tail = (*entry).shape == shape::HEAD_TAIL && copied != 0 && u64::from(copied) < length && !buffer::is_copied(scratch);
        let more = (*scratch).rest != 0 || tail;
        (*scratch).until = if more { u64::from(copied) } else { length };
        if more { MORE } else { 0 }
    }
}

/// The same of a piece, of which `copied` bytes could be read.
#[inline(always)]
unsafe fn piece_left(scratch: *mut Scratch, piece: u32, copied: u32) -> u32 {
    // SAFETY: a map value.
    unsafe {
        let bytes = piece & look::BYTES;
        let read_on = copied != 0 && copied < bytes;
        if read_on {
            (*scratch).until = (*scratch).told + u64::from(copied);
        }
        (*scratch).told = (*scratch).until;
        (*scratch).shipped += u64::from(copied);
        let empty = if bytes == 0 { EMPTY } else { 0 };
        FRAMED | empty | if read_on || piece & look::LAST == 0 { MORE } else { 0 }
    }
}

/// A record has a piece, if any bytes.
#[inline(always)]
unsafe fn mark(data: *mut RunData, scratch: *const Scratch) {
    // SAFETY: live map values.
    unsafe {
        if (*scratch).sure != 0 {
            (*data).header.flags |= record::flag::COUNTED;
        }
    }
}

/// Tells more of the call in the scratch of `slot`, behind what was told of it: 1 where there is more yet. `opened`: the
/// record before began a run. `is_last`: what is left then is told as bytes that were not read. Each record's head is that
/// of the one before.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_rest(slot: u32, opened: u32, is_last: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; indices are 0 and 1.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let this: *mut Direction = &raw mut (*entry).directions[usize::from(call.direction != u32::from(INBOUND))];
        let length = call.end.wrapping_sub(call.start);
        let (mut told, mut rest) = ((*scratch).told, (*scratch).rest);
        let is_tail = rest == 0;
        if is_tail {
            told = told.max(length.saturating_sub(TAIL));
            rest = length.wrapping_sub(told);
        }
        let payload = payload_of(scratch);
        let copied = buffer::bounded(buffer::copy_payload(slot, told, rest));
        if is_tail && copied == 0 && call.retry != retry::NO && buffer::is_known(scratch) {
            (*scratch).call.retry = retry::WANTED;
            return 0;
        }
        let left = rest.wrapping_sub(u64::from(copied));
        let reached = told + u64::from(copied);
        let tail_follows = (*entry).shape == shape::HEAD_TAIL && left == 0 && reached < length;
        let more = copied != 0 && (left != 0 || tail_follows) && is_last == 0;
        let data: *mut RunData = payload.sub(size_of::<RunData>()).cast();
        if opened != 0 {
            output::copy_words(data, &raw const (*scratch).opened.data);
        }
        (*data).header.kind = record::kind::RUN_DATA;
        (*data).header.captured = copied;
        if copied == 0 {
            (*data).header.flags |= record::flag::NO_PAYLOAD;
        }
        if is_tail {
            (*data).header.flags |= record::flag::COUNTED;
        }
        (*data).start = call.start + told;
        (*data).end = if more { call.start + reached } else { call.end };
        output::send_run(slot, piece::DATA, copied);
        (*this).shipped += copied;
        (*scratch).told = reached;
        (*scratch).rest = left;
        u32::from(more)
    }
}

/// Tells the piece of the call in the scratch that was found last, see [`frames::frames_look`]: 0 where there is no other.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_piece(slot: u32, piece: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; indices are 0 and 1.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let told = (*scratch).told;
        let bytes = piece & look::BYTES;
        if bytes == 0 {
            return piece_left(scratch, piece, 0) & MORE;
        }
        let this: *mut Direction = &raw mut (*entry).directions[usize::from(call.direction != u32::from(INBOUND))];
        let copied = buffer::bounded(buffer::copy_payload(slot, told, u64::from(bytes)));
        let data: *mut RunData = payload_of(scratch).sub(size_of::<RunData>()).cast();
        output::copy_words(data, &raw const (*scratch).opened.data);
        (*data).header.kind = record::kind::RUN_DATA;
        (*data).header.captured = copied;
        (*data).header.flags &= !(record::flag::NO_PAYLOAD | record::flag::COUNTED);
        if copied == 0 {
            (*data).header.flags |= record::flag::NO_PAYLOAD;
        }
        mark(data, scratch);
        if copied == 0 && (*entry).shape == shape::RECORDS {
            frames::frames_missed(slot, 0);
        }
        (*data).start = call.start + told;
        let more = piece_left(scratch, piece, copied) & MORE;
        (*data).end = call.start + (*scratch).until;
        if output::send_run(slot, piece::DATA, copied) == 0 {
            frames::frames_missed(slot, 0);
        }
        (*this).shipped += copied;
        more
    }
}

/// Tells the first piece of the call in the scratch, with which a run begins: 0 where there is no other. What that record has
/// besides lies in the scratch.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_opening(slot: u32, piece: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; indices are 0 and 1.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        if call.retry == retry::WANTED {
            records::untold(entry);
            return 0;
        }
        let this: *mut Direction = &raw mut (*entry).directions[usize::from(call.direction != u32::from(INBOUND))];
        let copied = buffer::bounded(buffer::copy_payload(slot, 0, u64::from(piece & look::BYTES)));
        let more = piece_left(scratch, piece, copied);
        let data = &raw mut (*scratch).opened.data;
        (*data).header.kind = record::kind::RUN_OPENED;
        (*data).header.captured = copied;
        (*data).header.flags &= !record::flag::NO_PAYLOAD;
        if copied == 0 && more & EMPTY == 0 {
            (*data).header.flags |= record::flag::NO_PAYLOAD;
        }
        mark(data, scratch);
        (*data).end = call.start + (*scratch).until;
        let sent = output::send_run(slot, piece::OPENED, copied) != 0;
        if !sent || (*data).header.flags & record::flag::NO_PAYLOAD != 0 {
            frames::frames_missed(slot, 0);
        }
        (*this).shipped += copied;
        more & MORE
    }
}

/// Records that a call may be told in: with sixteen buffers in each, as many as an array of buffers may have (1,024).
const RECORDS: u32 = 64;

/// Takes all of the call in the scratch of `slot`, whose buffer lies there, too.
#[inline(always)]
pub(crate) fn take(slot: u32) {
    take_rest(slot, capture_data(slot));
}

/// Tells what [`capture_data`], which returned `taken`, has left of the call.
#[inline(always)]
pub(crate) fn take_rest(slot: u32, taken: u32) {
    let taken = if taken & BEGUN != 0 { records::records_moved(slot, opaque::opaque_looked_at(slot)) } else { taken };
    if taken & MORE != 0 {
        if taken & FRAMED != 0 {
            capture_frames(slot, taken & BEGINS);
        } else {
            capture_all(slot, taken & OPENED);
        }
    }
}

/// See [`take_rest`]. Past so many pieces the way is lost.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_frames(slot: u32, begins: u32) -> u32 {
    tell_frames(slot, begins);
    frames_told(slot)
}

/// All frames of the call in the scratch were told. The direction's end moves now and not before: what another CPU tells of the other
/// direction meanwhile names it, and what lies before it has come then.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn frames_told(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; indices are 0 and 1.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let inbound = call.direction == u32::from(INBOUND);
        account(entry, &raw mut (*entry).directions[usize::from(!inbound)], call, 0);
    }
    0
}

#[inline(always)]
fn tell_frames(slot: u32, begins: u32) -> u32 {
    if begins != 0 && capture_opening(slot, frames::frames_look(slot, 1)) == 0 {
        return 0;
    }
    let mut record = 0;
    while record < RECORDS {
        let piece = frames::frames_look(slot, 0);
        if capture_piece(slot, piece) == 0 {
            return 0;
        }
        record += 1;
    }
    frames::frames_missed(slot, 1);
    0
}

/// See [`take_rest`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_all(slot: u32, opened: u32) -> u32 {
    let mut opened = opened;
    let mut record = 1;
    while record < RECORDS {
        if capture_rest(slot, opened, u32::from(record + 1 == RECORDS)) == 0 {
            break;
        }
        opened = 0;
        record += 1;
    }
    0
}

/// See [`capture_data`].
pub(crate) const OPENED: u32 = 1 << 31;
/// The same.
pub(crate) const MORE: u32 = 1 << 30;
/// The same.
pub(crate) const FRAMED: u32 = 1 << 29;
/// Of a piece: it has no bytes.
const EMPTY: u32 = 1 << 28;
/// The run's first record is told frame by frame, too.
pub(crate) const BEGINS: u32 = 1 << 27;
/// Nothing of the call was taken yet: it begins a connection whose records are shipped.
const BEGUN: u32 = 1 << 26;

/// How many bytes [`capture_data`] took.
#[inline(always)]
pub(crate) fn copied(taken: u32) -> u32 {
    taken & !(OPENED | MORE | FRAMED | EMPTY | BEGINS | BEGUN)
}

/// Whether a run began with what [`capture_data`] took.
#[inline(always)]
pub(crate) fn opened(taken: u32) -> bool {
    taken & OPENED != 0
}

/// Takes over what the daemon says of the connection of the scratch's call, where it has written about any since this one looked.
///
/// A function of its own, since the callers' stack has no room for it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn take_control(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let Some(entry) = connection::of(&(*scratch).call) else { return 0 };
        let Some(set) = CONTROLS_SET.get_ptr(output::ring_of((*entry).generation)) else { return 0 };
        // Before what it says, which is written before it is counted.
        let set = set.read_volatile();
        if (*entry).controls_set == set {
            return 0;
        }
        (*entry).controls_set = set;
        let Some(control) = CONN_CONTROL.get_ptr((*scratch).call.sock) else { return 0 };
        if (*control).generation != (*entry).generation {
            return 0;
        }
        // What was said before TLS began, or of TLS that is no longer followed.
        let is_inside = matches!((*control).shape, shape::RECORDS | shape::OPAQUE);
        if is_inside != ((*entry).shape == shape::RECORDS) {
            return 0;
        }
        if (*control).protocol != 0 {
            (*entry).protocol = (*control).protocol;
        }
        if is_inside {
            records::told(entry, (*control).shape, (*control).protocol);
            return 0;
        }
        (*entry).shape = (*control).shape;
        match (*control).role {
            told_role::CLIENT => ((*entry).role, (*entry).role_source) = (role::CLIENT, role_source::AGREED),
            told_role::SERVER => ((*entry).role, (*entry).role_source) = (role::SERVER, role_source::AGREED),
            // The connection's establishment is not wrong.
            told_role::REVOKE if (*entry).role_source != role_source::GIVEN => {
                ((*entry).role, (*entry).role_source) = (role::UNKNOWN, role_source::REVOKED);
                opaque::forget(entry);
            }
            _ => {}
        }
    }
    0
}

/// Where in the scratch a record's payload is.
#[inline(always)]
unsafe fn payload_of(scratch: *mut Scratch) -> *mut u8 {
    // SAFETY: as the callers promise, a map value.
    unsafe { (&raw mut (*scratch).payload).cast() }
}

#[inline(always)]
pub(crate) fn direction(call: &Call) -> u8 {
    if call.direction == u32::from(INBOUND) { INBOUND } else { OUTBOUND }
}

#[inline(always)]
fn tgid(call: &Call) -> u32 {
    (call.pid_tgid >> 32) as u32
}

/// Bytes that this run may still ship.
#[inline(always)]
fn room(entry: &Connection, direction: u8, shipped: u32) -> u32 {
    if entry.shape == shape::FULL || entry.shape == shape::FRAMES {
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

/// A run begins, with what was `found` (see [`table::run_begins`]): role, ids, thread context. One of [`run`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn open_run(slot: u32, found: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return run::NONE };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return run::NONE };
        let opened = &raw mut (*scratch).opened;
        let mut run = run::OTHER;
        let direction = direction(call);
        if table::learn(entry, direction, found) {
            // What was taken for a request is none.
            opaque::forget(entry);
        }
        let requests = connection::is_request((*entry).role, direction);
        if requests {
            (*entry).tls = if table::has_tls_follow(found) { tls::MAY_FOLLOW } else { 0 };
        }
        let caller: Caller = task::caller(call.pid_tgid);
        (*opened).start_ns = caller.process_start;
        (*opened).netns = (*entry).netns;
        (*opened).established_ns = 0;
        (*opened).accepted_ns = 0;
        if requests && table::is_request(found) {
            let position = call.wire_position(&*entry);
            if (*entry).role == role::CLIENT {
                context::open_client(call.sock, entry, &caller, position, call.now);
            } else {
                let opened =
                    context::open_server(call.sock, entry, &caller, position, call.peer, call.blocking, call.now);
                if opened == Opened::Observer {
                    (*entry).shape = shape::IGNORE;
                    (*entry).flags |= flag::OBSERVER;
                    return run::NONE;
                }
                if table::is_multiplexed(found) {
                    // Others may be read with it, or come while it is open: whose a call is that is made then cannot be told.
                    reference::close(entry);
                }
            }
            (*opened).established_ns = (*entry).established_ns;
            (*opened).accepted_ns = (*entry).accepted_ns;
            (*entry).established_ns = 0;
            run = run::REQUEST;
        } else if (*entry).role == role::CLIENT && direction == INBOUND {
            context::answered(call.sock, entry);
        }
        if run == run::REQUEST {
            output::copy_words(&raw mut (*opened).context, &raw const (*entry).context);
        } else {
            // The ids of the request before are not this one's.
            output::zero_words(&raw mut (*opened).context);
        }
        // With the padding behind it: seven bytes to be zeroed would be a function's call.
        (&raw mut (*opened).protocol).cast::<u64>().write_volatile(u64::from((*entry).protocol));
        run
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
        if (*entry).shape == shape::RECORDS {
            flags |= record::flag::TLS;
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

/// Whether the call's direction is known to be that of responses.
#[inline(always)]
fn responds(entry: &Connection, call: &Call) -> bool {
    entry.role != role::UNKNOWN && !connection::is_request(entry.role, direction(call))
}

/// Whether what the run moves after its first call is more of a response whose head is whole, so that its bytes are of no use.
#[inline(always)]
fn is_body(entry: &Connection, call: &Call) -> bool {
    entry.flags & flag::HEAD_ENDED != 0
        && entry.shape != shape::FULL
        && entry.shape != shape::FRAMES
        && responds(entry, call)
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
