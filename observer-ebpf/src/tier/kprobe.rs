//! The `kprobe` tier: the functions of the `fentry` tier through breakpoints or ftrace.
//!
//! | hook | prototype | since |
//! |---|---|---|
//! | kprobe, kretprobe `tcp_sendmsg` | `(struct sock *sk, struct msghdr *msg, size_t size)` | 4.1 |
//! | kprobe `tcp_recvmsg` | `(struct sock *sk, struct msghdr *msg, size_t len, [int nonblock,] int flags, …)` | 4.1 |
//! | tp_btf `tcp_rcv_space_adjust` | `(struct sock *sk)` | 4.16 |
//! | kprobe `tcp_splice_read` | any | 4.1 |
//! | kprobe, kretprobe `tcp_sendpage` | `(struct sock *sk, struct page *page, int offset, size_t size, int flags)` | until 6.5 |
//! | kprobe, kretprobe `unix_stream_sendmsg`, `unix_stream_recvmsg` | `(struct socket *sock, struct msghdr *msg, size_t len[, int flags])` | 4.1 |
//! | kprobe `udp_sendmsg`, `udpv6_sendmsg`, `udp_recvmsg`, `udpv6_recvmsg`, `skb_consume_udp`, `udp_destroy_sock`, `udpv6_destroy_sock`; kretprobe of the first two | see `dns` | 4.10 |
//! | kretprobe `inet_csk_accept` | returns the accepted sock | 4.1 |
//!
//! A TCP receive's end is not taken from a kretprobe: the kernel keeps return instances for a few calls at a time only
//! (twice the CPUs, or one each), and a call that waits for data holds one, so that a server with a thread a connection
//! would go unseen. `tcp_rcv_space_adjust` runs in the caller's context after each segment's bytes were copied.
//!
//! Entry and end meet in maps by thread id. What is found there proves itself before it is used: a TCP receive by the
//! bytes that its iterator moved since, the others by the stack pointer; an end whose entry was missed finds nothing or
//! something that does not fit, and is counted without its bytes.
//!
//! Cost: a probe about 0.1 to 0.2 µs, a return probe twice that. Limits: kernels that refuse kprobes (lockdown, not
//! configured); Unix receives beyond the kernel's return instances are missed.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::{btf_tracepoint, kprobe, kretprobe, map},
    maps::LruHashMap,
    programs::{BtfTracePointContext, ProbeContext, RetProbeContext},
};
use observer_abi::connection::{INBOUND, OUTBOUND};

use crate::{
    core::{
        connection,
        scratch::{self, slot},
    },
    datagram::dns::{self, Name},
    kernel::{
        above,
        globals::offset,
        iterator,
        read::{Direct, KernelRead, Probe},
        sock::{self, Kind},
        task,
    },
    tier::{
        retry,
        socket::{self, Buffer, MSG_PEEK, MSG_TRUNC, Moved},
        spare::{slot_of, spared},
    },
    work::unit,
};

/// Kernel, `kprobe` tier: calls that were entered, by thread id.
#[map]
pub(crate) static CALLS: LruHashMap<u32, Entered> = LruHashMap::with_max_entries(8192, 0);

/// Kernel, `kprobe` tier: TCP receives that were entered, by thread id.
#[map]
pub(crate) static RECEIVES: LruHashMap<u32, Receive> = LruHashMap::with_max_entries(8192, 0);

/// BPF_ANY of `bpf_map_update_elem`.
const ANY: u64 = 0;

/// More bytes than one receive moves.
const MAX_SEGMENT: u64 = 1 << 30;

/// A call that was entered and not yet left.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Entered {
    pub(crate) sock: u64,
    /// Its `struct msghdr`.
    pub(crate) message: u64,
    /// The stack pointer at entry.
    pub(crate) stack: u64,
    /// Of a TCP send, its bytes.
    pub(crate) flags: u64,
}

/// A TCP receive that was entered.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Receive {
    pub(crate) sock: u64,
    pub(crate) message: u64,
    /// Bytes that its iterator had left at entry, and after the segment before.
    pub(crate) remaining: u64,
    pub(crate) flags: u64,
}

#[inline(always)]
fn thread() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_pid_tgid() as u32 }
}

/// The stack pointer of the probed function: where its return address lies at entry, one word above after its return.
macro_rules! stack {
    ($ctx:ident) => {
        // SAFETY: the context's registers.
        unsafe { (*$ctx.regs).rsp }
    };
}
pub(crate) use stack;

/// Remembers a call until its end.
#[inline(always)]
pub(crate) fn enter(map: &aya_ebpf::maps::LruHashMap<u32, Entered>, sock: u64, message: u64, stack: u64, flags: u64) {
    let _ = map.insert(thread(), &Entered { sock, message, stack, flags }, ANY);
}

/// The call that ends now, at this stack pointer.
#[inline(always)]
pub(crate) fn leave(map: &aya_ebpf::maps::LruHashMap<u32, Entered>, stack: u64) -> Option<Entered> {
    let thread = thread();
    // SAFETY: a live map value, which only this thread writes.
    let entered = unsafe { *map.get_ptr(thread)? };
    let _ = map.remove(thread);
    if entered.stack.wrapping_add(8) == stack { Some(entered) } else { None }
}

#[kprobe]
pub(crate) fn kprobe_tcp_sending(ctx: ProbeContext) -> u32 {
    let (Some(sock), Some(message)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    // SAFETY: arguments of the function, read by address.
    unsafe { socket::tcp_sending::<Probe, true>(sock as *const u8, message as *const u8, slot::SENDING) };
    enter(&CALLS, sock, message, stack!(ctx), ctx.arg::<u64>(2).unwrap_or(0));
    0
}

#[kretprobe]
pub(crate) fn kprobe_tcp_sent(ctx: RetProbeContext) -> u32 {
    let result: i32 = ctx.ret();
    let Some(entered) = leave(&CALLS, stack!(ctx)) else { return 0 };
    let sock = entered.sock as *const u8;
    // SAFETY: the sock and the message that were entered with.
    unsafe {
        let buffer = Buffer::Message(entered.message as *const u8);
        let retried = retry::sent::<Probe>(sock, result, buffer, slot::SENT);
        if !retried {
            socket::tcp_sent_once::<Probe>(sock, result, entered.flags);
        }
    }
    0
}

#[kprobe]
pub(crate) fn kprobe_tcp_page_sending(ctx: ProbeContext) -> u32 {
    let Some(sock) = ctx.arg::<u64>(0) else { return 0 };
    enter(&CALLS, sock, 0, stack!(ctx), 0);
    0
}

#[kretprobe]
pub(crate) fn kprobe_tcp_page_sent(ctx: RetProbeContext) -> u32 {
    let result: i32 = ctx.ret();
    let Some(entered) = leave(&CALLS, stack!(ctx)) else { return 0 };
    if result > 0 {
        let moved = Moved { direction: OUTBOUND, bytes: result as u32, buffer: Buffer::None, record: 0 };
        // SAFETY: the sock that was entered with.
        unsafe { socket::after_call::<Probe>(entered.sock as *const u8, Kind::Tcp, &moved, slot::SENT) };
    }
    0
}

/// `tcp_recvmsg` has its flags in the fourth or, before 5.19, in the fifth argument; which comes from BTF.
macro_rules! tcp_receiving {
    ($name:ident, $flags:literal) => {
        #[kprobe]
        pub(crate) fn $name(ctx: ProbeContext) -> u32 {
            let (Some(sock), Some(message), Some(flags)) =
                (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<i32>($flags))
            else {
                return 0;
            };
            if flags & MSG_PEEK != 0 {
                let _ = RECEIVES.remove(thread());
                return 0;
            }
            // SAFETY: an argument of the function, read by address.
            let remaining = unsafe { iterator::remaining::<Probe>(message as *const u8) };
            let receive = Receive { sock, message, remaining, flags: flags as u32 as u64 };
            let _ = RECEIVES.insert(thread(), &receive, ANY);
            0
        }
    };
}

tcp_receiving!(kprobe_tcp_receiving_3, 3);
tcp_receiving!(kprobe_tcp_receiving_4, 4);

// After each segment of a receive, and of what else takes bytes from a TCP sock (splice).
spared! {
    #[btf_tracepoint(function = "tcp_rcv_space_adjust")]
    kprobe_tcp_received, kprobe_tcp_received_spare, BtfTracePointContext, RECEIVED,
    // SAFETY: a typed argument.
    |ctx, spare| unsafe { tcp_received(ctx.arg(0), slot_of(slot::RECEIVED, spare)) }
}

/// # Safety
/// `sock` is a typed sock.
#[inline(always)]
unsafe fn tcp_received(sock: *const u8, slot: u32) {
    // SAFETY: as promised; live map values.
    unsafe {
        let file = sock::file::<Direct>(sock);
        if file.is_null() {
            return;
        }
        if above::is_on::<Direct>(sock, INBOUND) {
            // A record, whose plaintext is told elsewhere.
            return;
        }
        let Some(entry) = connection::find_or_create::<Direct>(sock, Kind::Tcp, file) else { return };
        let Some(tcp) = sock::tcp::<Direct>(sock) else { return };
        let Some(scratch) = scratch::at(slot) else { return };
        let this = &raw const (*entry).directions[INBOUND as usize];
        let seq = sock::copied_seq::<Direct>(tcp);
        let unseen = connection::extend((*this).end, (*entry).inbound_base, seq).wrapping_sub((*this).end);
        // The entry of an older connection began behind these bytes.
        let fresh = (*this).runs == 0;
        let mut moved = Moved { direction: INBOUND, bytes: unseen as u32, buffer: Buffer::None, record: 0 };
        if unseen > MAX_SEGMENT {
            moved.bytes = 0;
        }
        if let Some(receive) = RECEIVES.get_ptr_mut(thread()) {
            if (*receive).sock == sock as u64 {
                let message = (*receive).message as *const u8;
                let remaining = iterator::remaining::<Probe>(message);
                let taken = (*receive).remaining.wrapping_sub(remaining);
                (*receive).remaining = remaining;
                // Anything else, and it is not this receive whose bytes moved.
                if taken != 0 && taken <= MAX_SEGMENT && (fresh || taken <= unseen) {
                    moved.bytes = taken as u32;
                    if (*receive).flags & MSG_TRUNC as u64 == 0 {
                        (*scratch).call.sock = sock as u64;
                        (*scratch).call.direction = u32::from(INBOUND);
                        iterator::at_end::<Probe>(message, INBOUND, taken, slot, scratch);
                        moved.buffer = Buffer::Known;
                    }
                }
            }
        }
        if moved.bytes != 0 {
            socket::after_call::<Direct>(sock, Kind::Tcp, &moved, slot);
        }
    }
}

/// Splicing takes bytes from the sock, too: no receive of this thread is at work.
#[kprobe]
pub(crate) fn kprobe_tcp_splicing(_ctx: ProbeContext) -> u32 {
    let _ = RECEIVES.remove(thread());
    0
}

#[inline(always)]
unsafe fn sock_of(socket: u64) -> u64 {
    // SAFETY: an argument of the probed function, read by address.
    unsafe { Probe::read(socket as *const u8, offset!(socket_sk)) }
}

#[kprobe]
pub(crate) fn kprobe_unix_sending(ctx: ProbeContext) -> u32 {
    let (Some(socket), Some(message)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    // SAFETY: an argument of the function.
    enter(&CALLS, unsafe { sock_of(socket) }, message, stack!(ctx), 0);
    0
}

#[kretprobe]
pub(crate) fn kprobe_unix_sent(ctx: RetProbeContext) -> u32 {
    let result: i32 = ctx.ret();
    let Some(entered) = leave(&CALLS, stack!(ctx)) else { return 0 };
    if result > 0 {
        let buffer = Buffer::Message(entered.message as *const u8);
        let moved = Moved { direction: OUTBOUND, bytes: result as u32, buffer, record: 0 };
        // SAFETY: the sock that was entered with.
        unsafe { socket::after_call::<Probe>(entered.sock as *const u8, Kind::Unix, &moved, slot::UNIX_SENT) };
    }
    0
}

#[kprobe]
pub(crate) fn kprobe_unix_receiving(ctx: ProbeContext) -> u32 {
    let (Some(socket), Some(message), Some(flags)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<i32>(3))
    else {
        return 0;
    };
    // SAFETY: an argument of the function.
    enter(&CALLS, unsafe { sock_of(socket) }, message, stack!(ctx), flags as u32 as u64);
    0
}

#[kretprobe]
pub(crate) fn kprobe_unix_received(ctx: RetProbeContext) -> u32 {
    let result: i32 = ctx.ret();
    let Some(entered) = leave(&CALLS, stack!(ctx)) else { return 0 };
    let flags = entered.flags as i32;
    if result > 0 && flags & MSG_PEEK == 0 {
        let buffer =
            if flags & MSG_TRUNC != 0 { Buffer::None } else { Buffer::Message(entered.message as *const u8) };
        let moved = Moved { direction: INBOUND, bytes: result as u32, buffer, record: 0 };
        // SAFETY: the sock that was entered with.
        unsafe { socket::after_call::<Probe>(entered.sock as *const u8, Kind::Unix, &moved, slot::UNIX_RECEIVED) };
    }
    0
}

/// Of a send over IPv4 on an IPv6 socket, which goes through both functions, the inner one's end tells.
#[kprobe]
pub(crate) fn kprobe_udp_sending(ctx: ProbeContext) -> u32 {
    let (Some(sock), Some(message)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    // SAFETY: an argument of the function, read by address.
    if unsafe { dns::may_ask::<Probe>(sock as *const u8, OUTBOUND) } {
        enter(&CALLS, sock, message, stack!(ctx), 0);
    }
    0
}

#[kretprobe]
pub(crate) fn kprobe_udp_sent(ctx: RetProbeContext) -> u32 {
    let result: i32 = ctx.ret();
    let Some(entered) = leave(&CALLS, stack!(ctx)) else { return 0 };
    if result > 0 {
        let message = entered.message as *const u8;
        let (name, buffer) = (Name::Message(message), Buffer::Message(message));
        // SAFETY: the sock and the message that were entered with.
        unsafe { dns::moved::<Probe>(entered.sock as *const u8, OUTBOUND, result as u32, name, buffer, 0) };
    }
    0
}

/// The bytes that its iterator has left are what it is known by, see [`kprobe_udp_consumed`].
#[kprobe]
pub(crate) fn kprobe_udp_receiving(ctx: ProbeContext) -> u32 {
    let (Some(sock), Some(message)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    let stack = stack!(ctx);
    // SAFETY: arguments of the function, read by address.
    unsafe {
        if dns::may_ask::<Probe>(sock as *const u8, INBOUND) {
            enter(&CALLS, sock, message, stack, iterator::remaining::<Probe>(message as *const u8));
        }
    }
    0
}

/// A datagram of `len` bytes was received, less than nothing where it was only looked at. A return probe would miss
/// receives that wait, see above.
#[kprobe]
pub(crate) fn kprobe_udp_consumed(ctx: ProbeContext) -> u32 {
    let (Some(sock), Some(length)) = (ctx.arg::<u64>(0), ctx.arg::<i32>(2)) else { return 0 };
    if length <= 0 {
        return 0;
    }
    unit::disturbed(task::pid_tgid());
    let thread = thread();
    let Some(entered) = CALLS.get_ptr(thread) else { return 0 };
    // SAFETY: a live map value, which only this thread writes; the sock and the message that were entered with.
    unsafe {
        let entered = *entered;
        let _ = CALLS.remove(thread);
        if entered.sock == sock {
            let message = entered.message as *const u8;
            let moved = entered.flags.wrapping_sub(iterator::remaining::<Probe>(message));
            // MSG_TRUNC tells of more bytes than there was room for.
            let buffer = if moved == length as u64 { Buffer::Message(message) } else { Buffer::None };
            dns::moved::<Probe>(sock as *const u8, INBOUND, length as u32, Name::SystemCall, buffer, 0);
        }
    }
    0
}

#[kprobe]
pub(crate) fn kprobe_udp_destroyed(ctx: ProbeContext) -> u32 {
    if let Some(sock) = ctx.arg::<u64>(0) {
        dns::destroyed(sock as *const u8);
    }
    0
}

/// The accept wait, as in the `fentry` tier.
#[kretprobe]
pub(crate) fn kprobe_accepted(ctx: RetProbeContext) -> u32 {
    if let Some(entry) = connection::find(ctx.ret::<u64>()) {
        // SAFETY: a live map value; a helper without arguments.
        unsafe { (*entry).accepted_ns = bpf_ktime_get_ns() };
    }
    0
}
