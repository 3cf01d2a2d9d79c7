//! The buffer that a system call names in its arguments, which are still in the saved registers.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use observer_abi::{connection::INBOUND, loss::Counter};

use crate::{
    core::{buffer::Source, output::count},
    kernel::{
        read::{Direct, KernelRead},
        task,
    },
    tier::ktls,
};

/// x86-64 `struct pt_regs` (arch/x86/include/asm/ptrace.h), ABI of the kernel since 2.6.
pub(crate) mod register {
    pub(crate) const R10: usize = 56;
    pub(crate) const R8: usize = 72;
    pub(crate) const RAX: usize = 80;
    pub(crate) const RDX: usize = 96;
    pub(crate) const RSI: usize = 104;
    pub(crate) const RDI: usize = 112;
    pub(crate) const ORIG_RAX: usize = 120;
    pub(crate) const CS: usize = 136;
    /// `__USER_CS` of a 64-bit process.
    pub(crate) const USER_CS: u64 = 0x33;
}

/// System call numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
pub(crate) mod call {
    pub(crate) const READ: u64 = 0;
    pub(crate) const WRITE: u64 = 1;
    pub(crate) const READV: u64 = 19;
    pub(crate) const WRITEV: u64 = 20;
    pub(crate) const SENDFILE: u64 = 40;
    pub(crate) const SENDTO: u64 = 44;
    pub(crate) const RECVFROM: u64 = 45;
    pub(crate) const SENDMSG: u64 = 46;
    pub(crate) const RECVMSG: u64 = 47;
    pub(crate) const SPLICE: u64 = 275;
    pub(crate) const RECVMMSG: u64 = 299;
    pub(crate) const SENDMMSG: u64 = 307;
    pub(crate) const PREADV2: u64 = 327;
    pub(crate) const PWRITEV2: u64 = 328;
    pub(crate) const IO_URING_ENTER: u64 = 426;
}

/// What the saved RAX holds from the entry to a system call until its result is there.
pub(crate) const IN_PROGRESS: u64 = -38i64 as u64;

/// The buffer of the system call that this task is in. Work that the kernel does for the task on its way back to user
/// mode (io_uring completions) is no part of the call, whose registers are still there.
///
/// # Safety
/// Called in the context of the task that moves the data.
#[inline(always)]
pub(crate) unsafe fn of_system_call(direction: u8) -> Source {
    let Some(registers) = task::registers() else { return Source::Unknown };
    // SAFETY: a typed pointer, read directly.
    unsafe {
        if Direct::read::<u64>(registers, register::RAX) != IN_PROGRESS {
            return Source::Unknown;
        }
        of_registers(registers, direction)
    }
}

/// The buffer that the registers name.
///
/// # Safety
/// `registers` is a typed `struct pt_regs *` of a system call of the current task.
#[inline(always)]
pub(crate) unsafe fn of_registers(registers: *const u8, direction: u8) -> Source {
    // SAFETY: as promised.
    unsafe {
        if Direct::read::<u64>(registers, register::CS) != register::USER_CS {
            count(Counter::Compat, 1);
            return Source::Unknown;
        }
        let number: u64 = Direct::read(registers, register::ORIG_RAX);
        let second: u64 = Direct::read(registers, register::RSI);
        let third: u64 = Direct::read(registers, register::RDX);
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

/// Whether the bytes that the current system call moved through kernel TLS are data, not another record.
///
/// # Safety
/// As for [`of_system_call`].
#[inline(always)]
pub(crate) unsafe fn is_data(direction: u8) -> bool {
    // SAFETY: as promised.
    unsafe {
        match task::registers() {
            Some(registers) => is_data_of(registers, direction),
            None => true,
        }
    }
}

/// The same by its registers. Only messages can be anything else: a record that is sent says what it is in a control
/// message, and one that was received is only given to who asks for such.
///
/// # Safety
/// As for [`of_registers`].
#[inline(always)]
pub(crate) unsafe fn is_data_of(registers: *const u8, direction: u8) -> bool {
    // SAFETY: typed registers; a user address, whose fault is reported.
    unsafe {
        let number: u64 = Direct::read(registers, register::ORIG_RAX);
        let message: u64 = Direct::read(registers, register::RSI);
        if number != call::SENDMSG && number != call::RECVMSG {
            return true;
        }
        let mut control = [0u64; 2];
        let at = message.wrapping_add(MSG_CONTROL) as *const _;
        bpf_probe_read_user(control.as_mut_ptr().cast(), 16, at);
        if direction == INBOUND { control[0] == 0 || ktls::is_data_at(control[0]) } else { control[1] == 0 }
    }
}

/// `msg_control` and behind it `msg_controllen` of a `struct msghdr` in user memory.
const MSG_CONTROL: u64 = 32;

/// `sizeof(struct mmsghdr)`, an element of what `sendmmsg` and `recvmmsg` are given: a `struct msghdr` and a length.
pub(crate) const MMSGHDR: u64 = 64;
/// Its `msg_len`.
pub(crate) const MSG_LENGTH: u64 = 56;

/// `msg_iov` and `msg_iovlen` of a `struct msghdr` in user memory.
#[inline(always)]
pub(crate) unsafe fn of_message(message: u64) -> Source {
    let mut vector = [0u64; 2];
    // SAFETY: a user address; a fault is reported.
    let failed = unsafe { bpf_probe_read_user(vector.as_mut_ptr().cast(), 16, message.wrapping_add(16) as *const _) };
    if failed != 0 {
        count(Counter::CopyFault, 1);
        return Source::Unknown;
    }
    Source::Vector(vector[0], vector[1])
}
