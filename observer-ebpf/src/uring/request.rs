//! Reading an io_uring request (`struct io_kiocb`), by address: which of a socket's requests moves bytes now, and where
//! they lie.
//!
//! Why what is told is exact: the task that moves the bytes is at work for a ring at this moment; the request that moves
//! them is in the socket's set (`in_flight`); its iterator says of itself that exactly these bytes moved, or may move, since
//! it was last looked at; and no other request of the set says so. Where any of this does not hold nothing is told, and
//! the bytes are counted.

use observer_abi::connection::INBOUND;

use crate::{
    core::{
        buffer::Source,
        scratch::{self, Scratch},
    },
    kernel::{
        globals::{offset, offsets},
        iterator,
        read::{KernelRead, Probe},
        sock, task,
    },
    uring::in_flight::{self, PLACES, Place, RING_REQUESTS},
};

/// `IORING_OP_*` (include/uapi/linux/io_uring.h).
mod operation {
    pub(super) const READV: u8 = 1;
    pub(super) const WRITEV: u8 = 2;
    pub(super) const READ_FIXED: u8 = 4;
    pub(super) const WRITE_FIXED: u8 = 5;
    pub(super) const SENDMSG: u8 = 9;
    pub(super) const RECVMSG: u8 = 10;
    pub(super) const READ: u8 = 22;
    pub(super) const WRITE: u8 = 23;
    pub(super) const SEND: u8 = 26;
    pub(super) const RECV: u8 = 27;
    pub(super) const SEND_ZC: u8 = 47;
    pub(super) const SENDMSG_ZC: u8 = 48;
    pub(super) const READ_MULTISHOT: u8 = 49;
}
use operation::*;

/// Those that move a socket's bytes: all, those whose buffer is registered, those that receive, those with a message.
const ALL: u64 = RECEIVING | 1 << WRITEV | 1 << WRITE_FIXED | 1 << WRITE | MESSAGES;
const FIXED: u64 = 1 << READ_FIXED | 1 << WRITE_FIXED;
const RECEIVING: u64 = 1 << READV | 1 << READ_FIXED | 1 << RECVMSG | 1 << READ | 1 << RECV | 1 << READ_MULTISHOT;
const MESSAGES: u64 = 1 << SENDMSG | 1 << RECVMSG | 1 << SEND | 1 << RECV | UNCERTAIN;
/// Without a copy: prepared when they are issued.
const UNCERTAIN: u64 = 1 << SEND_ZC | 1 << SENDMSG_ZC;

/// What `Settings::ring_requests` says is noted.
pub(crate) const FIXED_ONLY: u32 = 1;
pub(crate) const EVERY: u32 = 2;

/// `IOSQE_FIXED_FILE`, `IOSQE_BUFFER_SELECT`: the first of the request's flags.
pub(crate) const FIXED_FILE: u32 = 1;
const BUFFER_SELECT: u32 = 1 << 5;

/// Instead of what an iterator has left: the buffer is chosen, and the iterator begins anew, each time it is issued.
const CHOSEN: u64 = u64::MAX;
/// Instead of the same: it cannot be said.
const UNSURE: u64 = u64::MAX - 1;

/// Masks of `file_ptr` (io_uring/filetable.h).
const FILE_FLAGS: u64 = 7;

#[inline(always)]
unsafe fn operation(request: *const u8) -> u64 {
    // SAFETY: read by address.
    let number: u8 = unsafe { Probe::read(request, offset!(request_operation)) };
    if number < 64 { 1 << number } else { 0 }
}

/// Whether it may move a socket's bytes, and is one of those that are noted.
#[inline(always)]
pub(crate) unsafe fn concerns(request: *const u8) -> bool {
    // SAFETY: read by address.
    in_flight::is_followed(FIXED_ONLY)
        && unsafe { operation(request) } & (if in_flight::is_followed(EVERY) { ALL } else { FIXED }) != 0
}

#[inline(always)]
pub(crate) unsafe fn flags(request: *const u8) -> u32 {
    // SAFETY: read by address; a little-endian word of 64 bits since 6.10.
    unsafe { Probe::read(request, offset!(request_flags)) }
}

/// The file at a place of the ring's table: an array of pointers (6.12 and before), or of nodes.
#[inline(always)]
pub(crate) unsafe fn fixed_file(request: *const u8, index: u32) -> *const u8 {
    // SAFETY: read by address; a null gives zero.
    unsafe {
        let ring: *const u8 = Probe::read(request, offset!(request_ring));
        if index >= Probe::read::<u32>(ring, offset!(ring_file_count)) {
            return core::ptr::null();
        }
        let table: *const u8 = Probe::read(ring, offset!(ring_files));
        let entry = index as usize * 8;
        let pointer: u64 = if offsets().node_file() == u32::MAX {
            Probe::read(table, entry)
        } else {
            Probe::read(Probe::read(table, entry), offset!(node_file))
        };
        (pointer & !FILE_FLAGS) as *const u8
    }
}

/// What a request's iterator has left to move, or [`CHOSEN`], or [`UNSURE`].
#[inline(always)]
pub(crate) unsafe fn left(request: *const u8) -> u64 {
    // SAFETY: read by address.
    unsafe {
        let operation = operation(request);
        if operation & FIXED != 0 {
            // Its iterator may be made when it is issued.
            return u64::from(Probe::read::<u32>(request, offset!(io_rw_length)));
        }
        let prepared: *const u8 = Probe::read(request, offset!(request_prepared));
        if operation & UNCERTAIN != 0 || prepared.is_null() {
            UNSURE
        } else if flags(request) & BUFFER_SELECT != 0 {
            CHOSEN
        } else {
            iterator::remaining::<Probe>(message(operation, prepared))
        }
    }
}

/// The message of a request, or, of a read or write, where one would be that has the request's iterator.
#[inline(always)]
fn message(operation: u64, prepared: *const u8) -> *const u8 {
    if operation & MESSAGES != 0 {
        prepared.wrapping_add(offset!(prepared_message))
    } else {
        prepared.wrapping_add(offset!(prepared_iterator)).wrapping_sub(offset!(msg_iter))
    }
}

/// What a request says of itself, see [`ring_says`].
mod says {
    pub(super) const NO: u32 = 0;
    pub(super) const YES: u32 = 1;
    pub(super) const UNSURE: u32 = 2;
    /// It ended unseen, and its memory is another's.
    pub(super) const GONE: u32 = 3;
}

/// Whether a request of the socket with this file is the one that has just moved `bytes`: one of [`says`]. `wanted` are the
/// operations that move them in this direction. A function of its own, which the verifier looks at once a program.
///
/// A message's iterator moves with the bytes. A read or write hands a copy to the socket: its own has not moved yet.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn ring_says(request: u64, file: u64, wanted: u64, left: u64, bytes: u64) -> u32 {
    if !in_flight::is_followed(EVERY) {
        return says::UNSURE;
    }
    let request = request as *const u8;
    // SAFETY: read by address.
    unsafe {
        let operation = operation(request);
        let its: u64 = Probe::read(request, offset!(request_file));
        if operation & ALL == 0 || (its != file && its != 0) {
            return says::GONE;
        }
        // (Without a file it was never issued: one of a chain whose turn has not come.)
        if its == 0 || operation & wanted == 0 {
            return says::NO;
        }
        let prepared: *const u8 = Probe::read(request, offset!(request_prepared));
        if left == UNSURE || prepared.is_null() {
            return says::UNSURE;
        }
        let message = message(operation, prepared);
        let remaining = iterator::remaining::<Probe>(message);
        if operation & FIXED == 0 && iterator::is_in_pages::<Probe>(message) {
            return says::UNSURE;
        }
        let fresh = left == CHOSEN;
        let done = iterator::done::<Probe>(message);
        let moved = match operation & MESSAGES != 0 {
            true if fresh => iterator::is_array::<Probe>(message) || done == bytes,
            true => left.wrapping_sub(remaining) == bytes,
            false if fresh => done == 0 && bytes <= remaining,
            false => remaining == left && bytes <= left,
        };
        if moved { says::YES } else { says::NO }
    }
}

/// Finds the buffer of a call that is over and moved `bytes` for a ring, and leaves it in the scratch. The call is there
/// already.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn ring_buffer(slot: u32, bytes: u64) -> u32 {
    if !in_flight::is_followed(EVERY) {
        return 0;
    }
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; the rest is read by address.
    unsafe {
        let Some(set) = RING_REQUESTS.get_ptr_mut((*scratch).call.sock) else { return 0 };
        if (*set).without_place != 0 {
            return 0;
        }
        let Some(work) = task::ring_work() else { return 0 };
        let file: u64 = sock::file::<Probe>((*scratch).call.sock as *const u8) as u64;
        let direction = if (*scratch).call.direction == u32::from(INBOUND) { RECEIVING } else { ALL & !RECEIVING };
        let mut found = PLACES;
        let mut index = 0;
        while index < PLACES {
            let place = &raw mut (*set).places[index];
            index += 1;
            let request = (*place).request;
            if request == 0 || (work != 0 && work != request) {
                continue;
            }
            match ring_says(request, file, direction, (*place).left, bytes) {
                says::NO => {}
                says::GONE => (*place).request = 0,
                says::YES if found == PLACES => found = index - 1,
                _ => return 0,
            }
        }
        if found >= PLACES {
            return 0;
        }
        u32::from(take(scratch, &raw mut (*set).places[found], bytes, slot))
    }
}

/// Leaves the buffer of a request that moved `bytes` in the scratch.
#[inline(always)]
unsafe fn take(scratch: *mut Scratch, place: *mut Place, bytes: u64, slot: u32) -> bool {
    // SAFETY: live map values; the rest is read by address.
    unsafe {
        let request = (*place).request as *const u8;
        let operation = operation(request);
        let message = message(operation, Probe::read(request, offset!(request_prepared)));
        if operation & MESSAGES != 0 {
            if (*place).left != CHOSEN {
                (*place).left = (*place).left.wrapping_sub(bytes);
            }
            return iterator::in_process_at_end::<Probe>(message, bytes, slot, scratch);
        }
        if operation & FIXED != 0 {
            let start: u64 = Probe::read(request, offset!(io_rw_address));
            Source::Flat(start).store(scratch);
        } else if !iterator::in_process_at_start::<Probe>(message, scratch) {
            return false;
        }
        if (*place).left != CHOSEN {
            // Sockets end a read or a write with the first bytes.
            (*place).request = 0;
        }
        true
    }
}

/// Where in its registered buffer the call in the scratch begins whose message, with an iterator over pages, has `remaining` bytes left
/// and moved `moved` before them; 0 where no request of the socket has these pages. `pages` is where in an array of them
/// the iterator stands: that array is one registered buffer's, so whose it lies in is the request's.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn ring_registered(slot: u32, pages: u64, remaining: u64, moved: u64) -> u64 {
    if !in_flight::is_followed(FIXED_ONLY) {
        return 0;
    }
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: live map values; the rest is read by address.
    unsafe {
        let Some(set) = RING_REQUESTS.get_ptr_mut((*scratch).call.sock) else { return 0 };
        let receives = (*scratch).call.direction == u32::from(INBOUND);
        let wanted = if receives { 1 << READ_FIXED } else { 1 << WRITE_FIXED };
        let mut found = 0;
        let mut index = 0;
        while index < PLACES && (*set).without_place == 0 {
            let place = &raw mut (*set).places[index];
            index += 1;
            let request = (*place).request as *const u8;
            if request.is_null() || operation(request) & wanted == 0 {
                continue;
            }
            let prepared: *const u8 = Probe::read(request, offset!(request_prepared));
            let message = message(wanted, prepared);
            // Its own iterator has not moved: the socket was handed a copy.
            let (first, segments) = iterator::pages(message);
            let all = remaining.wrapping_add(moved);
            if prepared.is_null() || pages.wrapping_sub(first) > segments * iterator::SEGMENT {
                continue;
            }
            let length = iterator::remaining::<Probe>(message);
            if length != (*place).left || all > length {
                continue;
            }
            if found != 0 {
                return 0;
            }
            let start: u64 = Probe::read(request, offset!(io_rw_address));
            found = start.wrapping_add(length).wrapping_sub(all);
        }
        found
    }
}
