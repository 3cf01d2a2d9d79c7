//! TLS connections whose records are shipped. Which bytes of them are is `frames`' business, whose they are `client`'s and `server`'s.
//!
//! | direction | a run begins | with |
//! |---|---|---|
//! | of requests | with the direction's first byte | no ids: the handshake |
//! | of requests | with the first application data after the other side moved | the ids of a request |
//! | of answers | with what the other side did not wait for | no ids |
//!
//! What comes of requests besides (the rest of the handshake, alerts, key updates) belongs to the run before it.
//!
//! The request is a span of its own at each end: the client's bytes are claimed for its span, whose parent is the request that it was
//! written for, and that is the parent of the server's. Where several may be under way at once (HTTP/2 is offered, and the daemon
//! has not told of something else), ids are given all the same, and nobody is said to work for a request.
//!
//! Cost: a lookup for the claim, one for the walk and one for the daemon's word a call; what is shipped.

use observer_abi::{
    connection::{Connection, Direction, INBOUND, UPGRADED, flag, role, tls},
    control::shape,
    process::runtime,
};

use super::{client, handshake::look, hello, opaque, server};
use crate::{
    core::{
        buffer,
        call::retry,
        capture::{self, BEGINS, FRAMED, MORE, OPENED},
        connection,
        output,
        scratch::{self, Scratch},
    },
    detect::{frames, table},
    kernel::{
        globals::settings,
        task::{self, Caller},
    },
    work::link,
};

/// What a run begins with.
pub(super) mod begins {
    /// None does.
    pub(in crate::tls) const NOTHING: u32 = 0;
    /// Bytes without ids.
    pub(in crate::tls) const OTHER: u32 = 1;
    /// A request, whose ids are in the entry.
    pub(in crate::tls) const REQUEST: u32 = 2;
}

/// Takes the call on such a connection that lies in the scratch of `slot`, once it was looked at. Returns what
/// [`capture::capture_data`] does: what is shipped of the call is told behind that.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn records_moved(slot: u32, look: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        if look == look::LATER {
            (*scratch).call.retry = retry::WANTED;
            return 0;
        }
        capture::take_control(slot);
        if (*entry).shape == shape::OPAQUE {
            opaque::opaque_moved(slot, look);
        }
        if (*entry).shape != shape::RECORDS {
            return 0;
        }
        let begins = if !connection::is_request((*entry).role, capture::direction(call)) {
            answer_moved(slot)
        } else if look == look::ASIDE && (*entry).role == role::SERVER {
            begins::NOTHING
        } else if look == look::HANDSHAKE || look == look::LOST {
            handshake_moved(slot, look)
        } else if (*entry).role == role::CLIENT {
            let how = client::opaque_writer(slot, look);
            if client::opaque_written(slot, look, how) != 0 { client::client_turn(slot, look, how) } else { begins::NOTHING }
        } else {
            let found = server::records_read(slot, look);
            if found != server::GOES_ON { server::server_turn(slot, found) } else { begins::NOTHING }
        };
        if (*entry).shape != shape::RECORDS {
            return 0;
        }
        records_begin(slot, begins)
    }
}

/// Bytes of the direction of answers moved: one of [`begins`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn answer_moved(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; indices are 0 and 1.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let inbound = call.direction == u32::from(INBOUND);
        let this: *mut Direction = &raw mut (*entry).directions[usize::from(!inbound)];
        let that: *const Direction = &raw const (*entry).directions[usize::from(inbound)];
        let seen = if (*that).announced > (*that).end { (*that).announced } else { (*that).end };
        if (*this).runs & !UPGRADED != 0 && (*this).other_at_start == seen {
            return begins::NOTHING;
        }
        (*this).other_at_start = seen;
        (*this).runs += 1;
        if settings().links() != 0 && (*entry).runtime == runtime::EVENT_LOOP && (*entry).tls & tls::TURNS != 0 {
            if inbound {
                link::link_answered(slot);
            } else {
                link::link_served(slot);
            }
        }
    }
    begins::OTHER
}

/// Bytes of the direction of requests moved that are no application data: one of [`begins`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn handshake_moved(slot: u32, look: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        if look == look::LOST {
            opaque::give_up(entry);
        }
        if (*entry).tls & tls::HELLO != 0 {
            (*entry).tls &= !tls::HELLO;
            let length = call.end.wrapping_sub(call.start);
            let copied = buffer::copy_payload(slot, 0, length);
            let this = &raw const (*entry).directions[INBOUND as usize];
            let begun = (*this).run_start;
            if (*this).runs & UPGRADED != 0 && copied >= hello::MESSAGE && hello::hello_bytes((&raw const (*scratch).payload).cast(), 0) < length {
                // It was no hello whose header was read.
                opaque::give_up(entry);
                (*entry).shape = shape::IGNORE;
                return begins::NOTHING;
            }
            if call.start == begun.wrapping_add(hello::HEAD) && hello::hello_offers_turns(slot, copied as u32, 1) != 0 {
                (*entry).tls |= tls::TURNS;
            }
        }
        if (*entry).tls & tls::BEGINS == 0 {
            return begins::NOTHING;
        }
        (*entry).tls &= !tls::BEGINS;
        if (*entry).role == role::CLIENT {
            // So that the other end knows that this one tells.
            client::claim(entry, scratch, call.start, 0);
        } else if call.end.wrapping_sub(call.start) == hello::HEAD {
            (*entry).tls |= tls::HELLO;
        }
    }
    begins::OTHER
}

/// Leaves in the scratch what the call's first record begins with; `begins` is one of [`begins`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn records_begin(slot: u32, begins: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; indices are 0 and 1.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return 0 };
        let inbound = call.direction == u32::from(INBOUND);
        let this: *mut Direction = &raw mut (*entry).directions[usize::from(!inbound)];
        let that: *const Direction = &raw const (*entry).directions[usize::from(inbound)];
        let requests = connection::is_request((*entry).role, capture::direction(call));
        let shared = is_shared(entry);
        (*scratch).budget = if shared {
            shared_budget(this, call.now, (*entry).generation)
        } else {
            u64::from(if requests { settings().request_budget() } else { settings().response_budget() })
        };
        let opens = begins != begins::NOTHING || (requests && (*entry).tls & tls::UNTOLD != 0);
        if opens {
            let opened = &raw mut (*scratch).opened;
            (*opened).previous_end = (*this).end;
            (*opened).previous_last_ns = (*this).last_ns;
            (*opened).other_end = (*that).end;
            (*opened).other_last_ns = (*that).last_ns;
            (*opened).other_tail = 0;
            (*opened).run = (*this).runs;
            if requests {
                (*entry).tls &= !tls::UNTOLD;
            }
            if begins != begins::NOTHING {
                (*this).run_start = call.start;
                if !shared {
                    ((*this).first_ns, (*this).shipped) = (call.now, 0);
                }
                if begins == begins::REQUEST && (*this).runs & !UPGRADED == 1 {
                    frames::frames_alike(slot, 1);
                }
            }
            records_opened(entry, scratch, requests && begins != begins::OTHER);
        }
        capture::begin_frames(scratch, entry, (*this).shipped);
        (*entry).flags |= flag::ACTIVE;
        MORE | FRAMED | if opens { OPENED | BEGINS } else { 0 }
    }
}

/// Bytes of a direction that are shipped of a connection that carries several requests at once, whose frames lie anywhere in the
/// records, within so many ns. (Where the ends agree on another protocol the daemon soon says so.)
const SHARED_BUDGET: u64 = 4 << 20;
const SHARED_NS: u64 = 16_000_000;
/// Of these so many do not depend on how full the ring is.
const SHARED_FREE: u32 = 64 << 10;

/// How many bytes of a direction may have been shipped once this call is. Where much is, nothing of the others' records is to be lost
/// for it.
#[inline(always)]
unsafe fn shared_budget(this: *mut Direction, now: u64, generation: u64) -> u64 {
    // SAFETY: as the callers promise, a part of a map value.
    unsafe {
        if now.wrapping_sub((*this).first_ns) >= SHARED_NS {
            ((*this).first_ns, (*this).shipped) = (now, 0);
        }
        if (*this).shipped > SHARED_FREE && output::ring_fills(output::ring_of(generation)) != 0 { 0 } else { SHARED_BUDGET }
    }
}

/// Session tickets are no longer than this (a certificate may be in them), and
const LONGEST_TICKET: u32 = 4096;
/// requests that go on are longer.
const LONG: u64 = 1024;

/// What [`may_go_on`] says.
pub(super) mod goes_on {
    /// A turn begins.
    pub(in crate::tls) const NO: u32 = 0;
    /// One does, but what it begins with may be the rest of a short request.
    pub(in crate::tls) const MAYBE: u32 = 1;
    /// The request goes on.
    pub(in crate::tls) const YES: u32 = 2;
}

/// Whether what the other side sent in a connection's first turn may have been TLS 1.3's session tickets, so that the request of that
/// turn goes on: records of one length, which an answer behind them would not have. One of [`goes_on`].
#[inline(always)]
pub(super) unsafe fn may_go_on(entry: *const Connection, slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return goes_on::NO };
    // SAFETY: as the callers promise; a map value; indices are 0 and 1.
    unsafe {
        let call = &(*scratch).call;
        let this = &raw const (*entry).directions[usize::from(call.direction != u32::from(INBOUND))];
        if (*entry).shape != shape::RECORDS || (*entry).tls & tls::TICKETS == 0 || (*this).runs & !UPGRADED != 1 {
            return goes_on::NO;
        }
        if !matches!(frames::frames_alike(slot, 0), 1..=LONGEST_TICKET) {
            return goes_on::NO;
        }
        let long = call.start.wrapping_sub((*this).run_start) >= LONG;
        if long { goes_on::YES } else { goes_on::MAYBE }
    }
}

/// What the first record of a run has besides.
#[inline(always)]
unsafe fn records_opened(entry: *mut Connection, scratch: *mut Scratch, has_ids: bool) {
    // SAFETY: as the callers promise; a Context is integers only.
    unsafe {
        let opened = &raw mut (*scratch).opened;
        let caller: Caller = task::caller((*scratch).call.pid_tgid);
        (*opened).start_ns = caller.process_start;
        (*opened).netns = (*entry).netns;
        (*opened).established_ns = (*entry).established_ns;
        (*opened).accepted_ns = (*entry).accepted_ns;
        (*entry).established_ns = 0;
        if has_ids {
            output::copy_words(&raw mut (*opened).context, &raw const (*entry).context);
        } else {
            output::zero_words(&raw mut (*opened).context);
        }
        // With the padding behind it.
        (&raw mut (*opened).protocol).cast::<u64>().write_volatile(u64::from((*entry).protocol));
    }
}

/// The first piece of such a call could not be read yet: what it begins is told with the next.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn untold(entry: *mut Connection) {
    // SAFETY: as promised.
    unsafe { (*entry).tls |= tls::UNTOLD };
}

/// The daemon says this of what is inside: one of [`shape::RECORDS`] and [`shape::OPAQUE`].
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn told(entry: *mut Connection, shape: u8, protocol: u8) {
    // SAFETY: as promised.
    unsafe {
        if protocol != 0 && (*entry).tls & tls::NOBODYS == 0 && !table::carries_several(protocol) {
            (*entry).tls |= tls::TURNS;
        }
        if shape == shape::OPAQUE {
            // From here on its bytes are those of the request that they are for.
            opaque::forget(entry);
            (*entry).tls |= tls::SPOILED;
            (*entry).shape = if (*entry).tls & tls::TURNS != 0 { shape::OPAQUE } else { shape::IGNORE };
        }
    }
}

/// Whether several requests may be under way on the connection, so that what is read need not be the answer to the last.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn is_shared(entry: *const Connection) -> bool {
    // SAFETY: as promised.
    unsafe { (*entry).shape == shape::RECORDS && (*entry).tls & tls::TURNS == 0 }
}

/// Whether it is followed whose bytes the connection's are, in turns.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn is_followed(entry: *const Connection) -> bool {
    // SAFETY: as promised.
    unsafe { (*entry).shape == shape::OPAQUE || ((*entry).shape == shape::RECORDS && (*entry).tls & tls::TURNS != 0) }
}
