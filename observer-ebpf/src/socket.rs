//! The `socket` tier: raw tracepoints that hand over the sock.
//!
//! | hook | prototype | since |
//! |---|---|---|
//! | `tcp_sendmsg_locked` | `(const struct sock *sk, const struct msghdr *msg, const struct sk_buff *skb, int size_goal)` | 6.16 |
//! | `sock_send_length` | `(struct sock *sk, int ret, int flags)` | 6.3 |
//! | `sock_recv_length` | `(struct sock *sk, int ret, int flags)` | 6.3 |
//!
//! Cost: calls on other files cost nothing. Limits: the buffer of a receive is known from the system call's saved
//! registers only, so io_uring receives are counted, not read; before 6.16 sends are seen when they are over.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use observer_abi::{
    connection::{INBOUND, OUTBOUND, flag},
    control::mode,
    process::runtime,
};

use crate::{
    buffer::{self, Source},
    capture::{self, Call},
    connection, context,
    globals::settings,
    maps::{SCRATCH_RECEIVE, SCRATCH_SEND, SCRATCH_SENT},
    read::Direct,
    sock::{self, Kind},
    unit,
};

/// `include/linux/socket.h`
const MSG_PEEK: i32 = 2;
const MSG_TRUNC: i32 = 0x20;

/// A completed send smaller than this was not waiting for buffer space: `sock_send_length` need not look closer.
const SURELY_COMPLETE: i32 = 4096;

/// Fires for each segment that a send fills, before its bytes are copied; the first time it sees the whole message.
#[btf_tracepoint(function = "tcp_sendmsg_locked")]
pub(crate) fn socket_tcp_sending(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: typed arguments of the tracepoint.
    unsafe { tcp_sending(ctx.arg(0), ctx.arg(1)) };
    0
}

/// # Safety
/// `sock` is a TCP sock and `message` its `struct msghdr`, both typed.
#[inline(always)]
pub(crate) unsafe fn tcp_sending(sock: *const u8, message: *const u8) {
    // SAFETY: as promised.
    unsafe {
        let file = sock::file::<Direct>(sock);
        if file.is_null() {
            return;
        }
        let Some(entry) = connection::find_or_create::<Direct>(sock, Kind::Tcp, file, OUTBOUND) else { return };
        if (*entry).mode == mode::IGNORE || (*entry).flags & flag::OBSERVER != 0 {
            return;
        }
        let pid_tgid = bpf_get_current_pid_tgid();
        let tgid = (pid_tgid >> 32) as u32;
        let Some(tcp) = sock::tcp::<Direct>(sock) else { return };
        let base = (*entry).outbound_base;
        let out = &raw mut (*entry).directions[OUTBOUND as usize];
        let start = connection::extend((*out).end, base, sock::write_seq::<Direct>(tcp));
        let now = bpf_ktime_get_ns();
        if tgid == settings().observer_tgid() {
            (*entry).flags |= flag::OBSERVER;
            context::mark_observer(&*entry, start, now);
            return;
        }
        let Some(scratch) = SCRATCH_SEND.get_ptr_mut(0) else { return };
        let (source, count) = buffer::of_iterator(message, OUTBOUND, &raw mut (*scratch).copied);
        if count == 0 {
            return;
        }
        let end = start.wrapping_add(count);
        if end == (*out).announced {
            // The same message, further on.
            if (*entry).flags & flag::SEND_PENDING != 0 {
                (*out).end = start;
                (*out).last_ns = now;
            }
            return;
        }
        if !capture::admitted(entry, tgid) {
            return;
        }
        let pending = count as i64 > i64::from(sock::send_room::<Direct>(sock));
        let call = Call { sock, kind: Kind::Tcp, file, direction: OUTBOUND, start, end, pending, now, pid_tgid };
        capture::data::<Direct>(&call, source, entry, scratch);
    }
}

/// After each send on any socket.
#[btf_tracepoint(function = "sock_send_length")]
pub(crate) fn socket_sent(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: typed arguments of the tracepoint.
    unsafe { sent(ctx.arg(0), ctx.arg(1)) };
    0
}

/// # Safety
/// `sock` is a typed sock.
#[inline(always)]
unsafe fn sent(sock: *const u8, result: i32) {
    // SAFETY: as promised.
    unsafe {
        let kind = sock::kind::<Direct>(sock);
        if kind == Kind::Tcp && settings().send_start_hook() != 0 {
            if result < 0 || result >= SURELY_COMPLETE {
                tcp_sent(sock);
            }
            return;
        }
        if kind == Kind::Other || result <= 0 {
            return;
        }
        after_call(sock, kind, OUTBOUND, result, false);
    }
}

/// # Safety
/// `sock` is a typed TCP sock.
#[inline(always)]
pub(crate) unsafe fn tcp_sent(sock: *const u8) {
    // SAFETY: as promised.
    unsafe {
        if let Some(entry) = crate::maps::CONNECTIONS.get_ptr_mut(sock as u64) {
            if (*entry).flags & flag::SEND_PENDING != 0 {
                if let Some(tcp) = sock::tcp::<Direct>(sock) {
                    capture::send_done(entry, sock::write_seq::<Direct>(tcp), bpf_ktime_get_ns());
                }
            }
        }
    }
}

/// After each receive on any socket.
#[btf_tracepoint(function = "sock_recv_length")]
pub(crate) fn socket_received(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: typed arguments of the tracepoint.
    unsafe {
        let sock: *const u8 = ctx.arg(0);
        let result: i32 = ctx.arg(1);
        let flags: i32 = ctx.arg(2);
        if result <= 0 || flags & MSG_PEEK != 0 {
            return 0;
        }
        let kind = sock::kind::<Direct>(sock);
        if kind != Kind::Other {
            after_call(sock, kind, INBOUND, result, flags & MSG_TRUNC != 0);
        } else {
            unit::disturbed(bpf_get_current_pid_tgid());
        }
    }
    0
}

/// A call that is over: its bytes are the last `result` of the stream.
///
/// # Safety
/// `sock` is a typed sock of kind `kind`; called in the context of the task that moved the data.
#[inline(always)]
pub(crate) unsafe fn after_call(sock: *const u8, kind: Kind, direction: u8, result: i32, discarded: bool) {
    // SAFETY: as promised.
    unsafe {
        let file = sock::file::<Direct>(sock);
        if file.is_null() {
            return;
        }
        let Some(entry) = connection::find_or_create::<Direct>(sock, kind, file, direction) else { return };
        let pid_tgid = bpf_get_current_pid_tgid();
        if (*entry).mode == mode::IGNORE || (*entry).flags & flag::OBSERVER != 0 {
            if (*entry).runtime == runtime::EVENT_LOOP && direction == INBOUND {
                unit::forget_thread(pid_tgid as u32);
            }
            return;
        }
        let tgid = (pid_tgid >> 32) as u32;
        if tgid == settings().observer_tgid() {
            (*entry).flags |= flag::OBSERVER;
            return;
        }
        if !capture::admitted(entry, tgid) {
            return;
        }
        let length = result as u32 as u64;
        let now = bpf_ktime_get_ns();
        let (start, end) = if kind == Kind::Tcp {
            let Some(tcp) = sock::tcp::<Direct>(sock) else { return };
            if (*entry).flags & flag::SEND_PENDING != 0 {
                let last = (*entry).directions[OUTBOUND as usize].last_ns;
                capture::send_done(entry, sock::write_seq::<Direct>(tcp), last);
            }
            let (base, seq) = if direction == INBOUND {
                ((*entry).inbound_base, sock::copied_seq::<Direct>(tcp))
            } else {
                ((*entry).outbound_base, sock::write_seq::<Direct>(tcp))
            };
            let this = &raw const (*entry).directions[usize::from(direction != INBOUND)];
            let end = connection::extend((*this).end, base, seq);
            // Reading the last byte before a FIN moves copied_seq past the FIN, too.
            let fin = u64::from(
                sock::tcp_state::<Direct>(sock) != sock::state::ESTABLISHED
                    && end.wrapping_sub(length) == (*this).end.wrapping_add(1),
            );
            (end.wrapping_sub(length).wrapping_sub(fin), end.wrapping_sub(fin))
        } else {
            let this = &raw const (*entry).directions[usize::from(direction != INBOUND)];
            let start = (*this).end;
            (start, start.wrapping_add(length))
        };
        let source = if discarded { Source::Unknown } else { buffer::of_system_call(direction) };
        let call = Call { sock, kind, file, direction, start, end, pending: false, now, pid_tgid };
        let scratch =
            if direction == INBOUND { SCRATCH_RECEIVE.get_ptr_mut(0) } else { SCRATCH_SENT.get_ptr_mut(0) };
        let Some(scratch) = scratch else { return };
        capture::data::<Direct>(&call, source, entry, scratch);
        if direction == INBOUND && (*entry).runtime != runtime::THREADS {
            unit::received(sock as u64, entry, pid_tgid);
        }
    }
}
