//! The buffer that a `struct msghdr` in kernel memory describes, by its `iov_iter`: exact, whoever calls (io_uring too).
//!
//! Segments of an array are read by address. Where lockdown forbids that they come from the system call's registers, or,
//! before those can be had (5.15), the first one from its typed pointer.

use crate::{
    buffer::{self, Source},
    globals::{offset, offsets, settings},
    maps::Scratch,
    read::{KernelRead, Probe},
    registers::of_system_call,
};

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

/// Bytes that the iterator has left.
///
/// # Safety
/// `message` is a `struct msghdr *`, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn remaining<R: KernelRead>(message: *const u8) -> u64 {
    // SAFETY: as promised.
    unsafe { R::read(message, offset!(msg_iter) + offset!(iter_count)) }
}

/// `iov_offset`: bytes of the first segment, or of the one user buffer, that are done.
#[inline(always)]
unsafe fn done<R: KernelRead>(message: *const u8) -> u64 {
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

/// Where in its registered buffer an io_uring request (`IORING_OP_READ_FIXED`, `IORING_OP_WRITE_FIXED`) goes on; its
/// iterator walks over pages. Such a request begins with the `struct kiocb` that the message names, and only it completes
/// later.
#[inline(always)]
unsafe fn registered<R: KernelRead>(message: *const u8) -> Option<u64> {
    let known = offsets().msg_iocb() != u32::MAX
        && offsets().kiocb_complete() != u32::MAX
        && offsets().io_rw_address() != u32::MAX
        && offsets().io_rw_length() != u32::MAX;
    if !known || settings().may_probe_read() == 0 {
        return None;
    }
    // SAFETY: as the callers promise; read by address.
    unsafe {
        let request: *const u8 = R::read(message, offset!(msg_iocb));
        if request.is_null() || Probe::read::<u64>(request, offset!(kiocb_complete)) == 0 {
            return None;
        }
        let buffer: u64 = Probe::read(request, offset!(io_rw_address));
        let length: u32 = Probe::read(request, offset!(io_rw_length));
        Some(buffer.wrapping_add(u64::from(length)).wrapping_sub(remaining::<R>(message)))
    }
}

/// The buffer of a call that begins, left in the scratch.
///
/// # Safety
/// `message` is a `struct msghdr *`, `scratch` the program's; called in the context of the task that moves the data.
#[inline(always)]
pub(crate) unsafe fn at_start<R: KernelRead>(message: *const u8, direction: u8, scratch: *mut Scratch) {
    // SAFETY: as promised.
    unsafe {
        match kind::<R>(message) {
            Kind::User => {
                let user = address::<R>(message, offset!(iter_ubuf_pointer), scratch);
                Source::Flat(user.wrapping_add(done::<R>(message))).store(scratch);
            }
            Kind::Array if settings().may_probe_read() != 0 => {
                let array = address::<R>(message, offset!(iter_iov), scratch);
                let segments: u64 = R::read(message, offset!(msg_iter) + offset!(iter_segments));
                Source::KernelVector(array, segments, done::<R>(message)).store(scratch);
            }
            Kind::Array if settings().task_registers() != 0 => of_system_call(direction).store(scratch),
            Kind::Array if R::TYPED => {
                // More segments may follow, which the typed pointer does not reach.
                let first: *const u8 = R::read(message, offset!(msg_iter) + offset!(iter_iov));
                let done = done::<R>(message);
                let bytes = R::read::<u64>(first, 8).wrapping_sub(done);
                Source::First(R::read::<u64>(first, 0).wrapping_add(done), bytes).store(scratch);
            }
            _ => match registered::<R>(message) {
                Some(user) => Source::Flat(user).store(scratch),
                None => Source::Unknown.store(scratch),
            },
        }
    }
}

/// The buffer of a receive that is over and moved `result` bytes, left in the scratch of `slot`.
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
        match kind::<R>(message) {
            Kind::User => {
                let user = address::<R>(message, offset!(iter_ubuf_pointer), scratch);
                Source::Flat(user.wrapping_add(done::<R>(message)).wrapping_sub(result)).store(scratch);
            }
            Kind::Array if settings().may_probe_read() != 0 => {
                let array = address::<R>(message, offset!(iter_iov), scratch);
                buffer::rewind(slot, array, done::<R>(message), result);
            }
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
            _ => match registered::<R>(message) {
                Some(user) => Source::Flat(user.wrapping_sub(result)).store(scratch),
                None => Source::Unknown.store(scratch),
            },
        }
    }
}
