//! Where the bytes of a call are: one user buffer, a user iovec array, or unknown.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user, bpf_task_pt_regs,
};
use observer_abi::{connection::INBOUND, loss::Counter, record::MAX_PAYLOAD};

use crate::{
    globals::{offset, offsets, settings},
    output::count,
    read::{Direct, KernelRead},
};

/// Iovec segments that are looked at; what lies behind them is counted, not read.
const MAX_SEGMENTS: u64 = 8;

/// A call's buffer.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// `length` bytes at a user address.
    Flat(u64),
    /// A user address of an array of `struct iovec`, and how many they are.
    Vector(u64, u64),
    /// Bytes move, but nobody told from where: sendfile, splice, io_uring in some tiers.
    Unknown,
}

impl Source {
    /// The same, by way of memory: however the buffer was found, to the verifier what follows is one state, which it
    /// looks at once.
    ///
    /// # Safety
    /// `slot` is in a map value.
    #[inline(always)]
    pub(crate) unsafe fn through(self, slot: *mut [u64; 3]) -> Self {
        let (kind, first, second) = match self {
            Self::Flat(user) => (0, user, 0),
            Self::Vector(array, segments) => (1, array, segments),
            Self::Unknown => (2, 0, 0),
        };
        // SAFETY: as promised.
        unsafe {
            slot.write_volatile([kind, first, second]);
            match slot.cast::<u64>().read_volatile() {
                0 => Self::Flat(slot.cast::<u64>().add(1).read_volatile()),
                1 => Self::Vector(
                    slot.cast::<u64>().add(1).read_volatile(),
                    slot.cast::<u64>().add(2).read_volatile(),
                ),
                _ => Self::Unknown,
            }
        }
    }
}

/// x86-64 `struct pt_regs` (arch/x86/include/asm/ptrace.h), ABI of the kernel since 2.6.
mod registers {
    pub(super) const RDX: usize = 96;
    pub(super) const RSI: usize = 104;
    pub(super) const ORIG_RAX: usize = 120;
    pub(super) const CS: usize = 136;
    /// `__USER_CS` of a 64-bit process.
    pub(super) const USER_CS: u64 = 0x33;
}

/// System call numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
mod call {
    pub(super) const READ: u64 = 0;
    pub(super) const WRITE: u64 = 1;
    pub(super) const READV: u64 = 19;
    pub(super) const WRITEV: u64 = 20;
    pub(super) const SENDTO: u64 = 44;
    pub(super) const RECVFROM: u64 = 45;
    pub(super) const SENDMSG: u64 = 46;
    pub(super) const RECVMSG: u64 = 47;
    pub(super) const PREADV2: u64 = 327;
    pub(super) const PWRITEV2: u64 = 328;
}

/// `PF_KTHREAD | PF_IO_WORKER` (include/linux/sched.h): threads whose saved registers are not a system call's.
const PF_NO_SYSCALL: u32 = 0x0020_0000 | 0x10;

/// The buffer of the system call that this task is in.
///
/// # Safety
/// Called in the context of the task that moves the data.
#[inline(always)]
pub(crate) unsafe fn of_system_call(direction: u8) -> Source {
    // SAFETY: typed pointers from helpers, read directly.
    unsafe {
        let task = bpf_get_current_task_btf();
        if Direct::read::<u32>(task.cast::<u8>().cast_const(), offset!(task_flags)) & PF_NO_SYSCALL != 0 {
            return Source::Unknown;
        }
        let registers = bpf_task_pt_regs(task) as *const u8;
        if Direct::read::<u64>(registers, registers::CS) != registers::USER_CS {
            count(Counter::Compat, 1);
            return Source::Unknown;
        }
        let number: u64 = Direct::read(registers, registers::ORIG_RAX);
        let second: u64 = Direct::read(registers, registers::RSI);
        let third: u64 = Direct::read(registers, registers::RDX);
        if direction == INBOUND {
            match number {
                call::READ | call::RECVFROM => Source::Flat(second),
                call::READV | call::PREADV2 => Source::Vector(second, third),
                call::RECVMSG => of_message(second),
                _ => Source::Unknown,
            }
        } else {
            match number {
                call::WRITE | call::SENDTO => Source::Flat(second),
                call::WRITEV | call::PWRITEV2 => Source::Vector(second, third),
                call::SENDMSG => of_message(second),
                _ => Source::Unknown,
            }
        }
    }
}

/// `msg_iov` and `msg_iovlen` of a `struct msghdr` in user memory.
#[inline(always)]
unsafe fn of_message(message: u64) -> Source {
    let mut vector = [0u64; 2];
    // SAFETY: a user address; a fault is reported.
    let failed = unsafe { bpf_probe_read_user(vector.as_mut_ptr().cast(), 16, (message + 16) as *const _) };
    if failed != 0 {
        count(Counter::CopyFault, 1);
        return Source::Unknown;
    }
    Source::Vector(vector[0], vector[1])
}

/// The buffer that a `struct msghdr` in kernel memory describes, with the bytes it holds.
///
/// # Safety
/// `message` is a typed `struct msghdr *`, `slot` is in a map value; called in the context of the task that moves the
/// data.
#[inline(always)]
pub(crate) unsafe fn of_iterator(message: *const u8, direction: u8, slot: *mut u64) -> (Source, u64) {
    // SAFETY: as promised.
    unsafe {
        let base = offset!(msg_iter);
        let count: u64 = Direct::read(message, base + offset!(iter_count));
        let kind = if offsets().iter_type_size() == 1 {
            u32::from(Direct::read::<u8>(message, base + offset!(iter_type)))
        } else {
            Direct::read::<u32>(message, base + offset!(iter_type)) & 0x7e
        };
        if kind == offsets().iter_ubuf() {
            let offset: u64 = Direct::read(message, base + offset!(iter_offset));
            // By way of memory: 6.1 takes this member of a union for a pointer to an iovec, and allows no arithmetic.
            slot.write_volatile(Direct::read(message, base + offset!(iter_ubuf_pointer)));
            let user = slot.read_volatile();
            return (Source::Flat(user.wrapping_add(offset)), count);
        }
        if kind != offsets().iter_iovec() {
            return (Source::Unknown, count);
        }
        match of_system_call(direction) {
            Source::Unknown if settings().may_probe_read() != 0 => {
                // Not a plain system call (io_uring): the first segment of the kernel's own array.
                let offset: u64 = Direct::read(message, base + offset!(iter_offset));
                let array: u64 = Direct::read(message, base + offset!(iter_iov));
                let mut segment = [0u64; 2];
                if bpf_probe_read_kernel(segment.as_mut_ptr().cast(), 16, array as *const _) != 0
                    || segment[1].wrapping_sub(offset) < count
                {
                    (Source::Unknown, count)
                } else {
                    (Source::Flat(segment[0].wrapping_add(offset)), count)
                }
            }
            source => (source, count),
        }
    }
}

/// Copies at most `wanted` bytes of the buffer to `payload` and the number that were copied to `length`.
///
/// The number goes through memory, so that to the verifier every way of copying ends in the same state: it then looks
/// at what follows once, not once for each segment count.
///
/// # Safety
/// `payload` has room for twice [`MAX_PAYLOAD`] bytes, `length` is in a map value.
#[inline(always)]
pub(crate) unsafe fn copy(source: Source, wanted: u64, payload: *mut u8, length: *mut u64) {
    let wanted = wanted.min(MAX_PAYLOAD as u64);
    // SAFETY: bounds below.
    unsafe {
        length.write_volatile(0);
        match source {
            Source::Flat(user) => {
                let size = bounded(wanted);
                if bpf_probe_read_user(payload.cast(), size, user as *const _) != 0 {
                    count(Counter::CopyFault, 1);
                } else {
                    length.write_volatile(u64::from(size));
                }
            }
            Source::Vector(array, segments) => copy_vector(array, segments, wanted, payload, length),
            Source::Unknown => count(Counter::BufferUnknown, 1),
        }
    }
}

/// The number that [`copy`] left.
///
/// # Safety
/// `length` is in a map value.
#[inline(always)]
pub(crate) unsafe fn copied(length: *const u64) -> u32 {
    // SAFETY: as promised.
    bounded(unsafe { length.read_volatile() })
}

#[inline(always)]
unsafe fn copy_vector(array: u64, segments: u64, wanted: u64, payload: *mut u8, length: *mut u64) {
    let mut index: u64 = 0;
    while index < MAX_SEGMENTS {
        if index >= segments {
            break;
        }
        let mut segment = [0u64; 2];
        // SAFETY: user addresses; `at` and `size` are each at most MAX_PAYLOAD, the room is twice that.
        unsafe {
            let copied = length.read_volatile();
            if copied >= wanted {
                break;
            }
            if bpf_probe_read_user(segment.as_mut_ptr().cast(), 16, (array + index * 16) as *const _) != 0 {
                count(Counter::CopyFault, 1);
                break;
            }
            let size = bounded(segment[1].min(wanted - copied));
            let at = barrier(copied) & (MAX_PAYLOAD as u64 - 1);
            if size > 0 && bpf_probe_read_user(payload.add(at as usize).cast(), size, segment[0] as *const _) != 0 {
                count(Counter::CopyFault, 1);
                break;
            }
            length.write_volatile(at + u64::from(size));
        }
        index += 1;
    }
}

/// The last eight bytes of the stream after this call, newest in the highest byte; 0 where they cannot be read.
///
/// # Safety
/// Called in the context of the task that moves the data.
#[inline(always)]
pub(crate) unsafe fn tail(source: Source, length: u64, before: u64) -> u64 {
    // SAFETY: user addresses; faults are reported.
    unsafe {
        let (user, size) = match source {
            Source::Flat(user) => (user, length),
            Source::Vector(array, segments) => {
                let mut segment = [0u64; 2];
                let last = (array + segments.wrapping_sub(1) * 16) as *const _;
                if segments == 0 || bpf_probe_read_user(segment.as_mut_ptr().cast(), 16, last) != 0 {
                    return 0;
                }
                (segment[0], segment[1])
            }
            Source::Unknown => return 0,
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

/// A length that the verifier, too, knows to be at most [`MAX_PAYLOAD`].
#[inline(always)]
fn bounded(length: u64) -> u32 {
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
