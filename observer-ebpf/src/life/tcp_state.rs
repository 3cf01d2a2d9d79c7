//! TCP connections begin and end.
//!
//! | hook | prototype | since |
//! |---|---|---|
//! | tp_btf `inet_sock_set_state` | `(const struct sock *sk, const int oldstate, const int newstate)` | 4.16 |
//! | tp_btf `tcp_destroy_sock` | `(struct sock *sk)` | 4.16 |
//!
//! Cost: a few times a connection. Runs in softirq as well as in system calls.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_tracepoint, map},
    maps::PerCpuArray,
    programs::BtfTracePointContext,
};
use observer_abi::{
    connection::{Connection, OUTBOUND, flag, role, transport},
    record::{self, ConnectionClosed, RecordHeader},
};

use crate::{
    carry::tcp_option,
    core::{
        capture::CONN_CONTROL,
        connection,
        output,
    },
    kernel::{
        above,
        globals::offset,
        read::{Direct, KernelRead},
        sock::{self, Kind, state},
    },
    tier::spare::spared,
    tls::opaque,
    work::runtime::connecting,
};

/// For the programs of `tcp_state` and their spares: a closing record, in softirq.
#[map]
pub(crate) static SCRATCH_STATE: PerCpuArray<ConnectionClosed> = PerCpuArray::with_max_entries(4, 0);

spared! {
    #[btf_tracepoint(function = "inet_sock_set_state")]
    state_changed, state_changed_spare, BtfTracePointContext, STATE_CHANGED,
    // SAFETY: a typed argument.
    |ctx, spare| unsafe { changed(ctx.arg(0), ctx.arg(1), ctx.arg(2), u32::from(spare)) }
}

/// # Safety
/// `sock` is a typed sock.
#[inline(always)]
unsafe fn changed(sock: *const u8, old: i32, new: i32, scratch: u32) {
    // SAFETY: as promised.
    unsafe {
        if new == i32::from(state::CLOSE) {
            ended(sock, old, scratch);
        } else if old == i32::from(state::CLOSE) && new == i32::from(state::SYN_SENT) {
            connecting::began(sock);
            tcp_option::connecting(sock);
        } else if new == i32::from(state::FIN_WAIT1) || new == i32::from(state::LAST_ACK) {
            connecting::closed(sock);
        } else if new == i32::from(state::ESTABLISHED) {
            if old == i32::from(state::SYN_SENT) {
                established(sock, role::CLIENT);
            } else if old == i32::from(state::SYN_RECV) {
                established(sock, role::SERVER);
            }
        }
    }
}

spared! {
    #[btf_tracepoint(function = "tcp_destroy_sock")]
    state_destroyed, state_destroyed_spare, BtfTracePointContext, STATE_DESTROYED,
    // SAFETY: a typed argument.
    |ctx, spare| unsafe {
        let sock: *const u8 = ctx.arg(0);
        ended(sock, i32::from(state::CLOSE), DESTROYED + u32::from(spare));
        connecting::destroyed(sock);
    }
}

/// Scratch of [`state_destroyed`]; those of [`state_changed`] and its spare come first.
const DESTROYED: u32 = 2;

/// # Safety
/// `sock` is a typed sock.
#[inline(always)]
unsafe fn established(sock: *const u8, role: u8) {
    // SAFETY: as promised; live map values.
    unsafe {
        if sock::kind::<Direct>(sock) != Kind::Tcp {
            return;
        }
        let Some(tcp) = sock::tcp::<Direct>(sock) else { return };
        above::learn(sock, tcp);
        let Some(entry) = connection::take(connection::place_of(sock as u64)) else { return };
        let now = bpf_ktime_get_ns();
        (*entry).established_ns = now;
        (*entry).netns = sock::netns::<Direct>(sock);
        (*entry).tcp = transport::TCP;
        (*entry).role = role;
        (*entry).flags = flag::FROM_START;
        connection::begin_positions(&mut *entry, &sock::counters::<Direct>(tcp));
        if role == role::CLIENT {
            // An active opener's SYN counts as an acknowledged byte.
            (*entry).outbound_base = (*entry).outbound_base.wrapping_add((*entry).directions[OUTBOUND as usize].end as u32);
            (*entry).directions[OUTBOUND as usize].end = 0;
            connecting::established(sock as u64, entry);
        }
        connection::publish(sock, entry, now);
    }
}

/// # Safety
/// `sock` is a typed sock.
#[inline(always)]
unsafe fn ended(sock: *const u8, old: i32, scratch: u32) {
    let key = sock as u64;
    tcp_option::ended(key);
    // SAFETY: as promised; live map values.
    unsafe {
        let Some(entry) = connection::find(key) else { return };
        if let Some(closed) = SCRATCH_STATE.get_ptr_mut(scratch) {
            final_positions(sock, entry);
            let failed: i32 = Direct::read(sock, offset!(sock_err));
            let reset = if failed != 0 { record::flag::RESET } else { 0 };
            tell_end(key, entry, closed, reset);
        }
        opaque::ended(key, entry);
        connecting::broke(key, entry, old);
        let _ = CONN_CONTROL.remove(key);
        connection::end(key, entry);
    }
}

/// Tells the daemon that a connection ended, where it was told anything of it.
///
/// # Safety
/// `entry` is the live map value of the sock at `key`, `closed` room for the record.
#[inline(always)]
pub(crate) unsafe fn tell_end(key: u64, entry: *const Connection, closed: *mut ConnectionClosed, flags: u8) {
    // SAFETY: as promised.
    unsafe {
        if (*entry).flags & flag::ACTIVE == 0 || (*entry).flags & flag::OBSERVER != 0 {
            return;
        }
        (*closed).header = RecordHeader {
            sock: key,
            generation: (*entry).generation,
            time_ns: bpf_ktime_get_ns(),
            captured: 0,
            kind: record::kind::CONNECTION_CLOSED,
            direction: 0,
            flags,
            role: (*entry).role,
        };
        output::copy_words(&raw mut (*closed).connection, entry);
        output::send((*entry).generation, closed.cast(), size_of::<ConnectionClosed>() as u64);
    }
}

/// Announced bytes that were never queued, and queued ones that no hook saw, show in TCP's own counters.
#[inline(always)]
unsafe fn final_positions(sock: *const u8, entry: *mut Connection) {
    // SAFETY: as promised by the caller.
    unsafe {
        let Some(tcp) = sock::tcp::<Direct>(sock) else { return };
        // Plaintext is no sequence number.
        if (*entry).flags & flag::SEND_PENDING != 0 && (*entry).tcp == transport::TCP {
            let out = &mut (*entry).directions[OUTBOUND as usize];
            out.end = connection::extend(out.end, (*entry).outbound_base, sock::write_seq::<Direct>(tcp));
            (*entry).flags &= !flag::SEND_PENDING;
        }
    }
}
