//! The `syscall` tier: the end of every system call.
//!
//! | hook | prototype | since |
//! |---|---|---|
//! | tp_btf `sys_exit` | `(struct pt_regs *regs, long ret)`; the arguments are still in the registers | 4.17 |
//! | tp_btf `sys_enter` | `(struct pt_regs *regs, long id)` | 4.17 |
//!
//! The sock is found from the descriptor: task, files, table, file, socket, sock. While a call waits another thread may
//! close its descriptor, and a new connection get the number: what is found at the end would then be another's sock. A
//! process that shares its table with nobody can't do that. In any other the file is remembered at the entry, and a call
//! at whose end the descriptor stands for another file (or was not seen to begin) is counted, not read.
//!
//! Cost: every system call of every process is made slower, reads and writes of plain files most: they are looked up,
//! too, before it is known that they are no sockets. Limits: io_uring moves bytes outside of system calls (its calls are
//! counted, the bytes show as a gap); the system calls of 32-bit processes are counted, not read; sends are seen when
//! their bytes have left.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_pid_tgid, bpf_probe_read_user},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use observer_abi::{
    connection::{INBOUND, OUTBOUND},
    loss::Counter,
};

use crate::{
    core::{
        buffer::Source,
        output::count,
        policy,
        scratch::{self, slot},
    },
    datagram::dns::{self, Name},
    kernel::{
        above,
        arch::registers::{self, call, register},
        descriptor,
        globals::offset,
        read::{Direct, KernelRead, Probe},
        sock::{self, Kind},
    },
    tier::{
        kprobe::{CALLS, Entered},
        ktls,
        socket::{self, Buffer, MSG_ERRQUEUE, MSG_PEEK, MSG_TRUNC, Moved},
        spare::{slot_of, spared},
    },
    work::unit,
};

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;
/// Messages of a `sendmmsg` or `recvmmsg` that are summed up.
const MAX_MESSAGES: u64 = 8;

/// The calls of [`call`] below 64, as bits.
const LOW_CALLS: u64 = 1 << call::READ
    | 1 << call::WRITE
    | 1 << call::READV
    | 1 << call::WRITEV
    | 1 << call::SENDFILE
    | 1 << call::SENDTO
    | 1 << call::RECVFROM
    | 1 << call::SENDMSG
    | 1 << call::RECVMSG;

/// Whether the call may move bytes of a socket.
#[inline(always)]
fn concerns(number: u64) -> bool {
    if number < 64 {
        return LOW_CALLS & (1 << number) != 0;
    }
    matches!(number, call::SPLICE | call::RECVMMSG | call::SENDMMSG | call::PREADV2 | call::PWRITEV2)
}

/// The same calls in 32-bit processes (arch/x86/entry/syscalls/syscall_32.tbl).
#[inline(always)]
fn concerns_compat(number: u64) -> bool {
    matches!(number, 3 | 4 | 102 | 145 | 146 | 187 | 239 | 313 | 337 | 345 | 369..=372)
}

#[inline(always)]
fn thread() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}

/// The socket that the call is about, and whether it is the call's output.
#[inline(always)]
unsafe fn subject(registers: *const u8, number: u64, files: *const u8) -> Option<(*const u8, bool)> {
    // SAFETY: typed registers.
    unsafe {
        let first: u64 = Direct::read(registers, register::RDI);
        let sends = matches!(
            number,
            call::WRITE
                | call::WRITEV
                | call::SENDFILE
                | call::SENDTO
                | call::SENDMSG
                | call::SENDMMSG
                | call::PWRITEV2
        );
        match descriptor::socket_file(files, first) {
            Some(file) => Some((file, sends)),
            None if number == call::SPLICE => {
                descriptor::socket_file(files, Direct::read(registers, register::RDX)).map(|file| (file, true))
            }
            None => None,
        }
    }
}

spared! {
    #[btf_tracepoint(function = "sys_enter")]
    syscall_entered, syscall_entered_spare, BtfTracePointContext, SYSCALL_ENTERED,
    // SAFETY: typed registers.
    |ctx, _spare| unsafe { entered(ctx.arg(0), ctx.arg(1)) }
}

/// # Safety
/// `registers` is a typed `struct pt_regs *`.
#[inline(always)]
unsafe fn entered(registers: *const u8, number: u64) {
    if !concerns(number) {
        return;
    }
    // SAFETY: as promised.
    unsafe {
        if Direct::read::<u64>(registers, register::CS) != register::USER_CS {
            return;
        }
        let files = descriptor::files();
        if !descriptor::is_shared(files) {
            return;
        }
        if let Some((file, _)) = subject(registers, number, files) {
            let entered = Entered { sock: file as u64, message: number, stack: 0, flags: 0 };
            let _ = CALLS.insert(thread(), &entered, ANY);
        }
    }
}

spared! {
    #[btf_tracepoint(function = "sys_exit")]
    syscall_left, syscall_left_spare, BtfTracePointContext, SYSCALL_LEFT,
    // SAFETY: typed registers.
    |ctx, spare| unsafe { left(ctx.arg(0), ctx.arg(1), spare) }
}

#[inline(always)]
unsafe fn left(registers: *const u8, result: i64, is_spare: bool) {
    // SAFETY: typed registers; the rest is read by address.
    unsafe {
        let number: u64 = Direct::read(registers, register::ORIG_RAX);
        if Direct::read::<u64>(registers, register::CS) != register::USER_CS {
            if result > 0 && concerns_compat(number) {
                count(Counter::Compat, 1);
            }
            return;
        }
        if !concerns(number) {
            if number == call::IO_URING_ENTER && result > 0 {
                count(Counter::IoUring, 1);
            }
            return;
        }
        let files = descriptor::files();
        let entered = CALLS.get_ptr(thread());
        let found = subject(registers, number, files);
        let Some((file, sends)) = found else {
            if entered.is_some() {
                // Closed meanwhile.
                forget(result);
            }
            return;
        };
        match entered {
            Some(entered) => {
                if (*entered).sock != file as u64 || (*entered).message != number {
                    forget(result);
                    return;
                }
                let _ = CALLS.remove(thread());
            }
            None if descriptor::is_shared(files) => {
                forget(result);
                return;
            }
            None => {}
        }
        if result <= 0 {
            return;
        }
        let socket: *const u8 = Probe::read(file, offset!(file_private));
        let sock: *const u8 = Probe::read(socket, offset!(socket_sk));
        let (mut kind, mut record) = (sock::kind::<Probe>(sock), 0);
        if kind == Kind::Other {
            return;
        }
        let flags = receive_flags(registers, number);
        if flags & MSG_PEEK != 0 {
            return;
        }
        let direction = if sends { OUTBOUND } else { INBOUND };
        if kind == Kind::Udp {
            if flags & MSG_ERRQUEUE != 0 {
                return;
            }
            datagram(sock, registers, sends, result as u32, flags);
            return;
        }
        let slot = slot_of(if sends { slot::SENT } else { slot::RECEIVED }, is_spare);
        let Some(scratch) = scratch::at(slot) else { return };
        let (source, bytes) = match number {
            call::SENDFILE | call::SPLICE => (Source::Unknown, result as u32),
            call::SENDMMSG | call::RECVMMSG => of_messages(registers, result as u64),
            _ if flags & MSG_TRUNC != 0 => (Source::Unknown, result as u32),
            _ => (registers::of_registers(registers, direction), result as u32),
        };
        if bytes == 0 {
            return;
        }
        source.store(scratch);
        if kind == Kind::Tcp && above::is_on::<Probe>(sock, direction) {
            // The handshake's alerts and the like say so in a control message.
            let is_data = registers::is_data_of(registers, direction);
            let found = if sends {
                ktls::record_sent::<Probe>(sock, bytes as i32, is_data, slot)
            } else {
                ktls::record_received::<Probe>(sock, bytes as i32, flags, is_data, slot)
            };
            match found {
                Some(found) => (kind, record) = (Kind::KernelTls, found),
                None => return,
            }
        }
        let moved = Moved { direction, bytes, buffer: Buffer::Known, record };
        socket::after_call::<Probe>(sock, kind, &moved, slot);
    }
}

/// What the call did on a UDP socket. Not inlined for the sake of the stack.
#[inline(never)]
unsafe fn datagram(sock: *const u8, registers: *const u8, sends: bool, result: u32, flags: i32) {
    // SAFETY: a sock, read by address; typed registers.
    unsafe {
        let name = Name::Registers(registers);
        let direction = if sends { OUTBOUND } else { INBOUND };
        match Direct::read::<u64>(registers, register::ORIG_RAX) {
            call::SENDMMSG => dns::moved::<Probe>(sock, direction, 0, name, Buffer::None, result),
            // What each of them was is not looked for; that there were some is told.
            call::RECVMMSG => dns::moved::<Probe>(sock, direction, u32::MAX, name, Buffer::None, 0),
            _ => {
                let buffer = if flags & MSG_TRUNC != 0 { Buffer::None } else { Buffer::Registers(registers) };
                dns::moved::<Probe>(sock, direction, result, name, buffer, 0);
            }
        }
        if !sends {
            unit::disturbed(bpf_get_current_pid_tgid());
        }
    }
}

/// The call's descriptor does not stand for what it did.
#[inline(always)]
fn forget(result: i64) {
    let _ = CALLS.remove(thread());
    // SAFETY: a helper without arguments.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if result > 0 && policy::is_selected(tgid) {
        count(Counter::DescriptorChanged, 1);
    }
}

/// Flags of a receive.
#[inline(always)]
unsafe fn receive_flags(registers: *const u8, number: u64) -> i32 {
    // SAFETY: typed registers.
    unsafe {
        match number {
            call::RECVFROM | call::RECVMMSG => Direct::read::<u64>(registers, register::R10) as i32,
            call::RECVMSG => Direct::read::<u64>(registers, register::RDX) as i32,
            _ => 0,
        }
    }
}

/// The buffer of the first of `messages` messages, and the bytes of all of them.
#[inline(always)]
unsafe fn of_messages(registers: *const u8, messages: u64) -> (Source, u32) {
    // SAFETY: typed registers; user addresses, whose faults are reported.
    unsafe {
        let array: u64 = Direct::read(registers, register::RSI);
        let mut bytes = 0u32;
        let mut index = 0;
        while index < MAX_MESSAGES {
            if index >= messages {
                break;
            }
            let mut length = 0u32;
            let at = array.wrapping_add(index * registers::MMSGHDR + registers::MSG_LENGTH) as *const _;
            if bpf_probe_read_user((&raw mut length).cast(), 4, at) != 0 {
                break;
            }
            bytes = bytes.wrapping_add(length);
            index += 1;
        }
        if index == 1 { (registers::of_message(array), bytes) } else { (Source::Unknown, bytes) }
    }
}
