//! The `fentry` tier: the protocols' own functions, entered and left through trampolines.
//!
//! | hook | prototype | since |
//! |---|---|---|
//! | fentry, fexit `tcp_sendmsg` | `(struct sock *sk, struct msghdr *msg, size_t size)` | 5.5 |
//! | fexit `tcp_recvmsg` | `(struct sock *sk, struct msghdr *msg, size_t len, [int nonblock,] int flags[, int *addr_len])` | 5.5 |
//! | fexit `unix_stream_sendmsg` | `(struct socket *sock, struct msghdr *msg, size_t len)` | 5.5 |
//! | fexit `unix_stream_recvmsg` | `(struct socket *sock, struct msghdr *msg, size_t size, int flags)` | 5.5 |
//! | fexit `udp_sendmsg`, `udpv6_sendmsg`, `udp_recvmsg`, `udpv6_recvmsg`; fentry `udp_destroy_sock`, `udpv6_destroy_sock` | see `dns` | 5.5 |
//! | fexit `inet_csk_accept` | `(struct sock *sk, …)`, returns the accepted sock | 5.5 |
//!
//! Cost: the lowest of all tiers; sees io_uring and sendfile. Limits: what `iterator` cannot reach under lockdown
//! (io_uring's registered buffers), and sendfile's pages, which have no user address, are counted, not read.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use observer_abi::connection::{INBOUND, OUTBOUND, family};

use crate::{
    core::{connection, scratch::slot},
    datagram::dns::{self, Name},
    kernel::{
        globals::offset,
        read::{Direct, KernelRead},
        sock::{self, Kind},
        task,
    },
    tier::{
        retry,
        socket::{self, Buffer, MSG_ERRQUEUE, MSG_PEEK, MSG_TRUNC, Moved},
        spare::{slot_of, spared},
    },
    work::unit,
};

spared! {
    #[fentry(function = "tcp_sendmsg")]
    fentry_tcp_sending, fentry_tcp_sending_spare, FEntryContext, SENDING,
    // SAFETY: typed arguments.
    |ctx, spare| unsafe { socket::tcp_sending::<Direct, true>(ctx.arg(0), ctx.arg(1), slot_of(slot::SENDING, spare)) }
}

spared! {
    #[fexit(function = "tcp_sendmsg")]
    fentry_tcp_sent, fentry_tcp_sent_spare, FExitContext, SENT,
    |ctx, spare| {
        let result: i32 = ctx.arg(3);
        // SAFETY: typed arguments.
        unsafe {
            let buffer = Buffer::Message(ctx.arg(1));
            let retried = retry::sent::<Direct>(ctx.arg(0), result, buffer, slot_of(slot::SENT, spare));
            if !retried {
                socket::tcp_sent_once::<Direct>(ctx.arg(0), result, ctx.arg(2));
            }
        }
    }
}

/// A receive of `result` bytes into `message`.
#[inline(always)]
fn received(message: *const u8, flags: i32, result: i32) -> Moved {
    let buffer = if flags & MSG_TRUNC != 0 { Buffer::None } else { Buffer::Message(message) };
    Moved { direction: INBOUND, bytes: result as u32, buffer, record: 0 }
}

/// `tcp_recvmsg` has four to six arguments, depending on the version. Which of these programs is loaded comes from BTF:
/// within one program the compiler would compute the argument's address, which the verifier refuses.
macro_rules! tcp_received {
    ($name:ident, $spare:ident, $flags:literal, $result:literal) => {
        spared! {
            #[fexit(function = "tcp_recvmsg")]
            $name, $spare, FExitContext, RECEIVED,
            |ctx, spare| {
                let flags: i32 = ctx.arg($flags);
                let result: i32 = ctx.arg($result);
                if result > 0 && flags & MSG_PEEK == 0 {
                    // SAFETY: typed arguments.
                    unsafe {
                        let moved = received(ctx.arg(1), flags, result);
                        socket::after_call::<Direct>(ctx.arg(0), Kind::Tcp, &moved, slot_of(slot::RECEIVED, spare));
                    }
                }
            }
        }
    };
}

tcp_received!(fentry_tcp_received_4, fentry_tcp_received_4_spare, 3, 4);
tcp_received!(fentry_tcp_received_5, fentry_tcp_received_5_spare, 3, 5);
tcp_received!(fentry_tcp_received_6, fentry_tcp_received_6_spare, 4, 6);

/// sendfile before 6.5: `(struct sock *sk, struct page *page, int offset, size_t size, int flags)`. Counted, not read.
#[fexit(function = "tcp_sendpage")]
pub(crate) fn fentry_tcp_page_sent(ctx: FExitContext) -> i32 {
    let result: i32 = ctx.arg(5);
    if result > 0 {
        let moved = Moved { direction: OUTBOUND, bytes: result as u32, buffer: Buffer::None, record: 0 };
        // SAFETY: typed arguments.
        unsafe { socket::after_call::<Direct>(ctx.arg(0), Kind::Tcp, &moved, slot::SENT) };
    }
    0
}

spared! {
    #[fexit(function = "unix_stream_sendmsg")]
    fentry_unix_sent, fentry_unix_sent_spare, FExitContext, UNIX_SENT,
    |ctx, spare| {
        let result: i32 = ctx.arg(3);
        if result > 0 {
            // SAFETY: typed arguments.
            unsafe {
                let sock: *const u8 = Direct::read(ctx.arg::<*const u8>(0), offset!(socket_sk));
                let buffer = Buffer::Message(ctx.arg(1));
                let moved = Moved { direction: OUTBOUND, bytes: result as u32, buffer, record: 0 };
                socket::after_call::<Direct>(sock, Kind::Unix, &moved, slot_of(slot::UNIX_SENT, spare));
            }
        }
    }
}

spared! {
    #[fexit(function = "unix_stream_recvmsg")]
    fentry_unix_received, fentry_unix_received_spare, FExitContext, UNIX_RECEIVED,
    |ctx, spare| {
        let flags: i32 = ctx.arg(3);
        let result: i32 = ctx.arg(4);
        if result > 0 && flags & MSG_PEEK == 0 {
            // SAFETY: typed arguments.
            unsafe {
                let sock: *const u8 = Direct::read(ctx.arg::<*const u8>(0), offset!(socket_sk));
                let moved = received(ctx.arg(1), flags, result);
                socket::after_call::<Direct>(sock, Kind::Unix, &moved, slot_of(slot::UNIX_RECEIVED, spare));
            }
        }
    }
}

// A send over IPv4 on an IPv6 socket goes through both functions: it is told once, at the outer one's end.
spared! {
    #[fexit(function = "udp_sendmsg")]
    fentry_udp_sent, fentry_udp_sent_spare, FExitContext, UDP_SENT,
    |ctx, _spare| {
        // SAFETY: typed arguments.
        unsafe {
            if sock::family::<Direct>(ctx.arg(0)) == family::INET {
                datagram_sent(ctx.arg(0), ctx.arg(1), ctx.arg(3));
            }
        }
    }
}

spared! {
    #[fexit(function = "udpv6_sendmsg")]
    fentry_udp6_sent, fentry_udp6_sent_spare, FExitContext, UDP6_SENT,
    // SAFETY: typed arguments.
    |ctx, _spare| unsafe { datagram_sent(ctx.arg(0), ctx.arg(1), ctx.arg(3)) }
}

/// # Safety
/// `sock` is a typed UDP sock and `message` a `struct msghdr`.
#[inline(always)]
unsafe fn datagram_sent(sock: *const u8, message: *const u8, result: i32) {
    if result <= 0 {
        dns::failed(sock);
    } else {
        // SAFETY: as promised.
        unsafe {
            let (name, buffer) = (Name::Message(message), Buffer::Message(message));
            dns::moved::<Direct>(sock, OUTBOUND, result as u32, name, buffer, 0);
        }
    }
}

/// As for TCP, see above.
macro_rules! udp_received {
    ($hook:meta, $number:ident, $name:ident, $spare:ident, $flags:literal, $result:literal) => {
        spared! {
            #[$hook]
            $name, $spare, FExitContext, $number,
            |ctx, _spare| {
                let flags: i32 = ctx.arg($flags);
                let result: i32 = ctx.arg($result);
                if result > 0 && flags & (MSG_PEEK | MSG_ERRQUEUE) == 0 {
                    // SAFETY: typed arguments.
                    unsafe {
                        let moved = received(ctx.arg(1), flags, result);
                        let name = Name::SystemCall;
                        dns::moved::<Direct>(ctx.arg(0), INBOUND, moved.bytes, name, moved.buffer, 0);
                    }
                    unit::disturbed(task::pid_tgid());
                }
            }
        }
    };
}

udp_received!(fexit(function = "udp_recvmsg"), UDP_RECEIVED, fentry_udp_received_4, fentry_udp_received_4_spare, 3, 4);
udp_received!(fexit(function = "udp_recvmsg"), UDP_RECEIVED, fentry_udp_received_5, fentry_udp_received_5_spare, 3, 5);
udp_received!(fexit(function = "udp_recvmsg"), UDP_RECEIVED, fentry_udp_received_6, fentry_udp_received_6_spare, 4, 6);
udp_received!(fexit(function = "udpv6_recvmsg"), UDP6_RECEIVED, fentry_udp6_received_4, fentry_udp6_received_4_spare, 3, 4);
udp_received!(fexit(function = "udpv6_recvmsg"), UDP6_RECEIVED, fentry_udp6_received_5, fentry_udp6_received_5_spare, 3, 5);
udp_received!(fexit(function = "udpv6_recvmsg"), UDP6_RECEIVED, fentry_udp6_received_6, fentry_udp6_received_6_spare, 4, 6);

#[fentry(function = "udp_destroy_sock")]
pub(crate) fn fentry_udp_destroyed(ctx: FEntryContext) -> i32 {
    dns::destroyed(ctx.arg(0));
    0
}

#[fentry(function = "udpv6_destroy_sock")]
pub(crate) fn fentry_udp6_destroyed(ctx: FEntryContext) -> i32 {
    dns::destroyed(ctx.arg(0));
    0
}

/// The accept wait: a connection's entry was made when it was established. Two arguments since 6.10, four before.
macro_rules! accepted {
    ($name:ident, $result:literal) => {
        #[fexit(function = "inet_csk_accept")]
        pub(crate) fn $name(ctx: FExitContext) -> i32 {
            if let Some(entry) = connection::find(ctx.arg::<u64>($result)) {
                // SAFETY: a live map value; a helper without arguments.
                unsafe { (*entry).accepted_ns = bpf_ktime_get_ns() };
            }
            0
        }
    };
}

accepted!(fentry_accepted_2, 2);
accepted!(fentry_accepted_4, 4);
