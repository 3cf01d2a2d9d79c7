//! Where in a call application data begins: both ends follow the client's records through the handshake, and alerts and
//! key updates are told from requests by their length.

use observer_abi::connection::{INBOUND, OUTBOUND};

use super::hello::record;
use crate::{
    core::{
        buffer,
        connection,
        scratch::{self, Scratch},
    },
    detect::frames,
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
}

/// Bits of the request direction's `shipped`, which counts nothing here.
pub(super) mod state {
    /// The handshake is over.
    pub(in crate::tls) const OPEN: u32 = 1;
    /// The handshake's last record was a ChangeCipherSpec.
    pub(in crate::tls) const AFTER_CHANGE: u32 = 2;
    /// The run that is read has bytes that nobody claims: none of it is anybody's.
    pub(in crate::tls) const SPOILED: u32 = 4;
}

/// Follows the records of the call in the scratch, and looks at the few bytes that tell: where in the call's bytes
/// application data begins, or [`look`].
///
/// Up to TLS 1.2 application data is the first record of its type. TLS 1.3 gives the handshake's last messages that type, too: where
/// they come behind a ChangeCipherSpec, which says nothing in 1.3 and which every library sends, the first of
/// them is the handshake's (with a client's certificate some more, which are then taken for application data, as is
/// everything where the ChangeCipherSpec is missing or was sent before a second ClientHello). Both ends walk alike.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn opaque_looked_at(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return look::LOST };
    // SAFETY: live map values.
    unsafe {
        let call = &(*scratch).call;
        let Some(entry) = connection::of(call) else { return look::LOST };
        let direction = if call.direction == u32::from(INBOUND) { INBOUND } else { OUTBOUND };
        let shipped = &raw mut (*entry).directions[direction as usize].shipped;
        let requests = connection::is_request((*entry).role, direction);
        let before = if requests { *shipped } else { state::OPEN };
        // By way of memory, where no record is being made: to the verifier one state, whatever the records were. (5.10 follows
        // each sequence of them otherwise, for minutes.)
        let known = &raw mut (*scratch).opened.run;
        let data = &raw mut (*scratch).opened.netns;
        known.write_volatile(before);
        data.write_volatile(look::HANDSHAKE);
        let followed = frames::follow(slot, |at, kind| {
            let so_far = known.read_volatile();
            if so_far & state::OPEN != 0 {
                return;
            }
            if kind == record::APPLICATION_DATA && so_far & state::AFTER_CHANGE == 0 {
                data.write_volatile(at as u32);
                known.write_volatile(state::OPEN);
            } else {
                known.write_volatile(if kind == record::CHANGE_CIPHER_SPEC { state::AFTER_CHANGE } else { 0 });
            }
        });
        let (known, data) = (known.read_volatile(), data.read_volatile());
        if before & state::OPEN == 0 {
            *shipped = known;
            if known & state::OPEN != 0 {
                return data;
            }
            return if followed { look::HANDSHAKE } else { look::LOST };
        }
        if !requests {
            return 0;
        }
        let length = call.end.wrapping_sub(call.start);
        let short = length <= SHORT || (length <= LONGEST_ALERT && first_byte(scratch, slot) == record::ALERT);
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
