//! Reads an HTTP/1 request's head, as far as injecting a header needs it: where its first line ends, whether it carries
//! a trace context, and where the next request begins. In doubt it says so: nothing is injected then.
//!
//! The bytes lie in a scratch's payload. Lines are looked for eight bytes at a time. The functions with a C ABI are
//! looked at by the verifier once, as in `capture`.

use observer_abi::record::MAX_PAYLOAD;

use crate::{
    core::{
        buffer::barrier,
        scratch::{self, Scratch},
    },
    detect::table,
};

/// Lines of a head that are looked at.
const MAX_LINES: u32 = 96;
/// Largest body whose length is believed, digits.
const MAX_DIGITS: u32 = 9;

/// What [`parse_head`] says, in the low byte of its result; above it lies where the first line ends.
pub(crate) mod verdict {
    /// A whole head. How long the request is lies in the scratch's `found[0]`, 0 where only its end will tell.
    pub(crate) const WHOLE: u64 = 0;
    /// The same, and it carries a trace context.
    pub(crate) const HAS_CONTEXT: u64 = 1;
    /// Its end is not here.
    pub(crate) const SPLIT: u64 = 2;
    /// No HTTP/1 request.
    pub(crate) const NOT_HTTP: u64 = 3;
    /// A request in a form about which one may argue, or a tunnel.
    pub(crate) const UNCERTAIN: u64 = 4;
}

/// What [`head_field`] says, in the low byte of its result; above it lies the content's length.
mod field {
    pub(super) const OTHER: u64 = 0;
    /// traceparent or b3.
    pub(super) const CONTEXT: u64 = 1;
    pub(super) const LENGTH: u64 = 2;
    /// What follows the head has no length that the head tells, or may not come at all.
    pub(super) const OPEN_END: u64 = 3;
    pub(super) const UNCERTAIN: u64 = 4;
}

/// A position in the payload, of which also the verifier knows that it lies within.
#[inline(always)]
fn within(at: u64) -> usize {
    (barrier(at) & (MAX_PAYLOAD as u64 - 1)) as usize
}

/// Eight bytes, the first in the lowest.
///
/// # Safety
/// `payload` is a scratch's, which has twice [`MAX_PAYLOAD`] bytes.
#[inline(always)]
unsafe fn word(payload: *const u8, at: u64) -> u64 {
    // SAFETY: within the payload's room, as promised. (x86 and the verifier there do not ask for alignment.)
    unsafe { payload.add(within(at)).cast::<u64>().read_volatile() }
}

#[inline(always)]
unsafe fn byte(payload: *const u8, at: u64) -> u8 {
    // SAFETY: as for `word`.
    unsafe { payload.add(within(at)).read_volatile() }
}

/// The position behind the next line feed from `at` on; 0 where there is none before `length`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_line(slot: u32, at: u64, length: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: a map value.
    unsafe {
        let payload: *const u8 = (&raw const (*scratch).payload).cast();
        let mut at = at;
        let mut words = 0;
        while words < MAX_PAYLOAD as u32 / 8 {
            if at >= length {
                break;
            }
            let differs = word(payload, at) ^ (ONES * b'\n' as u64);
            let found = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
            if found != 0 {
                // Bytes up to and with the first that matches: without branches, of which the verifier follows few.
                let below = (found & found.wrapping_neg()).wrapping_sub(1) & ONES;
                let behind = at + (below.wrapping_mul(ONES) >> 56);
                return if behind <= length { behind } else { 0 };
            }
            at += 8;
            words = barrier(u64::from(words) + 1) as u32;
        }
    }
    0
}

/// What the field is whose line lies from `at` to `end`, both line ends included.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn head_field(slot: u32, at: u64, end: u64) -> u64 {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let Some(scratch) = scratch::at(slot) else { return field::UNCERTAIN };
    // SAFETY: a map value.
    unsafe {
        let payload: *const u8 = (&raw const (*scratch).payload).cast();
        let exact = word(payload, at);
        let first = exact | LOWER;
        let second = word(payload, at + 8) | LOWER;
        if exact as u8 == b' ' || exact as u8 == b'\t' {
            // A folded line belongs to the one before.
            return field::UNCERTAIN;
        }
        if (first == name(b"tracepar") && second & 0xff_ffff == name(b"ent\0\0\0\0\0"))
            || first & 0xff_ffff == name(b"b3:\0\0\0\0\0")
            || first & 0xff_ffff_ffff == name(b"x-b3-\0\0\0")
        {
            return field::CONTEXT;
        }
        if (first == name(b"transfer") && second == name(b"-encodin"))
            || first == name(b"upgrade:")
            || first & 0xff_ffff_ffff_ffff == name(b"expect:\0")
        {
            return field::OPEN_END;
        }
        if first == name(b"content-") && second & 0xffff_ffff_ffff == name(b"length\0\0") {
            return content_length(payload, at + 14, end);
        }
    }
    field::OTHER
}

const fn name(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

/// The value of `Content-Length`, from behind its name.
#[inline(always)]
unsafe fn content_length(payload: *const u8, at: u64, end: u64) -> u64 {
    // SAFETY: as for `word`.
    unsafe {
        if byte(payload, at) != b':' {
            return field::UNCERTAIN;
        }
        let mut value = 0u64;
        let mut digits = 0;
        let mut index = 1;
        while index < 24 {
            let at = at + index;
            if at + 2 >= end {
                // At the carriage return.
                return if digits > 0 { (value << 8) | field::LENGTH } else { field::UNCERTAIN };
            }
            let found = byte(payload, at);
            let digit = found.wrapping_sub(b'0');
            if digit < 10 && digits < MAX_DIGITS {
                value = value * 10 + u64::from(digit);
                digits += 1;
            } else if !(found == b' ' && digits == 0) {
                return field::UNCERTAIN;
            }
            index += 1;
        }
    }
    field::UNCERTAIN
}

/// Reads the head that begins a scratch's payload, of which `length` bytes are there.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn parse_head(slot: u32, length: u64) -> u64 {
    let Some(scratch) = scratch::at(slot) else { return verdict::UNCERTAIN };
    // SAFETY: a map value.
    unsafe {
        let payload: *const u8 = (&raw const (*scratch).payload).cast();
        if !table::is_request(table::run_begins(slot, length as u32, 0, 0)) {
            return verdict::NOT_HTTP;
        }
        let first_line = head_line(slot, 0, length);
        if first_line == 0 {
            return verdict::SPLIT;
        }
        let version = word(payload, first_line.wrapping_sub(10));
        if first_line < 14
            || byte(payload, first_line - 11) != b' '
            || byte(payload, first_line - 2) != b'\r'
            || (version != name(b"HTTP/1.1") && version != name(b"HTTP/1.0"))
        {
            return verdict::NOT_HTTP;
        }
        if word(payload, 0) == name(b"CONNECT ") {
            return verdict::UNCERTAIN;
        }
        // By way of memory: to the verifier one state, whatever the lines were.
        (&raw mut (*scratch).found).write_volatile([0, 0]);
        let flags = &raw mut (*scratch).found[1];
        let content = &raw mut (*scratch).found[0];
        let mut at = first_line;
        let mut lines = 0;
        while lines < MAX_LINES {
            let next = head_line(slot, at, length);
            if next == 0 {
                return verdict::SPLIT;
            }
            if next < 2 || byte(payload, next - 2) != b'\r' {
                return verdict::UNCERTAIN;
            }
            if next - at == 2 {
                let known = flags.read_volatile() & OPEN_ENDED == 0;
                let total = next + content.read_volatile();
                content.write_volatile(if known { total } else { 0 });
                let found = if flags.read_volatile() & CONTEXT_SEEN != 0 { verdict::HAS_CONTEXT } else { verdict::WHOLE };
                return (first_line << 8) | found;
            }
            let found = head_field(slot, at, next);
            let before = flags.read_volatile();
            if found & 0xff == field::CONTEXT {
                flags.write_volatile(before | CONTEXT_SEEN);
            } else if found & 0xff == field::OPEN_END {
                flags.write_volatile(before | OPEN_ENDED);
            } else if found & 0xff == field::LENGTH && before & LENGTH_SEEN == 0 {
                flags.write_volatile(before | LENGTH_SEEN);
                content.write_volatile(found >> 8);
            } else if found & 0xff != field::OTHER {
                return verdict::UNCERTAIN;
            }
            at = next;
            lines = barrier(u64::from(lines) + 1) as u32;
        }
    }
    verdict::UNCERTAIN
}

const CONTEXT_SEEN: u64 = 1;
const OPEN_ENDED: u64 = 2;
const LENGTH_SEEN: u64 = 4;

/// Writes the line with the ids that lie in the scratch's record behind the payload's first half.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn write_line(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: a map value; the line fits into the payload's second half.
    unsafe {
        let line: *mut u8 = line(scratch);
        let context = &raw const (*scratch).opened.context;
        put(line, b"traceparent: 00-");
        hexadecimal(line.add(16), (&raw const (*context).trace_id).cast(), 16);
        line.add(48).write_volatile(b'-');
        hexadecimal(line.add(49), (&raw const (*context).span_id).cast(), 8);
        put(line.add(65), b"-01\r\n");
    }
    1
}

/// Where [`write_line`] writes.
///
/// # Safety
/// `scratch` is a map value.
#[inline(always)]
pub(crate) unsafe fn line(scratch: *mut Scratch) -> *mut u8 {
    // SAFETY: the payload has twice MAX_PAYLOAD bytes.
    unsafe { (&raw mut (*scratch).payload).cast::<u8>().add(MAX_PAYLOAD) }
}

#[inline(always)]
unsafe fn put<const N: usize>(to: *mut u8, text: &[u8; N]) {
    let mut index = 0;
    while index < N {
        // SAFETY: the caller has room for the text.
        unsafe { to.add(index).write_volatile(text[index]) };
        index += 1;
    }
}

#[inline(always)]
unsafe fn hexadecimal(to: *mut u8, from: *const u8, bytes: usize) {
    let mut index = 0;
    while index < bytes {
        // SAFETY: the caller has room for two digits a byte.
        unsafe {
            let value = from.add(index).read_volatile();
            to.add(2 * index).write_volatile(digit(value >> 4));
            to.add(2 * index + 1).write_volatile(digit(value & 15));
        }
        index += 1;
    }
}

#[inline(always)]
fn digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}
