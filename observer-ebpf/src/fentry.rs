//! The `fentry` tier: the protocols' own functions, entered and left through trampolines.
//!
//! | hook | prototype | since |
//! |---|---|---|
//! | fentry, fexit `tcp_sendmsg` | `(struct sock *sk, struct msghdr *msg, size_t size)` | 5.5 |
//! | fexit `tcp_recvmsg` | `(struct sock *sk, struct msghdr *msg, size_t len, [int nonblock,] int flags[, int *addr_len])` | 5.5 |
//! | fexit `unix_stream_sendmsg` | `(struct socket *sock, struct msghdr *msg, size_t len)` | 5.5 |
//! | fexit `unix_stream_recvmsg` | `(struct socket *sock, struct msghdr *msg, size_t size, int flags)` | 5.5 |
//! | fexit `inet_csk_accept` | `(struct sock *sk, …)`, returns the accepted sock | 5.5 |
//!
//! Cost: the lowest of all tiers; sees io_uring and sendfile. Limits: receive buffers come from the saved registers
//! (`bpf_task_pt_regs`, 5.15), so this needs 5.15.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use observer_abi::connection::{INBOUND, OUTBOUND};

use crate::{
    globals::{offset, offsets},
    maps::CONNECTIONS,
    read::{Direct, KernelRead},
    sock::Kind,
    socket,
};

const MSG_PEEK: i32 = 2;
const MSG_TRUNC: i32 = 0x20;

#[fentry(function = "tcp_sendmsg")]
pub(crate) fn fentry_tcp_sending(ctx: FEntryContext) -> i32 {
    // SAFETY: typed arguments.
    unsafe { socket::tcp_sending(ctx.arg(0), ctx.arg(1)) };
    0
}

#[fexit(function = "tcp_sendmsg")]
pub(crate) fn fentry_tcp_sent(ctx: FExitContext) -> i32 {
    // SAFETY: typed arguments; slot 3 is the result.
    unsafe { socket::tcp_sent(ctx.arg(0)) };
    0
}

#[fexit(function = "tcp_recvmsg")]
pub(crate) fn fentry_tcp_received(ctx: FExitContext) -> i32 {
    // The argument count is a constant to the verifier: it follows one branch only.
    let (flags, result): (i32, i32) = match offsets().tcp_recvmsg_arguments() {
        6 => (ctx.arg(4), ctx.arg(6)),
        5 => (ctx.arg(3), ctx.arg(5)),
        _ => (ctx.arg(3), ctx.arg(4)),
    };
    if result > 0 && flags & MSG_PEEK == 0 {
        // SAFETY: typed arguments.
        unsafe { socket::after_call(ctx.arg(0), Kind::Tcp, INBOUND, result, flags & MSG_TRUNC != 0) };
    }
    0
}

#[fexit(function = "unix_stream_sendmsg")]
pub(crate) fn fentry_unix_sent(ctx: FExitContext) -> i32 {
    let result: i32 = ctx.arg(3);
    if result > 0 {
        // SAFETY: typed arguments.
        unsafe {
            let sock: *const u8 = Direct::read(ctx.arg::<*const u8>(0), offset!(socket_sk));
            socket::after_call(sock, Kind::Unix, OUTBOUND, result, false);
        }
    }
    0
}

#[fexit(function = "unix_stream_recvmsg")]
pub(crate) fn fentry_unix_received(ctx: FExitContext) -> i32 {
    let flags: i32 = ctx.arg(3);
    let result: i32 = ctx.arg(4);
    if result > 0 && flags & MSG_PEEK == 0 {
        // SAFETY: typed arguments.
        unsafe {
            let sock: *const u8 = Direct::read(ctx.arg::<*const u8>(0), offset!(socket_sk));
            socket::after_call(sock, Kind::Unix, INBOUND, result, flags & MSG_TRUNC != 0);
        }
    }
    0
}

/// The accept wait: a connection's entry was made when it was established.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn fentry_accepted(ctx: FExitContext) -> i32 {
    // Two arguments since 6.10, four before.
    let accepted: u64 = if offsets().accept_arguments() == 2 { ctx.arg(2) } else { ctx.arg(4) };
    if let Some(entry) = CONNECTIONS.get_ptr_mut(accepted) {
        // SAFETY: a live map value; a helper without arguments.
        unsafe { (*entry).accepted_ns = bpf_ktime_get_ns() };
    }
    0
}
