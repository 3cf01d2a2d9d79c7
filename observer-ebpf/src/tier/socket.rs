//! The `socket` tier: raw tracepoints that hand over the sock.
//!
//! | hook | prototype | since |
//! |---|---|---|
//! | `tcp_sendmsg_locked` | `(const struct sock *sk, const struct msghdr *msg, const struct sk_buff *skb, int size_goal)` | 6.16 |
//! | `sock_send_length` | `(struct sock *sk, int ret, int flags)` | 6.3 |
//! | `sock_recv_length` | `(struct sock *sk, int ret, int flags)` | 6.3 |
//!
//! Cost: calls on other files cost nothing. The buffer of a receive is known from the system call's saved registers, that
//! of io_uring's from the ring's request (`uring`). Limits: before 6.16 sends are seen when they are over.

use aya_ebpf::{helpers::generated::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use observer_abi::{
    connection::{INBOUND, OUTBOUND, flag, role},
    process::{runtime, strict},
};

use crate::{
    carry::{context, inject},
    core::{
        admission::{self, Admitted, Verdict},
        buffer::{self, Source},
        call::{self, Call},
        capture,
        connection,
        scratch::slot,
    },
    datagram::dns::{self, Name},
    detect::http1,
    kernel::{
        above,
        arch::registers,
        globals::settings,
        iterator,
        read::{Direct, KernelRead},
        sock::{self, Kind},
        task,
    },
    tier::{
        ktls, retry,
        spare::{slot_of, spared},
    },
    uring::request,
    work::{link, reference, runtime::node, table, unit},
};

/// `include/linux/socket.h`
pub(crate) const MSG_PEEK: i32 = 2;
pub(crate) const MSG_TRUNC: i32 = 0x20;
/// What is read then is no datagram that was received, but one that could not be sent.
pub(crate) const MSG_ERRQUEUE: i32 = 0x2000;

/// A completed send smaller than this was not waiting for buffer space: the end of a send need not look closer.
const SURELY_COMPLETE: i32 = 4096;

// Fires for each segment that a send fills, before its bytes are copied; the first time it sees the whole message.
spared! {
    #[btf_tracepoint(function = "tcp_sendmsg_locked")]
    socket_tcp_sending, socket_tcp_sending_spare, BtfTracePointContext, SENDING,
    // SAFETY: typed arguments of the tracepoint.
    |ctx, spare| unsafe { tcp_sending::<Direct, false>(ctx.arg(0), ctx.arg(1), slot_of(slot::SENDING, spare)) }
}

/// `ONCE`: the hook sees a send once, and before its turn at the socket has come: other threads' sends may be on their way.
///
/// # Safety
/// `sock` is a TCP sock and `message` its `struct msghdr`, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn tcp_sending<R: KernelRead, const ONCE: bool>(sock: *const u8, message: *const u8, slot: u32) {
    // SAFETY: as promised.
    unsafe {
        let pid_tgid = task::pid_tgid();
        let tgid = (pid_tgid >> 32) as u32;
        let Some(Admitted { entry, file, verdict }) = admission::admit::<R>(sock, Kind::Tcp, OUTBOUND, tgid) else { return };
        let own = match verdict {
            Verdict::Taken => false,
            Verdict::Own => true,
            Verdict::Ignored | Verdict::Denied => return,
        };
        let Some(tcp) = sock::tcp::<R>(sock) else { return };
        let base = (*entry).outbound_base;
        let out = &raw mut (*entry).directions[OUTBOUND as usize];
        let start = connection::extend((*out).end, base, sock::write_seq::<R>(tcp));
        let now = bpf_ktime_get_ns();
        if settings().inject() != 0 && !own && (*entry).flags & flag::SOCKET_MAP != 0 {
            if !iterator::is_in_pages::<R>(message) {
                // It left the map.
                (*entry).flags &= !flag::SOCKET_MAP;
            } else if (start.wrapping_sub((*out).announced) as i64) < 0 {
                // What the injecting program has told already, on its way. (The inserted line lies before position 0.)
                if (*entry).flags & flag::SEND_PENDING != 0 && start.wrapping_sub((*out).end) as i64 > 0 {
                    (*out).end = start;
                    (*out).last_ns = now;
                }
                return;
            }
        }
        if own {
            (*entry).flags |= flag::OBSERVER;
            context::mark_observer(&*entry, start, now);
            return;
        }
        let count = iterator::remaining::<R>(message);
        if count == 0 {
            return;
        }
        let mut start = start;
        if ONCE {
            let tid = pid_tgid as u32;
            let behind = (start.wrapping_sub((*out).announced) as i64) < 0;
            if behind && (*entry).sender != 0 && (*entry).sender != tid {
                // What another thread's send announced is not queued yet: this one's bytes come behind it.
                start = (*out).announced;
            }
            (*entry).sender = tid;
        }
        let end = start.wrapping_add(count);
        if retry::is_noted(sock as u64, end, pid_tgid) {
            return;
        }
        if end == (*out).announced {
            // The same message, further on.
            if (*entry).flags & flag::SEND_PENDING != 0 {
                (*out).end = start;
                (*out).last_ns = now;
            }
            return;
        }
        let pending = u32::from(count as i64 > i64::from(sock::send_room::<R>(sock)));
        let call = Call {
            sock: sock as u64,
            generation: 0,
            start,
            end,
            now,
            pid_tgid,
            direction: 1,
            pending,
            blocking: 0,
            retry: call::retry::POSSIBLE,
            place: 0,
            reserved: 0,
            peer: sock::NO_PEER,
        };
        let Some(scratch) = capture::tell::<R>(&call, sock, Kind::Tcp, file, entry, slot) else { return };
        iterator::at_start::<R>(message, OUTBOUND, slot, scratch);
        capture::take(slot);
        retry::note_wanted(scratch);
    }
}

// After each send on any socket.
spared! {
    #[btf_tracepoint(function = "sock_send_length")]
    socket_sent, socket_sent_spare, BtfTracePointContext, SENT,
    // SAFETY: typed arguments of the tracepoint.
    |ctx, spare| unsafe { sent(ctx.arg(0), ctx.arg(1), slot_of(slot::SENT, spare)) }
}

/// # Safety
/// `sock` is a typed sock.
#[inline(always)]
unsafe fn sent(sock: *const u8, result: i32, slot: u32) {
    // SAFETY: as promised.
    unsafe {
        let mut kind = sock::kind::<Direct>(sock);
        if kind == Kind::Udp {
            if result > 0 {
                dns::moved::<Direct>(sock, OUTBOUND, result as u32, Name::SystemCall, Buffer::SystemCall, 0);
            } else {
                dns::failed(sock);
            }
            return;
        }
        let mut record = 0;
        if kind == Kind::Tcp && above::is_on::<Direct>(sock, OUTBOUND) {
            match ktls::record_sent::<Direct>(sock, result, registers::is_data(OUTBOUND), slot) {
                Some(found) => (kind, record) = (Kind::KernelTls, found),
                None => return,
            }
        }
        if kind == Kind::Tcp && settings().send_start_hook() != 0 {
            let retried = retry::sent::<Direct>(sock, result, Buffer::SystemCall, slot);
            if !retried && (result < 0 || result >= SURELY_COMPLETE) {
                tcp_sent::<Direct>(sock);
            }
            return;
        }
        if kind == Kind::Other || result <= 0 {
            return;
        }
        let moved = Moved { direction: OUTBOUND, bytes: result as u32, buffer: Buffer::SystemCall, record };
        after_call::<Direct>(sock, kind, &moved, slot);
    }
}

/// A send that was seen once is over, with `result` of `wanted` bytes.
///
/// # Safety
/// `sock` is a TCP sock, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn tcp_sent_once<R: KernelRead>(sock: *const u8, result: i32, wanted: u64) {
    // SAFETY: as promised; a live map value.
    unsafe {
        if result as i64 != wanted as i64 {
            // What is left of what it announced never comes.
            if let Some(entry) = connection::find(sock as u64) {
                if (*entry).sender == task::pid_tgid() as u32 {
                    (*entry).sender = 0;
                }
            }
        }
        if result < 0 || result >= SURELY_COMPLETE {
            tcp_sent::<R>(sock);
        }
    }
}

/// # Safety
/// `sock` is a TCP sock, see [`KernelRead`].
#[inline(always)]
pub(crate) unsafe fn tcp_sent<R: KernelRead>(sock: *const u8) {
    // SAFETY: as promised.
    unsafe {
        if let Some(entry) = connection::find(sock as u64) {
            if (*entry).flags & flag::SEND_PENDING != 0 {
                if let Some(tcp) = sock::tcp::<R>(sock) {
                    capture::send_done(entry, sock::write_seq::<R>(tcp), bpf_ktime_get_ns());
                }
            }
        }
    }
}

// After each receive on any socket.
spared! {
    #[btf_tracepoint(function = "sock_recv_length")]
    socket_received, socket_received_spare, BtfTracePointContext, RECEIVED,
    // SAFETY: typed arguments of the tracepoint.
    |ctx, spare| unsafe { received(ctx.arg(0), ctx.arg(1), ctx.arg(2), slot_of(slot::RECEIVED, spare)) }
}

/// # Safety
/// `sock` is a typed sock.
#[inline(always)]
unsafe fn received(sock: *const u8, result: i32, flags: i32, slot: u32) {
    // SAFETY: as promised.
    unsafe {
        if result <= 0 || flags & MSG_PEEK != 0 {
            return;
        }
        let mut kind = sock::kind::<Direct>(sock);
        if kind == Kind::Udp {
            if flags & MSG_ERRQUEUE != 0 {
                return;
            }
            let buffer = if flags & MSG_TRUNC != 0 { Buffer::None } else { Buffer::SystemCall };
            dns::moved::<Direct>(sock, INBOUND, result as u32, Name::SystemCall, buffer, 0);
            unit::disturbed(task::pid_tgid());
            return;
        }
        let mut record = 0;
        if kind == Kind::Tcp && above::is_on::<Direct>(sock, INBOUND) {
            match ktls::record_received::<Direct>(sock, result, flags, registers::is_data(INBOUND), slot) {
                Some(found) => (kind, record) = (Kind::KernelTls, found),
                None => return,
            }
        }
        if kind != Kind::Other {
            let buffer = if flags & MSG_TRUNC != 0 { Buffer::None } else { Buffer::SystemCall };
            let moved = Moved { direction: INBOUND, bytes: result as u32, buffer, record };
            after_call::<Direct>(sock, kind, &moved, slot);
        } else {
            unit::disturbed(task::pid_tgid());
        }
    }
}

/// What a call that is over moved.
pub(crate) struct Moved {
    pub(crate) direction: u8,
    pub(crate) bytes: u32,
    pub(crate) buffer: Buffer,
    /// Kernel TLS: sequence number of the record that it began with, 0 where that is not known.
    pub(crate) record: u32,
}

/// Where to ask for the buffer of a call that is over.
pub(crate) enum Buffer {
    /// The system call's registers.
    SystemCall,
    /// These saved registers of it.
    Registers(*const u8),
    /// The `struct msghdr` here, whose iterator stands behind what was moved.
    Message(*const u8),
    /// It is in the scratch already.
    Known,
    /// Nobody knows, or the bytes were thrown away.
    None,
}

/// A call that is over: its bytes are the last of the stream.
///
/// # Safety
/// `sock` is a sock of kind `kind`, see [`KernelRead`]; called in the context of the task that moved the data.
#[inline(always)]
pub(crate) unsafe fn after_call<R: KernelRead>(sock: *const u8, kind: Kind, moved: &Moved, slot: u32) {
    // SAFETY: as promised.
    unsafe {
        let direction = moved.direction;
        let pid_tgid = task::pid_tgid();
        let tgid = (pid_tgid >> 32) as u32;
        let Some(Admitted { entry, file, verdict }) = admission::admit::<R>(sock, kind, direction, tgid) else { return };
        match verdict {
            Verdict::Taken => {}
            Verdict::Own => {
                (*entry).flags |= flag::OBSERVER;
                return;
            }
            Verdict::Ignored => {
                if (*entry).runtime == runtime::EVENT_LOOP && direction == INBOUND {
                    table::forget_thread(pid_tgid as u32);
                    node::other(pid_tgid as u32);
                }
                return;
            }
            Verdict::Denied => return,
        }
        let length = u64::from(moved.bytes);
        let now = bpf_ktime_get_ns();
        let this = &raw const (*entry).directions[usize::from(direction != INBOUND)];
        let (start, end) = if kind == Kind::Tcp {
            let Some(tcp) = sock::tcp::<R>(sock) else { return };
            if (*entry).flags & flag::SEND_PENDING != 0 {
                let last = (*entry).directions[OUTBOUND as usize].last_ns;
                capture::send_done(entry, sock::write_seq::<R>(tcp), last);
            }
            if settings().inject() != 0 && direction == INBOUND && (*entry).flags & flag::SOCKET_MAP != 0 {
                inject::catch_up(entry, sock::write_seq::<R>(tcp));
            }
            let (base, seq) = if direction == INBOUND {
                ((*entry).inbound_base, sock::copied_seq::<R>(tcp))
            } else {
                ((*entry).outbound_base, sock::write_seq::<R>(tcp))
            };
            let end = connection::extend((*this).end, base, seq);
            // Reading the last byte before a FIN moves copied_seq past the FIN, too.
            let fin = u64::from(
                sock::tcp_state::<R>(sock) != sock::state::ESTABLISHED
                    && end.wrapping_sub(length) == (*this).end.wrapping_add(1),
            );
            (end.wrapping_sub(length).wrapping_sub(fin), end.wrapping_sub(fin))
        } else {
            ((*this).end, (*this).end.wrapping_add(length))
        };
        if settings().inject() != 0 && direction == OUTBOUND && kind == Kind::Tcp && end == (*this).end {
            // The injecting program told it.
            return;
        }
        let for_ring = direction == INBOUND && task::ring_work().is_some();
        let blocking = if direction == INBOUND && !for_ring { sock::blocking::<R>(file) } else { sock::blocking::NO };
        let call = Call {
            sock: sock as u64,
            generation: 0,
            start,
            end,
            now,
            pid_tgid,
            direction: u32::from(direction),
            pending: 0,
            blocking,
            retry: call::retry::NO,
            place: 0,
            reserved: 0,
            peer: if kind == Kind::KernelTls {
                ktls::handoff(&*entry, moved)
            } else if direction == INBOUND {
                sock::unix_peer::<R>(sock, kind)
            } else {
                sock::NO_PEER
            },
        };
        let Some(scratch) = capture::tell::<R>(&call, sock, kind, file, entry, slot) else { return };
        match moved.buffer {
            Buffer::SystemCall => {
                registers::of_system_call(direction).store(scratch);
                if !buffer::is_known(scratch) {
                    request::ring_buffer(slot, length);
                }
            }
            Buffer::Message(message) => iterator::at_end::<R>(message, direction, length, slot, scratch),
            Buffer::Registers(registers) => registers::of_registers(registers, direction).store(scratch),
            Buffer::Known => {}
            Buffer::None => Source::Unknown.store(scratch),
        }
        let taken = capture::capture_data(slot);
        if for_ring && (*entry).runtime != runtime::THREADS {
            // Whoever it was received for will be told by the ring, later.
            unit::disturbed(pid_tgid);
        } else if direction == INBOUND && (*entry).runtime != runtime::THREADS {
            if (*entry).runtime == runtime::EVENT_LOOP
                && (*entry).role == role::SERVER
                && u32::from((*entry).strict) != strict::NO
            {
                // Its loop may work on all of them before it answers the first.
                if taken != 0 && http1::is_pipelined(slot, taken) != 0 {
                    reference::close(entry);
                }
            }
            unit::unit_received(slot, u32::from(capture::opened(taken)));
            if settings().links() != 0 && (*entry).runtime == runtime::EVENT_LOOP {
                link::link_received(slot);
            }
        }
        capture::take_rest(slot, taken);
    }
}
