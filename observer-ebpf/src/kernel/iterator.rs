//! The buffer that a `struct msghdr` in kernel memory describes, by its `iov_iter`: exact, whoever calls (io_uring too).
//!
//! Segments of an array are read by address. Where lockdown forbids that they come from the system call's registers, or,
//! before those can be had (5.15), the first one from its typed pointer.

use crate::{
    core::{
        buffer::{self, Source},
        scratch::Scratch,
    },
    kernel::{
        arch::registers::of_system_call,
        globals::{offset, offsets, settings},
        read::{KernelRead, Probe},
    },
    uring::request,
};

/// Size of a `struct bio_vec`, a segment of an iterator over pages.
pub(crate) const SEGMENT: u64 = 16;

/// What an iterator walks over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    User,
    Array,
    Other,
}

#[inline(always)]
unsafe fn kind<R: KernelRead>(message: *const u8) -> Kind {
    let base = offset!(msg_iter);
    // SAFETY: as the callers promise.
    let found = unsafe {
        if offsets().iter_type_size() == 1 {
            u32::from(R::read::<u8>(message, base + offset!(iter_type)))
        } else {
            R::read::<u32>(message, base + offset!(iter_type)) & 0x7e
        }
    };
    if offsets().iter_ubuf() != u32::MAX && found == offsets().iter_ubuf() {
        Kind::User
    } else if found == offsets().iter_iovec() {
        Kind::Array
    } else {
        Kind::Other
    }
}

/// Whether the bytes lie in pages of the kernel, not at an address of the process.
///
/// # Safety
/// `message` is a `struct msghdr *`, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn is_in_pages<R: KernelRead>(message: *const u8) -> bool {
    // SAFETY: as promised.
    unsafe { kind::<R>(message) == Kind::Other }
}

/// Bytes that the iterator has left.
///
/// # Safety
/// `message` is a `struct msghdr *`, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn remaining<R: KernelRead>(message: *const u8) -> u64 {
    // SAFETY: as promised.
    unsafe { R::read(message, offset!(msg_iter) + offset!(iter_count)) }
}

/// Whether it walks over an array of buffers.
///
/// # Safety
/// `message` is a `struct msghdr *`, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn is_array<R: KernelRead>(message: *const u8) -> bool {
    // SAFETY: as promised.
    unsafe { kind::<R>(message) == Kind::Array }
}

/// Where an iterator over pages stands in their array, and how many segments it has left.
///
/// # Safety
/// Read by address.
#[inline(always)]
pub(crate) unsafe fn pages(message: *const u8) -> (u64, u64) {
    // SAFETY: as promised; the array is in the union of `iov`.
    unsafe {
        let array = Probe::read(message, offset!(msg_iter) + offset!(iter_iov));
        (array, Probe::read(message, offset!(msg_iter) + offset!(iter_segments)))
    }
}

/// `iov_offset`: bytes of the first segment, or of the one user buffer, that are done.
///
/// # Safety
/// `message` is a `struct msghdr *`, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn done<R: KernelRead>(message: *const u8) -> u64 {
    // SAFETY: as the callers promise.
    unsafe { R::read(message, offset!(msg_iter) + offset!(iter_offset)) }
}

/// A pointer member of the iterator as a number: by way of memory, since 6.1 takes the members of a union for pointers
/// to an iovec and allows no arithmetic.
#[inline(always)]
unsafe fn address<R: KernelRead>(message: *const u8, member: usize, scratch: *mut Scratch) -> u64 {
    // SAFETY: as the callers promise.
    unsafe {
        let slot = &raw mut (*scratch).found[0];
        slot.write_volatile(R::read(message, offset!(msg_iter) + member));
        slot.read_volatile()
    }
}

/// Where in its registered buffer an io_uring request (`IORING_OP_READ_FIXED`, `IORING_OP_WRITE_FIXED`) was before the last
/// `moved` bytes; its iterator walks over pages. Such a request begins with the `struct kiocb` that the message names, and
/// only it completes later. From 7.0 on messages name none, and it is looked for among the socket's.
#[inline(always)]
unsafe fn registered<R: KernelRead>(message: *const u8, moved: u64, slot: u32, scratch: *mut Scratch) -> Source {
    let known = offsets().msg_iocb() != u32::MAX
        && offsets().kiocb_complete() != u32::MAX
        && offsets().io_rw_address() != u32::MAX
        && offsets().io_rw_length() != u32::MAX;
    if settings().may_probe_read() == 0 {
        return Source::Unknown;
    }
    // SAFETY: as the callers promise; read by address.
    unsafe {
        let remaining = remaining::<R>(message);
        if !known {
            if settings().ring_requests() == 0 {
                return Source::Unknown;
            }
            let pages = address::<R>(message, offset!(iter_iov), scratch);
            return match request::ring_registered(slot, pages, remaining, moved) {
                0 => Source::Unknown,
                user => Source::Flat(user),
            };
        }
        let request: *const u8 = R::read(message, offset!(msg_iocb));
        if request.is_null() || Probe::read::<u64>(request, offset!(kiocb_complete)) == 0 {
            return Source::Unknown;
        }
        let buffer: u64 = Probe::read(request, offset!(io_rw_address));
        let length: u32 = Probe::read(request, offset!(io_rw_length));
        Source::Flat(buffer.wrapping_add(u64::from(length)).wrapping_sub(remaining).wrapping_sub(moved))
    }
}

/// The buffer of a call that begins, left in the scratch of `slot`, which has the call's sock and direction already.
///
/// # Safety
/// `message` is a `struct msghdr *`, `scratch` that of `slot`; called in the context of the task that moves the data.
#[inline(always)]
pub(crate) unsafe fn at_start<R: KernelRead>(message: *const u8, direction: u8, slot: u32, scratch: *mut Scratch) {
    // SAFETY: as promised.
    unsafe {
        if in_process_at_start::<R>(message, scratch) {
            return;
        }
        match kind::<R>(message) {
            Kind::Array if settings().task_registers() != 0 => of_system_call(direction).store(scratch),
            Kind::Array if R::TYPED => {
                // More segments may follow, which the typed pointer does not reach.
                let first: *const u8 = R::read(message, offset!(msg_iter) + offset!(iter_iov));
                let done = done::<R>(message);
                let bytes = R::read::<u64>(first, 8).wrapping_sub(done);
                Source::First(R::read::<u64>(first, 0).wrapping_add(done), bytes).store(scratch);
            }
            _ => registered::<R>(message, 0, slot, scratch).store(scratch),
        }
    }
}

/// The same where the bytes lie at addresses of the process and the iterator can be followed to them; else false.
///
/// # Safety
/// As for [`at_start`].
#[inline(always)]
pub(crate) unsafe fn in_process_at_start<R: KernelRead>(message: *const u8, scratch: *mut Scratch) -> bool {
    // SAFETY: as promised.
    unsafe {
        match kind::<R>(message) {
            Kind::User => {
                let user = address::<R>(message, offset!(iter_ubuf_pointer), scratch);
                Source::Flat(user.wrapping_add(done::<R>(message))).store(scratch);
                true
            }
            Kind::Array if settings().may_probe_read() != 0 => {
                let array = address::<R>(message, offset!(iter_iov), scratch);
                let segments: u64 = R::read(message, offset!(msg_iter) + offset!(iter_segments));
                Source::KernelVector(array, segments, done::<R>(message)).store(scratch);
                true
            }
            _ => false,
        }
    }
}

/// The buffer of a call that is over and moved `result` bytes, left in the scratch of `slot`, which has the call's sock
/// and direction already.
///
/// # Safety
/// As for [`at_start`].
#[inline(always)]
pub(crate) unsafe fn at_end<R: KernelRead>(
    message: *const u8,
    direction: u8,
    result: u64,
    slot: u32,
    scratch: *mut Scratch,
) {
    // SAFETY: as promised.
    unsafe {
        if in_process_at_end::<R>(message, result, slot, scratch) {
            return;
        }
        match kind::<R>(message) {
            Kind::Array if settings().task_registers() != 0 => of_system_call(direction).store(scratch),
            Kind::Array if R::TYPED => {
                let done = done::<R>(message);
                if done < result {
                    // The segment is full and the iterator beyond it.
                    Source::Unknown.store(scratch);
                    return;
                }
                let user: u64 = R::read(R::read(message, offset!(msg_iter) + offset!(iter_iov)), 0);
                Source::Flat(user.wrapping_add(done - result)).store(scratch);
            }
            _ => registered::<R>(message, result, slot, scratch).store(scratch),
        }
    }
}

/// The same where the bytes lie at addresses of the process and the iterator can be followed to them; else false.
///
/// # Safety
/// As for [`at_start`].
#[inline(always)]
pub(crate) unsafe fn in_process_at_end<R: KernelRead>(
    message: *const u8,
    result: u64,
    slot: u32,
    scratch: *mut Scratch,
) -> bool {
    // SAFETY: as promised.
    unsafe {
        match kind::<R>(message) {
            Kind::User => {
                let user = address::<R>(message, offset!(iter_ubuf_pointer), scratch);
                Source::Flat(user.wrapping_add(done::<R>(message)).wrapping_sub(result)).store(scratch);
                true
            }
            Kind::Array if settings().may_probe_read() != 0 => {
                let array = address::<R>(message, offset!(iter_iov), scratch);
                buffer::rewind(slot, array, done::<R>(message), result);
                true
            }
            _ => false,
        }
    }
}
