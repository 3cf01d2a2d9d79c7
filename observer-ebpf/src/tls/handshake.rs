//! Where in a call application data begins: both ends follow the client's records through the handshake, and alerts and
//! key updates are told from requests by their length.

use observer_abi::{
    connection::{INBOUND, OUTBOUND, tls},
    control::shape,
};

use super::hello::record;
use crate::{
    core::{
        buffer,
        call::retry,
        connection,
        scratch::{self, Scratch},
    },
    detect::frames::{self, step},
};

/// A write that is no longer than this is no request: a KeyUpdate of TLS 1.3 has 27 bytes, an alert 24.
const SHORT: u64 = 27;
/// An alert of older versions, with the longest of their paddings, is shorter, and told by its record's type.
const LONGEST_ALERT: u64 = 128;

/// What [`opaque_looked_at`] says besides.
pub(super) mod look {
    /// No application data: the handshake.
    pub(in crate::tls) const HANDSHAKE: u32 = u32::MAX;
    /// A client's alert or key update.
    pub(in crate::tls) const ASIDE: u32 = u32::MAX - 1;
    /// It is not known where records begin.
    pub(in crate::tls) const LOST: u32 = u32::MAX - 2;
    /// The bytes can be read when the send is over.
    pub(in crate::tls) const LATER: u32 = u32::MAX - 3;
}

/// Follows the records of the call in the scratch, and looks at the few bytes that tell: where in the call's bytes
/// application data begins, or [`look`].
///
/// Up to TLS 1.2 application data is the first record of its type. TLS 1.3 gives the handshake's last messages that type, too: where
/// they come behind a ChangeCipherSpec, which says nothing in 1.3 and which every library sends, the first of
/// them is the handshake's (with a client's certificate some more, which are then taken for application data, as is
/// everything where the ChangeCipherSpec is missing or was sent before a second ClientHello). Both ends walk alike.
///
/// Where records are shipped, they are followed for that, and during the handshake looked at ahead of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_looked_at(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return look::LOST };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return look::LOST };
        let direction = if call.direction == u32::from(INBOUND) { INBOUND } else { OUTBOUND };
        let state = &raw mut (*entry).tls;
        let requests = connection::is_request((*entry).role, direction);
        let before = if requests { *state & STATE } else { tls::OPEN };
        let ahead = (*entry).shape == shape::RECORDS;
        if ahead && before & tls::OPEN == 0 && call.retry != retry::NO && buffer::is_known(scratch) && buffer::copy_payload(slot, 0, 1) == 0 {
            return look::LATER;
        }
        // By way of memory, where no record is being made: to the verifier one state, whatever the records were. (5.10 follows
        // each sequence of them otherwise, for minutes.)
        let known = &raw mut (*scratch).opened.run;
        let data = &raw mut (*scratch).opened.netns;
        known.write_volatile(u32::from(before));
        data.write_volatile(look::HANDSHAKE);
        if !ahead || before & tls::OPEN == 0 {
            let how = if ahead { step::AHEAD } else { step::TELLS };
            let followed = frames::follow(slot, how, |at, kind| {
                record_seen(slot, at as u32, u32::from(kind));
            });
            if ahead {
                frames::frames_return(slot);
            }
            if before & tls::OPEN == 0 {
                let (known, data) = (known.read_volatile(), data.read_volatile());
                *state = *state & !STATE | known as u16;
                if known & OPEN != 0 {
                    return data;
                }
                return if followed { look::HANDSHAKE } else { look::LOST };
            }
        }
        if !requests {
            return 0;
        }
        if ahead {
            return aside(slot);
        }
        let length = call.end.wrapping_sub(call.start);
        let short = length <= SHORT || (length <= LONGEST_ALERT && first_byte(scratch, slot) == record::ALERT);
        if direction == OUTBOUND && short { look::ASIDE } else { 0 }
    }
}

/// A record of this type begins `at` bytes into the call: what that says of the handshake, in the scratch.
///
/// A function of its own: to the verifier the loop over records has one way then. (6.1 followed each sequence of types, and gave up.)
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn record_seen(slot: u32, at: u32, kind: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: a map value.
    unsafe {
        let known = &raw mut (*scratch).opened.run;
        let so_far = known.read_volatile();
        if so_far & OPEN != 0 {
            return 0;
        }
        let is_data = kind == u32::from(record::APPLICATION_DATA);
        let mut now = so_far & TICKETS;
        if is_data && so_far & AFTER_CHANGE == 0 {
            (&raw mut (*scratch).opened.netns).write_volatile(at);
            now |= OPEN;
        } else if is_data {
            now = TICKETS;
        } else if kind == u32::from(record::CHANGE_CIPHER_SPEC) {
            now |= AFTER_CHANGE;
        }
        known.write_volatile(now);
    }
    0
}

/// The same numbers, as wide as what lies in the scratch.
const OPEN: u32 = tls::OPEN as u32;
const AFTER_CHANGE: u32 = tls::AFTER_CHANGE as u32;
const TICKETS: u32 = tls::TICKETS as u32;
/// What is known of the handshake.
const STATE: u16 = tls::OPEN | tls::AFTER_CHANGE | tls::TICKETS;

/// The longest record of type application data that carries none: TLS 1.3's KeyUpdate, with the type and a tag of 16 bytes.
const LONGEST_ASIDE: u64 = 22;
/// Bytes of a record before its content.
const HEADER: u64 = 5;

/// Where in the call of the request direction that lies in the scratch application data begins, or [`look::ASIDE`]: behind an alert or
/// a key update, if the call begins with one, or is the rest of one whose header another one read.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn aside(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let there = buffer::copy_payload(slot, 0, HEADER.min(call.end.wrapping_sub(call.start)));
        let Some(entry) = connection::of(call) else { return 0 };
        let behind = (*entry).aside;
        if behind != 0 && (call.start as u32).wrapping_sub(behind) as i32 >= 0 {
            (*entry).aside = 0;
        } else if behind != 0 {
            let more = (call.end as u32).wrapping_sub(behind) as i32;
            return if more <= 0 { look::ASIDE } else { behind.wrapping_sub(call.start as u32) };
        }
        let first = u64::from_be((&raw const (*scratch).payload).cast::<u64>().read_volatile());
        let (kind, length) = ((first >> 56) as u8, (first >> 24) & 0xffff);
        let is_record = there == HEADER && (first >> 48) & 0xff == 3;
        let is_aside = matches!(kind, record::CHANGE_CIPHER_SPEC | record::ALERT | record::HANDSHAKE)
            || (kind == record::APPLICATION_DATA && length <= LONGEST_ASIDE);
        if !is_record || !is_aside {
            return 0;
        }
        let end = HEADER + length;
        if call.end.wrapping_sub(call.start) > end {
            return end as u32;
        }
        (*entry).aside = call.start.wrapping_add(end) as u32;
    }
    look::ASIDE
}

/// The record type of the call's first byte; 0 where it cannot be read.
#[inline(always)]
unsafe fn first_byte(scratch: *const Scratch, slot: u32) -> u8 {
    if buffer::copy_payload(slot, 0, 1) == 0 {
        return 0;
    }
    // SAFETY: as the callers promise.
    unsafe { (&raw const (*scratch).payload).cast::<u8>().read_volatile() }
}
