//! Where the bytes of a call are: one user buffer, an iovec array, or unknown. Copying them.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use observer_abi::{connection::OUTBOUND, loss::Counter, record::MAX_PAYLOAD};

use crate::{
    core::{
        call::retry,
        output::count,
        scratch::{self, Scratch},
    },
    kernel::globals::settings,
};

/// Iovec segments that are copied at a time: few, since the verifier walks through each step.
const MAX_SEGMENTS: u64 = 16;
/// Those that are passed by at a time on the way to the bytes that are wanted: as many as one call mostly has.
const MAX_PASSED: u64 = 64;
/// The same where only the last one is looked for, or the way leads back.
const MAX_STEPS: u64 = 16;

/// A call's buffer.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// Bytes at a user address.
    Flat(u64),
    /// The same, but only so many of the call's bytes lie there; where the others are is not known.
    First(u64, u64),
    /// A user address of an array of `struct iovec`, and how many they are.
    Vector(u64, u64),
    /// The same in kernel memory, and the bytes of the first segment that come before the call's first byte.
    KernelVector(u64, u64, u64),
    /// So many bytes lie in the scratch's payload already; and the last eight bytes of the stream after the call.
    Copied(u64, u64),
    /// Bytes move, but nobody told from where: sendfile, splice, io_uring in some tiers.
    Unknown,
}

/// How a [`Source`] lies in the scratch.
mod kind {
    pub(super) const FLAT: u64 = 0;
    pub(super) const VECTOR: u64 = 1;
    pub(super) const KERNEL_VECTOR: u64 = 2;
    pub(super) const UNKNOWN: u64 = 3;
    pub(super) const COPIED: u64 = 4;
}

impl Source {
    /// Leaves it in the scratch: however the buffer was found, to the verifier what follows is one state, which it
    /// looks at once.
    ///
    /// # Safety
    /// `scratch` is a map value.
    #[inline(always)]
    pub(crate) unsafe fn store(self, scratch: *mut Scratch) {
        let words = match self {
            Self::Flat(user) => [kind::FLAT, user, u64::MAX, 0],
            Self::First(user, bytes) => [kind::FLAT, user, bytes, 0],
            Self::Vector(array, segments) => [kind::VECTOR, array, segments, 0],
            Self::KernelVector(array, segments, skip) => [kind::KERNEL_VECTOR, array, segments, skip],
            Self::Copied(bytes, tail) => [kind::COPIED, bytes, tail, 0],
            Self::Unknown => [kind::UNKNOWN, 0, 0, 0],
        };
        // SAFETY: as promised.
        unsafe {
            (&raw mut (*scratch).source).write_volatile(words);
            (&raw mut (*scratch).reached).write_volatile([0, 0, words[3]]);
        }
    }
}

/// Whether it is known where the bytes are.
///
/// # Safety
/// `scratch` is a map value.
#[inline(always)]
pub(crate) unsafe fn is_known(scratch: *const Scratch) -> bool {
    // SAFETY: as promised.
    unsafe { (*scratch).source[0] != kind::UNKNOWN }
}

/// Whether what lies in the scratch's payload is all that will ever be known of the call's bytes.
///
/// # Safety
/// `scratch` is a map value.
#[inline(always)]
pub(crate) unsafe fn is_copied(scratch: *const Scratch) -> bool {
    // SAFETY: as promised.
    settings().inject() != 0 && unsafe { (*scratch).source[0] == kind::COPIED }
}

/// One segment of an iovec array: address and length. Reads as empty where it faults.
#[inline(always)]
unsafe fn segment(in_kernel: bool, array: u64, index: u64) -> Option<[u64; 2]> {
    let mut segment = [0u64; 2];
    let at = array.wrapping_add(index * 16);
    // SAFETY: the destination has the size; a fault is reported.
    let failed = unsafe {
        if in_kernel {
            if settings().may_probe_read() == 0 {
                return None;
            }
            bpf_probe_read_kernel(segment.as_mut_ptr().cast(), 16, at as *const _)
        } else {
            bpf_probe_read_user(segment.as_mut_ptr().cast(), 16, at as *const _)
        }
    };
    if failed != 0 {
        count(Counter::CopyFault, 1);
        return None;
    }
    Some(segment)
}

/// Copies at most `wanted` bytes of the scratch's buffer, behind its first `from`, to its payload and returns how many. Of an
/// array of buffers it takes only so many; the next call, from where this one ended, takes the next ones.
///
/// A function of its own, which the verifier looks at once a program, whatever the callers know.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_payload(slot: u32, from: u64, wanted: u64) -> u64 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    let wanted = wanted.min(MAX_PAYLOAD as u64);
    // SAFETY: a map value; `at` and `size` are each at most MAX_PAYLOAD, the payload's room is twice that.
    unsafe {
        let payload: *mut u8 = (&raw mut (*scratch).payload).cast();
        let first = (*scratch).source[1];
        match (*scratch).source[0] {
            kind::FLAT => {
                let size = bounded(wanted.min((*scratch).source[2].saturating_sub(from)));
                if size == 0 {
                    return 0;
                }
                if bpf_probe_read_user(payload.cast(), size, first.wrapping_add(from) as *const _) != 0 {
                    faulted(scratch, 0);
                    return 0;
                }
                return u64::from(size);
            }
            kind::UNKNOWN => {
                count(Counter::BufferUnknown, 1);
                return 0;
            }
            kind::COPIED if settings().inject() != 0 => return if from == 0 { wanted.min(first) } else { 0 },
            _ => {}
        }
        let reached = &raw mut (*scratch).reached;
        let at = (*reached)[0];
        if from < at {
            // From the first segment on.
            (&raw mut (*reached)[1]).write_volatile(0);
            (&raw mut (*reached)[2]).write_volatile((*scratch).source[3].saturating_add(from));
        } else {
            (&raw mut (*reached)[2]).write_volatile((*reached)[2].saturating_add(from - at));
        }
        let copied = &raw mut (*scratch).found[1];
        copied.write_volatile(0);
        let mut turn = 0;
        while turn < MAX_PASSED {
            if pass_segment(slot) == 0 {
                break;
            }
            turn += 1;
        }
        let mut turn = 0;
        while turn < MAX_SEGMENTS {
            if copy_segment(slot, wanted) == 0 {
                break;
            }
            turn += 1;
        }
        let copied = copied.read_volatile();
        (&raw mut (*reached)[0]).write_volatile(from.wrapping_add(copied));
        copied
    }
}

/// Goes past the segment that [`copy_payload`] stands at, where all of it comes before the bytes that are wanted: 1 if so.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pass_segment(slot: u32) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: a map value.
    unsafe {
        let (first, segments) = ((*scratch).source[1], (*scratch).source[2]);
        let (index, skip) = ((*scratch).reached[1], (*scratch).reached[2]);
        if skip == 0 || index >= segments {
            return 0;
        }
        let Some([_, length]) = segment((*scratch).source[0] == kind::KERNEL_VECTOR, first, index) else { return 0 };
        if length > skip {
            return 0;
        }
        (*scratch).reached[1] = index + 1;
        (*scratch).reached[2] = skip - length;
    }
    1
}

/// Copies from the segment that [`copy_payload`] stands at behind what it has copied of `wanted` bytes, and goes on behind
/// that: 1 where there may be more. A function of its own, so that the verifier takes what one segment leaves as one state,
/// however it was come by.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn copy_segment(slot: u32, wanted: u64) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: as for `copy_payload`.
    unsafe {
        let in_kernel = (*scratch).source[0] == kind::KERNEL_VECTOR;
        let (first, segments) = ((*scratch).source[1], (*scratch).source[2]);
        let (index, skip) = ((*scratch).reached[1], (*scratch).reached[2]);
        let done = (*scratch).found[1];
        if index >= segments || done >= wanted {
            return 0;
        }
        let Some([address, length]) = segment(in_kernel, first, index) else { return 0 };
        let skipped = skip.min(length);
        let left = length - skipped;
        let size = bounded(left.min(wanted - done));
        let at = barrier(done) & (MAX_PAYLOAD as u64 - 1);
        let begin = address.wrapping_add(skipped);
        let payload: *mut u8 = (&raw mut (*scratch).payload).cast();
        if size > 0 && bpf_probe_read_user(payload.add(at as usize).cast(), size, begin as *const _) != 0 {
            faulted(scratch, done);
            return 0;
        }
        (*scratch).found[1] = at + u64::from(size);
        if u64::from(size) == left {
            (*scratch).reached[1] = index + 1;
            (*scratch).reached[2] = skip - skipped;
        } else {
            (*scratch).reached[2] = skipped + u64::from(size);
        }
    }
    1
}

/// Counts a copy that failed after `copied` bytes, unless it is tried again.
#[inline(always)]
unsafe fn faulted(scratch: *const Scratch, copied: u64) {
    // SAFETY: a map value.
    if copied != 0 || unsafe { (*scratch).call.retry } == retry::NO {
        count(Counter::CopyFault, 1);
    }
}

/// The last eight bytes of the stream after the scratch's call, newest in the highest byte, where `before` was the same
/// before it; 0 where they cannot be read.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn read_tail(slot: u32, before: u64) -> u64 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    // SAFETY: a map value; user addresses, whose faults are reported.
    unsafe {
        let length = (*scratch).call.end.wrapping_sub((*scratch).call.start);
        let (user, size) = match (*scratch).source[0] {
            kind::FLAT if length <= (*scratch).source[2] => ((*scratch).source[1], length),
            kind::COPIED if settings().inject() != 0 => return (*scratch).source[2],
            kind::FLAT | kind::UNKNOWN => return 0,
            found => {
                if !last_segment(scratch, found == kind::KERNEL_VECTOR, length) {
                    return 0;
                }
                ((*scratch).found[0], (*scratch).found[1])
            }
        };
        let mut word = 0u64;
        if size >= 8 {
            let end = user.wrapping_add(size - 8) as *const _;
            return if bpf_probe_read_user((&raw mut word).cast(), 8, end) == 0 { word } else { 0 };
        }
        let bytes = (barrier(size) & 7) as u32;
        if bytes == 0 || bpf_probe_read_user((&raw mut word).cast(), bytes, user as *const _) != 0 {
            return 0;
        }
        (before >> (8 * bytes)) | (word << (64 - 8 * bytes))
    }
}

/// Leaves in the scratch where in the last segment that the call touched its bytes are, and how many.
#[inline(always)]
unsafe fn last_segment(scratch: *mut Scratch, in_kernel: bool, length: u64) -> bool {
    // SAFETY: a map value.
    unsafe {
        let (first, segments) = ((*scratch).source[1], (*scratch).source[2]);
        let mut skip = (*scratch).source[3];
        if segments == 0 {
            return false;
        }
        if segments > 1 && (*scratch).call.direction == u32::from(OUTBOUND) {
            // A send takes every segment whole.
            let Some(last) = segment(in_kernel, first, segments - 1) else { return false };
            (&raw mut (*scratch).found).write_volatile(last);
            return true;
        }
        let mut remaining = length;
        let mut index = 0;
        while index < MAX_STEPS {
            if index >= segments {
                break;
            }
            let Some([address, size]) = segment(in_kernel, first, index) else { break };
            let skipped = skip.min(size);
            skip -= skipped;
            let size = size - skipped;
            if remaining <= size {
                (&raw mut (*scratch).found).write_volatile([address.wrapping_add(skipped), remaining]);
                return true;
            }
            remaining -= size;
            index += 1;
        }
    }
    false
}

/// Finds the buffer of a receive that is over: `result` bytes back from where the iterator stands now, which is `skip`
/// bytes into the segment at `array` (in the kernel). Leaves it in the scratch.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn rewind(slot: u32, array: u64, skip: u64, result: u64) -> u32 {
    let Some(scratch) = scratch::at(slot) else { return 0 };
    let mut array = array;
    let mut skip = skip;
    let mut back = 0u64;
    // SAFETY: a map value; each segment read lies within the bytes that this call moved.
    unsafe {
        while back < MAX_STEPS {
            if skip >= result {
                Source::KernelVector(array, back + 1, skip - result).store(scratch);
                return 1;
            }
            array = array.wrapping_sub(16);
            let Some([_, length]) = segment(true, array, 0) else { break };
            skip = skip.wrapping_add(length);
            back += 1;
        }
        Source::Unknown.store(scratch);
    }
    0
}

/// A length that the verifier, too, knows to be at most [`MAX_PAYLOAD`].
#[inline(always)]
pub(crate) fn bounded(length: u64) -> u32 {
    let length = barrier(length);
    if length > MAX_PAYLOAD as u64 { MAX_PAYLOAD as u32 } else { length as u32 }
}

/// Hides a value's origin from the compiler, so that it keeps the bounds checks that the verifier needs to see.
#[inline(always)]
pub(crate) fn barrier(mut value: u64) -> u64 {
    // SAFETY: a move of a register to itself. (An empty statement would leave a line entry without an instruction,
    // which the kernel refuses.)
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
    value
}
