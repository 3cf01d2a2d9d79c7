//! Where in a call application data begins: both ends follow the client's records through the handshake, and alerts and
//! key updates are told from requests by their length.

use observer_abi::connection::{Direction, INBOUND, OUTBOUND};

use super::hello::{self, walked};
use crate::core::{
    buffer,
    call::Call,
    connection,
    scratch::{self, Scratch},
};

/// A write that is no longer than this is no request: a KeyUpdate of TLS 1.3 has 27 bytes, an alert 24.
const SHORT: u64 = 27;
/// An alert of older versions, with the longest of their paddings, is shorter, and told by its record's type.
const LONGEST_ALERT: u64 = 128;
/// Bytes of a handshake's flight that are looked at.
const FLIGHT: u64 = 4096;
/// With its head, as large as any record may be and a call be ahead of the next one.
const LONGEST_RECORD: u64 = 5 + 65535;

/// What [`opaque_looked_at`] says besides.
pub(super) mod look {
    /// No application data: the handshake.
    pub(in crate::tls) const HANDSHAKE: u32 = u32::MAX;
    /// A client's alert or key update.
    pub(in crate::tls) const ASIDE: u32 = u32::MAX - 1;
    /// It is not known where records begin.
    pub(in crate::tls) const LOST: u32 = u32::MAX - 2;
}

/// Bits of the request direction's `shipped`, which counts nothing here.
pub(super) mod state {
    /// The handshake is over.
    pub(in crate::tls) const OPEN: u32 = 1;
    /// Its last record was a ChangeCipherSpec.
    pub(in crate::tls) const AFTER_CHANGE: u32 = 2;
    /// The run that is read has bytes that nobody claims: none of it is anybody's.
    pub(in crate::tls) const SPOILED: u32 = 4;
}

/// Follows the handshake in a client's bytes, `copied` of which lie in the scratch, as [`opaque_looked_at`].
///
/// The direction's `first_ns`, which is no time here, is where the next record begins.
#[inline(always)]
pub(super) unsafe fn pass(this: *mut Direction, call: &Call, slot: u32, copied: u32) -> u32 {
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
    let Some(scratch) = scratch::at(slot) else { return look::LOST };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return look::LOST };
        let length = call.end.wrapping_sub(call.start);
        let direction = if call.direction == u32::from(INBOUND) { INBOUND } else { OUTBOUND };
        if !connection::is_request((*entry).role, direction) {
            return 0;
        }
        let this = &raw mut (*entry).directions[direction as usize];
        if (*this).shipped & state::OPEN == 0 {
            let wanted = if length < FLIGHT { length } else { FLIGHT };
            let copied = buffer::bounded(buffer::copy_payload(slot, 0, wanted));
            return pass(this, call, slot, copied);
        }
        let short = length <= SHORT || (length <= LONGEST_ALERT && first_byte(scratch, slot) == hello::ALERT);
        if direction == OUTBOUND && short { look::ASIDE } else { 0 }
    }
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
