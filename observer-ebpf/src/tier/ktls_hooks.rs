//! The functions of the module `tls`, for the `fentry` and `kprobe` tiers. The others see its sockets by their own hooks.
//!
//! | hook | prototype | since |
//! |---|---|---|
//! | `tls_sw_sendmsg`, entered and left | `(struct sock *sk, struct msghdr *msg, size_t size)` | 4.13 |
//! | `tls_sw_recvmsg`, left | `(struct sock *sk, struct msghdr *msg, size_t len, [int nonblock,] int flags[, int *addr_len])` | 4.17 |
//! | `tls_sw_sendpage`, left | `(struct sock *sk, struct page *page, int offset, size_t size, int flags)` | until 6.5 |
//!
//! Cost: none where no socket uses kernel TLS. Limits: `fentry` needs the module's BTF (5.11); receives of the `kprobe`
//! tier hold a return instance while they wait, as those on Unix sockets do; what is spliced from a socket is not counted.

use aya_ebpf::{
    EbpfContext,
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use crate::{
    core::scratch::slot,
    kernel::{
        globals::settings,
        read::{Direct, Probe},
    },
    tier::{
        kprobe::{CALLS, enter, leave, stack},
        ktls,
        spare::{slot_of, spared},
    },
};

/// Reads by address where that is allowed: to the verifier a module's `struct sock` may be another type than the kernel's
/// (6.18, 7.2), which the helper that makes a `tcp_sock` of it refuses. Under lockdown the types must be the same.
macro_rules! by_address {
    ($read:ident => $call:expr) => {
        if settings().may_probe_read() != 0 {
            type $read = Probe;
            $call
        } else {
            type $read = Direct;
            $call
        }
    };
}

spared! {
    #[fentry(function = "tls_sw_sendmsg")]
    fentry_tls_sending, fentry_tls_sending_spare, FEntryContext, TLS_SENDING,
    |ctx, spare| {
        let slot = slot_of(slot::TLS_SENDING, spare);
        // SAFETY: typed arguments.
        unsafe { by_address!(R => ktls::sending::<R>(ctx.arg(0), ctx.arg(1), slot)) }
    }
}

spared! {
    #[fexit(function = "tls_sw_sendmsg")]
    fentry_tls_sent, fentry_tls_sent_spare, FExitContext, TLS_SENT,
    // SAFETY: typed arguments.
    |ctx, _spare| unsafe { by_address!(R => ktls::sent::<R>(ctx.arg(0), ctx.arg(1), ctx.arg(3))) }
}

/// An argument whose place depends on the kernel, by its byte offset: the compiler would otherwise compute one address
/// for all of them, which the verifier refuses.
macro_rules! argument {
    ($ctx:ident, $offset:literal) => {{
        let value: u64;
        // SAFETY: a load from the context. Where it has no such argument, the branch is not taken, and the verifier
        // knows that.
        unsafe {
            core::arch::asm!(concat!("{0} = *(u64 *)({1} + ", $offset, ")"), out(reg) value, in(reg) $ctx.as_ptr())
        };
        value as i32
    }};
}
// `proto.recvmsg` is one type, so this has as many arguments as `tcp_recvmsg`.
spared! {
    #[fexit(function = "tls_sw_recvmsg")]
    fentry_tls_received, fentry_tls_received_spare, FExitContext, TLS_RECEIVED,
    |ctx, spare| {
        let (flags, result) = match settings().receive_arguments() {
            4 => (argument!(ctx, "24"), argument!(ctx, "32")),
            5 => (argument!(ctx, "24"), argument!(ctx, "40")),
            _ => (argument!(ctx, "32"), argument!(ctx, "48")),
        };
        let slot = slot_of(slot::TLS_RECEIVED, spare);
        // SAFETY: typed arguments.
        unsafe { by_address!(R => ktls::received::<R>(ctx.arg(0), ctx.arg(1), flags, result, slot)) }
    }
}

#[fexit(function = "tls_sw_sendpage")]
pub(crate) fn fentry_tls_page_sent(ctx: FExitContext) -> i32 {
    // SAFETY: typed arguments.
    unsafe { by_address!(R => ktls::pages_sent::<R>(ctx.arg(0), ctx.arg(5), slot::SENT)) };
    0
}

#[kprobe]
pub(crate) fn kprobe_tls_sending(ctx: ProbeContext) -> u32 {
    let (Some(sock), Some(message)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    // SAFETY: arguments of the function, read by address.
    unsafe { ktls::sending::<Probe>(sock as *const u8, message as *const u8, slot::TLS_SENDING) };
    enter(&CALLS, sock, message, stack!(ctx), 0);
    0
}

#[kretprobe]
pub(crate) fn kprobe_tls_sent(ctx: RetProbeContext) -> u32 {
    let result: i32 = ctx.ret();
    let Some(entered) = leave(&CALLS, stack!(ctx)) else { return 0 };
    // SAFETY: what was entered with.
    unsafe { ktls::sent::<Probe>(entered.sock as *const u8, entered.message as *const u8, result) };
    0
}

/// `tls_sw_recvmsg` has its flags in the fourth or, before 5.19, in the fifth argument; which comes from BTF.
macro_rules! tls_receiving {
    ($name:ident, $flags:literal) => {
        #[kprobe]
        pub(crate) fn $name(ctx: ProbeContext) -> u32 {
            let (Some(sock), Some(message), Some(flags)) =
                (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<i32>($flags))
            else {
                return 0;
            };
            enter(&CALLS, sock, message, stack!(ctx), flags as u32 as u64);
            0
        }
    };
}

tls_receiving!(kprobe_tls_receiving_3, 3);
tls_receiving!(kprobe_tls_receiving_4, 4);

#[kretprobe]
pub(crate) fn kprobe_tls_received(ctx: RetProbeContext) -> u32 {
    let result: i32 = ctx.ret();
    let Some(entered) = leave(&CALLS, stack!(ctx)) else { return 0 };
    let (sock, message) = (entered.sock as *const u8, entered.message as *const u8);
    // SAFETY: what was entered with.
    unsafe { ktls::received::<Probe>(sock, message, entered.flags as i32, result, slot::TLS_RECEIVED) };
    0
}

#[kprobe]
pub(crate) fn kprobe_tls_page_sending(ctx: ProbeContext) -> u32 {
    let Some(sock) = ctx.arg::<u64>(0) else { return 0 };
    enter(&CALLS, sock, 0, stack!(ctx), 0);
    0
}

#[kretprobe]
pub(crate) fn kprobe_tls_page_sent(ctx: RetProbeContext) -> u32 {
    let result: i32 = ctx.ret();
    let Some(entered) = leave(&CALLS, stack!(ctx)) else { return 0 };
    // SAFETY: the sock that was entered with.
    unsafe { ktls::pages_sent::<Probe>(entered.sock as *const u8, result, slot::SENT) };
    0
}
