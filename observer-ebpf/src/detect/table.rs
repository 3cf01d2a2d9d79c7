//! The table of protocols: rows of numbers that the daemon hands over. There is no list of protocols here.
//!
//! The functions with a C ABI are looked at by the verifier once, as in `capture`.

use observer_abi::{
    connection::{Connection, INBOUND, OUTBOUND, role, role_source},
    control::shape,
    detection::{self, Found, MAX_ROWS, Role, Row, Rows, flag, line, role_after, start_line, test},
    record::MAX_PAYLOAD,
};

use crate::core::scratch;

/// Set by the daemon before load. The map behind it is frozen, so the verifier knows each row.
#[unsafe(no_mangle)]
static DETECTION: Rows = NO_ROWS;

// SAFETY: integers only.
const NO_ROWS: Rows = unsafe { core::mem::zeroed() };

/// What [`run_begins`] says, in one number. Zero: no row fits, and too little was there to say more.
pub(crate) mod begins {
    /// The protocol's number.
    pub(crate) const PROTOCOL: u32 = 0xff;
    /// Where the sender's role is.
    pub(super) const SENDER: u32 = 8;
    /// Where the shape is.
    pub(super) const SHAPE: u32 = 12;
    /// It is a message of its own.
    pub(super) const MESSAGE: u32 = 1 << 16;
    /// A role may be taken from it.
    pub(super) const CERTAIN: u32 = 1 << 17;
    /// There were enough bytes to tell.
    pub(super) const ENOUGH: u32 = 1 << 18;
    /// A connection carries several at once.
    pub(super) const MULTIPLEXED: u32 = 1 << 19;
    /// TLS may follow.
    pub(super) const TLS_FOLLOWS: u32 = 1 << 20;
    /// Where the number of bytes before the first frame is.
    pub(super) const PREFACE: u32 = 24;
}

/// Bytes of the run that come before its first frame.
#[inline(always)]
pub(crate) fn preface(found: u32) -> u8 {
    (found >> begins::PREFACE) as u8
}

/// Which end sends what was found, one of [`role`].
#[inline(always)]
pub(crate) fn sender(found: u32) -> u8 {
    (found >> begins::SENDER) as u8 & 3
}

/// Whether a connection carries several requests at once.
#[inline(always)]
pub(crate) fn is_multiplexed(found: u32) -> bool {
    found & begins::MULTIPLEXED != 0
}

/// Whether TLS may follow it.
#[inline(always)]
pub(crate) fn has_tls_follow(found: u32) -> bool {
    found & begins::TLS_FOLLOWS != 0
}

/// Whether it is a message that a client sends.
#[inline(always)]
pub(crate) fn is_request(found: u32) -> bool {
    found & begins::MESSAGE != 0 && sender(found) != role::SERVER
}

/// Whether a connection carries several requests of this protocol at once.
#[inline(always)]
pub(crate) fn carries_several(protocol: u8) -> bool {
    rows_multiplexed(u32::from(protocol)) != 0
}

/// See [`carries_several`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn rows_multiplexed(protocol: u32) -> u32 {
    let mut found = 0;
    let mut index = 0;
    // SAFETY: a static.
    unsafe {
        let count = (&raw const DETECTION.count).read_volatile();
        while index < MAX_ROWS {
            if index as u64 >= count {
                break;
            }
            let row = (&raw const DETECTION.rows).cast::<Row>().add(index);
            index += 1;
            if u32::from((&raw const (*row).protocol).read_volatile()) == protocol {
                found |= u32::from((&raw const (*row).flags).read_volatile()) & u32::from(flag::MULTIPLEXED);
            }
        }
    }
    found
}

/// Bytes without which nothing is said to be missing.
const ENOUGH: u32 = 8;
/// Bytes of a start line in which the row's are looked for.
const LONGEST_LINE: u32 = 1024;

/// Holds a run's beginning, `copied` bytes of which lie in the scratch, against the rows: [`begins`]. `protocol` is the
/// connection's where that is known: then only its rows count. `certain` is 1 where a role is wanted.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn run_begins(slot: u32, copied: u32, protocol: u32, certain: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    let enough = if copied >= ENOUGH { begins::ENOUGH } else { 0 };
    // SAFETY: a map value; the payload's room is larger than what is looked at. A static.
    unsafe {
        let payload: *const u8 = (&raw const (*scratch).payload).cast();
        // The record's start is 8-byte aligned.
        let words = payload.cast::<u64>();
        let first = [u64::from_be(words.read_volatile()), u64::from_be(words.add(1).read_volatile())];
        let count = (&raw const DETECTION.count).read_volatile();
        let mut index = 0;
        while index < MAX_ROWS {
            if index as u64 >= count {
                break;
            }
            let row = (&raw const DETECTION.rows).cast::<Row>().add(index);
            index += 1;
            let number = u32::from((&raw const (*row).protocol).read_volatile());
            if protocol != 0 && protocol != number {
                continue;
            }
            let mut flags = u32::from((&raw const (*row).flags).read_volatile());
            if (&raw const (*row).test).read_volatile() == test::START_LINE {
                let fits = start_line(copied, |at| payload.add(at as usize & 31).read_volatile());
                if fits == line::NO {
                    continue;
                }
                let is_certain = fits == line::YES
                    && flags & u32::from(flag::CERTAIN) != 0
                    && certain != 0
                    && line_has(slot, copied, index as u32 - 1) != 0;
                if !is_certain {
                    flags &= !u32::from(flag::CERTAIN);
                }
            } else {
                let fits = copied >= u32::from((&raw const (*row).least).read_volatile())
                    && (first[0] ^ (&raw const (*row).value[0]).read_volatile()) & (&raw const (*row).mask[0]).read_volatile() == 0
                    && (first[1] ^ (&raw const (*row).value[1]).read_volatile()) & (&raw const (*row).mask[1]).read_volatile() == 0;
                if !fits {
                    continue;
                }
            }
            let mut found = number | enough;
            found |= (u32::from((&raw const (*row).sender).read_volatile()) & 3) << begins::SENDER;
            found |= (u32::from((&raw const (*row).shape).read_volatile()) & 15) << begins::SHAPE;
            found |= u32::from((&raw const (*row).preface).read_volatile()) << begins::PREFACE;
            if flags & u32::from(flag::MESSAGE) != 0 {
                found |= begins::MESSAGE;
            }
            if flags & u32::from(flag::CERTAIN) != 0 {
                found |= begins::CERTAIN;
            }
            if flags & u32::from(flag::MULTIPLEXED) != 0 {
                found |= begins::MULTIPLEXED;
            }
            if flags & u32::from(flag::TLS_FOLLOWS) != 0 {
                found |= begins::TLS_FOLLOWS;
            }
            return found;
        }
    }
    enough
}

/// Whether the line that begins the scratch's payload has the bytes of a row: 0 or 1.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn line_has(slot: u32, copied: u32, row: u32) -> u32 {
    let mut from = 0;
    while from < LONGEST_LINE {
        let found = stretch_has(slot, copied, row, from);
        if found != line::SHORT {
            return u32::from(found == line::YES);
        }
        from += STRETCH;
    }
    0
}

/// Bytes that [`stretch_has`] looks at: few, since the verifier walks through each step of its loop.
const STRETCH: u32 = 32;

/// Whether they begin in the line's stretch from `from`, a multiple of [`STRETCH`]: [`line`], `SHORT` where the line goes on.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn stretch_has(slot: u32, copied: u32, row: u32, from: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return line::NO };
    let row = row as usize & (MAX_ROWS - 1);
    let from = from & (MAX_PAYLOAD as u32 - 1);
    let mut at = 0;
    // SAFETY: a map value; what is read stays within the payload's room, which is twice MAX_PAYLOAD. A static.
    unsafe {
        let row = (&raw const DETECTION.rows).cast::<Row>().add(row);
        let (value, mask) = ((&raw const (*row).value[0]).read_volatile(), (&raw const (*row).mask[0]).read_volatile());
        let payload: *const u8 = (&raw const (*scratch).payload).cast();
        let stretch = payload.add(from as usize);
        while at < STRETCH {
            if from + at + 8 > copied {
                return line::NO;
            }
            // (x86 and the verifier there do not ask for alignment.)
            let word = u64::from_be(stretch.add(at as usize).cast::<u64>().read_volatile());
            if word >> 56 == u64::from(b'\n') {
                return line::NO;
            }
            if (word ^ value) & mask == 0 {
                return line::YES;
            }
            at += 1;
        }
    }
    line::SHORT
}

/// A run in `direction` begins with what was `found`: takes role, protocol and shape from it where they are not known.
/// Returns whether the connection lost the role that earlier bytes had told.
///
/// # Safety
/// `entry` is a live map value.
#[inline(always)]
pub(crate) unsafe fn learn(entry: *mut Connection, direction: u8, found: u32) -> bool {
    // SAFETY: as promised.
    unsafe {
        let known = Role { role: (*entry).role, source: (*entry).role_source };
        let bytes = Found {
            sender: sender(found),
            certain: found & begins::CERTAIN != 0,
            enough: found & begins::ENOUGH != 0,
        };
        let role = role_after(known, direction, bytes);
        (*entry).role = role.role;
        (*entry).role_source = role.source;
        if role.source != known.source && role.source == role_source::REVOKED {
            (*entry).protocol = detection::UNKNOWN_PROTOCOL;
            return true;
        }
        let fits = bytes.sender == role::UNKNOWN || bytes.sender == sent_by(role.role, direction);
        if (*entry).protocol == detection::UNKNOWN_PROTOCOL && found & begins::PROTOCOL != 0 && fits {
            (*entry).protocol = found as u8;
            if (*entry).shape == shape::PROBE {
                (*entry).shape = (found >> begins::SHAPE) as u8 & 15;
            }
        }
    }
    false
}

/// Which end sends what moves in `direction` at the end with this role.
#[inline(always)]
fn sent_by(role: u8, direction: u8) -> u8 {
    match (role, direction) {
        (role::CLIENT, OUTBOUND) | (role::SERVER, INBOUND) => role::CLIENT,
        (role::CLIENT | role::SERVER, _) => role::SERVER,
        _ => role::UNKNOWN,
    }
}
