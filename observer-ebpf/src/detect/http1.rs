//! What the core has to know of HTTP/1: where a response's head is all that is wanted, and whether requests are pipelined.
//!
//! The functions with a C ABI are looked at by the verifier once, as in `capture`.

use observer_abi::{
    connection::{Connection, flag, transport},
    record::MAX_PAYLOAD,
};

use crate::core::{buffer, call::Call, capture, scratch};

/// Whether a server's read brought more than one request, or one while another is open (pipelining): 0 or 1. `taken` is
/// what [`capture::capture_data`] returned. A word of a head or body that looks like the end of a request line counts, too.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn is_pipelined(slot: u32, taken: u32) -> u32 {
    let copied = capture::copied(taken);
    let own = u32::from(capture::opened(taken));
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

/// `HTTP/1.x 1`
#[inline(always)]
pub(crate) unsafe fn is_interim(payload: *const u8, copied: u32) -> bool {
    // SAFETY: the payload's room is larger than 16 bytes.
    unsafe { copied >= 12 && is_response(payload) && *payload.add(9) == b'1' }
}

/// `HTTP/1.x 101`: another protocol follows.
#[inline(always)]
pub(crate) unsafe fn is_switch(payload: *const u8, copied: u32) -> bool {
    // SAFETY: the payload's room is larger than 16 bytes.
    unsafe { is_interim(payload, copied) && *payload.add(10) == b'0' && *payload.add(11) == b'1' }
}

/// A response's run began with `copied` bytes. Where they are all of the call and end as a head does, its body is moved
/// by other calls, of which nobody needs the bytes.
#[inline(always)]
pub(crate) unsafe fn note_head(entry: *mut Connection, call: &Call, payload: *const u8, copied: u32) {
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

/// Whether the call's bytes begin as a response does: one to another request that was not waited for.
#[inline(always)]
pub(crate) unsafe fn begins_response(slot: u32) -> bool {
    let Some(scratch) = scratch::at(slot) else { return false };
    // SAFETY: a map value; the payload's room is larger than 8 bytes.
    unsafe { buffer::is_known(scratch) && buffer::copy_payload(slot, 0, 8) == 8 && is_response((&raw const (*scratch).payload).cast()) }
}

/// `HTTP/1.`
#[inline(always)]
unsafe fn is_response(payload: *const u8) -> bool {
    // SAFETY: the payload's room is larger than 8 bytes; the record's start is 8-byte aligned.
    let word = u64::from_be(unsafe { payload.cast::<u64>().read_volatile() });
    word >> 8 == 0x48_54_54_50_2f_31_2e
}
